"""What a set of labelled tiles is, wherever its pixels lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import TileSpec

_LISTED = 10


class TileSet(Protocol):
    """Labelled tiles, by index. `labels`: (n,) int64 indices into `classes`, which are sorted by name.

    groups: one per tile, the case it is of (or the slide); None where nobody knows. sites: where it comes from.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, sorted."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) indices into `classes`."""

    @property
    def groups(self) -> tuple[str, ...] | None:
        """(n,) case or slide of each tile."""

    @property
    def group_kind(self) -> str:
        """What a group is: "case", "slide" or "stain group" (a guess at cases); "tile" where there are none."""

    @property
    def sites(self) -> tuple[str, ...] | None:
        """(n,) hospital or scanner of each tile; None where it is not known of all."""

    @property
    def sources(self) -> tuple[str, ...]:
        """(n,) the file each tile is of: its own, or its slide's."""

    @property
    def keys(self) -> tuple[str, ...]:
        """(n,) names of the tiles, all different, the same on every machine."""

    def __len__(self) -> int: ...

    def load(self, index: int, tile: TileSpec) -> NDArray[np.uint8]:
        """(h, w, 3) RGB at `tile.mpp`, at least size_px a side but for two; InputError if it cannot be."""

    def probe(self) -> Sequence[int]:
        """The tiles to decode before training, so that a broken file is found then."""

    def fingerprint(self) -> str:
        """SHA-256 that changes when the tiles or their labels do."""


def left_out_of(tiles: TileSet) -> dict[str, dict[str, int]]:
    """What lay beside the tiles and is none, counted: class folder → ending → files, or slide → reason → rows.

    Empty of a set that does not say, such as a part of another.
    """
    counts: Mapping[str, Mapping[str, int]] = getattr(tiles, "left_out", {})
    return {place: dict(kinds) for place, kinds in counts.items()}


def list_some(messages: Sequence[str], join: str = "; ") -> str:
    """The first ten of many messages, and how many more there are."""
    more = f"{join}and {len(messages) - _LISTED} more" if len(messages) > _LISTED else ""
    return join.join(messages[:_LISTED]) + more
