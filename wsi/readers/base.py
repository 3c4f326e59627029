"""What every reader offers. `wsi.slide.Slide` builds all else (mpp, resampling, white borders) on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Level

# mpp = 25,400 / dpi: 72, 96, 150, 300 and 600 dpi are what programs write when they know nothing. Nothing that is
# called a whole slide is coarser than this, so such a resolution is treated as missing, and said so.
COARSEST_CREDIBLE_MPP = 30.0
# Light resolves 0.2 µm: what is finer than this by far is a unit mistaken for another.
FINEST_CREDIBLE_MPP = 0.05
# Scanners have square pixels: where a file's sides differ by more, one of them is a mistake.
_UNEVEN = 1.05
# How a note ends that says why what a file states is not believed.
MPP_UNKNOWN = "taken as unknown"
# Limits checked before anything is allocated: a small file can declare an enormous tile.
MAX_TILE_PX = 64 * 1024 * 1024
# A file whose native tiles are larger is no better at random than one in strips: it is converted.
MAX_RANDOM_TILE_PX = 2048 * 2048
# A compressed strip that the cache of decoded tiles cannot hold would be decoded for every band that is read of it.
MAX_HELD_STRIP_PX = 24 * 1024 * 1024
# Programs that know nothing of slides write a whole picture as one strip: 1.5 GB of RGB is still let in.
MAX_STRIP_PX = 512 * 1024 * 1024
MAX_SLIDE_SIDE_PX = 2_000_000
MAX_LEVELS = 64
# Of a label or macro.
LARGEST_ASSOCIATED_PX = 64 * 1024 * 1024


@dataclass(frozen=True)
class Header:
    """What a reader found without decoding pixels.

    levels: finest first; level 0 has downsample 1. mpp: (x, y) µm per level-0 px, None where unknown.
    bounds_offset: level-0 (x, y) of the scanned area's top-left where the format has one.
    random_access: small regions can be read without decoding whole rows or the whole image.
    notes: what was unknown or altered (16 bit scaled...), for people.
    lossless: pixels are stored by a codec that is known to lose nothing.
    description: the file's own text, as it is. It may name a patient: it is not shown and goes into no file by itself.
    """

    levels: tuple[Level, ...]
    mpp: tuple[float, float] | None
    objective_power: float | None = None
    bounds_offset: tuple[int, int] = (0, 0)
    icc_profile: bytes | None = None
    random_access: bool = True
    notes: tuple[str, ...] = ()
    description: str = ""
    lossless: bool = False


def credible(mpp: tuple[float, float]) -> bool:
    """Both sides (x, y), in µm per px, are those of a microscope, whether they agree or not."""
    return all(FINEST_CREDIBLE_MPP <= side <= COARSEST_CREDIBLE_MPP for side in mpp)


def believed_mpp(
    mpp: tuple[float, float] | None, why_not: Callable[[tuple[float, float]], str] | None = None
) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """(mpp that a file states, or None where it cannot be; what people are told then).

    why_not: what is said of one that is out of bounds, where the file states it in other words than µm per px.
    """
    if mpp is None:
        return None, ()
    if not credible(mpp):
        said = f"the file says {mpp[0]:.4g} × {mpp[1]:.4g} µm per px, which is no slide's; {MPP_UNKNOWN}"
        return None, (why_not(mpp) if why_not else said,)
    if max(mpp) / min(mpp) > _UNEVEN:
        return None, (
            f"the file says {mpp[0]:.4g} × {mpp[1]:.4g} µm per px, sides that differ by "
            f"{100 * (max(mpp) / min(mpp) - 1):.0f} %; mpp {MPP_UNKNOWN}",
        )
    return mpp, ()


@dataclass(frozen=True)
class NativeTiles:
    """One level's tiles as they lie compressed in a TIFF: 8-bit RGB, chunky, in a codec that every program opens.

    compression, photometric, predictor: the TIFF tags' values; subsampling: (horizontal, vertical) of YCbCr.
    raw: row * columns + col → the tile's bytes; empty where the file has none (such a tile is white).
    complete: the file has all of them.
    """

    tile_width: int
    tile_height: int
    columns: int
    rows: int
    compression: int
    photometric: int
    predictor: int
    subsampling: tuple[int, int] | None
    jpeg_tables: bytes | None
    complete: bool
    raw: Callable[[int], bytes]


class Reader(Protocol):
    """Decodes regions of one open slide. Safe to call from several threads."""

    name: str
    header: Header

    @classmethod
    def open(cls, path: Path, scene: int = 0) -> Reader | None:
        """The reader on a scene of `path` (`wsi.source.Scene`); None where the format is not this reader's.

        Raises SlideError where the format is this reader's but the file is damaged or has no such scene.
        """
        ...

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width, 3) RGB at (x, y) in *level* px; the rectangle lies inside the level."""
        ...

    def native(self, level: int) -> NativeTiles | None:
        """The level's compressed tiles, where they can be copied into another TIFF as they are."""
        ...

    def associated(self) -> dict[str, NDArray[np.uint8]]:
        """(h, w, 3) RGB by name: "label", "macro", "thumbnail", as far as the file has them.

        A label and a macro may show a patient's name: never copy or show them unless someone asked for it.
        """
        ...

    def close(self) -> None:
        """Release file handles; reading afterwards is an error."""
        ...
