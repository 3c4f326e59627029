"""What every reader offers. `wsi.slide.Slide` builds all else (mpp, resampling, white borders) on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Level

# mpp = 25,400 / dpi: 72, 96 and 150 dpi are what programs write when they know nothing. Nothing that is
# called a whole slide is coarser than this, so such a resolution is treated as missing, and said so.
COARSEST_CREDIBLE_MPP = 50.0
# Limits checked before anything is allocated: a small file can declare an enormous tile.
MAX_TILE_PX = 64 * 1024 * 1024
# Programs that know nothing of slides write a whole picture as one strip: 1.5 GB of RGB is still let in.
MAX_STRIP_PX = 512 * 1024 * 1024
MAX_SLIDE_SIDE_PX = 2_000_000


@dataclass(frozen=True)
class Header:
    """What a reader found without decoding pixels.

    levels: finest first; level 0 has downsample 1. mpp: (x, y) µm per level-0 px, None where unknown.
    bounds_offset: level-0 (x, y) of the scanned area's top-left where the format has one.
    random_access: small regions can be read without decoding whole rows or the whole image.
    notes: what was unknown or altered (16 bit scaled...), for people.
    """

    levels: tuple[Level, ...]
    mpp: tuple[float, float] | None
    objective_power: float | None = None
    bounds_offset: tuple[int, int] = (0, 0)
    icc_profile: bytes | None = None
    random_access: bool = True
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """Decodes regions of one open slide. Safe to call from several threads."""

    name: str
    header: Header

    @classmethod
    def open(cls, path: Path) -> Reader | None:
        """The reader on `path`; None where the format is not this reader's.

        Raises SlideError where the format is this reader's but the file is damaged.
        """
        ...

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width, 3) RGB at (x, y) in *level* px; the rectangle lies inside the level."""
        ...

    def close(self) -> None:
        """Release file handles; reading afterwards is an error."""
        ...
