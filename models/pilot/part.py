"""Part of a tile set, as a set of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.data import TileSet
from models.pilot.design import digest
from wsi.geometry import TileSpec


@dataclass(frozen=True, eq=False)
class Part:
    """The tiles `indices` of `whole`, all its classes. cache: the whole's pixels, or None to read them again.

    grouped: False forgets the cases, where they leave no way to part these tiles.
    """

    whole: TileSet
    indices: NDArray[np.int64]
    cache: Sequence[NDArray[np.uint8]] | None = None
    grouped: bool = True

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the whole."""
        return self.whole.classes

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) indices into `classes`."""
        return self.whole.labels[self.indices]

    @property
    def groups(self) -> tuple[str, ...] | None:
        """(n,) case or slide of each tile."""
        groups = self.whole.groups
        return tuple(groups[i] for i in self.indices) if self.grouped and groups is not None else None

    @property
    def group_kind(self) -> str:
        """As of the whole; "tile" where groups are forgotten."""
        return self.whole.group_kind if self.grouped else "tile"

    @property
    def sites(self) -> tuple[str, ...] | None:
        """(n,) hospital or scanner of each tile."""
        sites = self.whole.sites
        return tuple(sites[i] for i in self.indices) if sites is not None else None

    @property
    def sources(self) -> tuple[str, ...]:
        """(n,) the file each tile is of."""
        sources = self.whole.sources
        return tuple(sources[i] for i in self.indices)

    @property
    def keys(self) -> tuple[str, ...]:
        """(n,) names of the tiles."""
        keys = self.whole.keys
        return tuple(keys[i] for i in self.indices)

    def load(self, index: int, tile: TileSpec) -> NDArray[np.uint8]:
        """(h, w, 3) RGB at `tile.mpp`, which is what the cache was made for."""
        place = int(self.indices[index])
        return self.cache[place] if self.cache is not None else self.whole.load(place, tile)

    def probe(self) -> Sequence[int]:
        """None but the first: the whole was decoded before."""
        return [0]

    def fingerprint(self) -> str:
        """SHA-256 over the whole's and which tiles these are."""
        return hashlib.sha256(f"{self.whole.fingerprint()} {digest(self.indices)}".encode()).hexdigest()
