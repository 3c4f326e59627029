"""How much of each tile belongs to each class, to nobody, or to what takes no label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsi.annotations.nesting import merged
from wsi.areas import ClassAreas
from wsi.geometry import TileGrid
from wsi.shapes import box_fractions, rasterise

# Coverage is measured on a raster with this many px along a tile's side: steps of 1/16 along each axis.
_PX_PER_TILE = 16

Shares = NDArray[np.float32]


@dataclass(frozen=True)
class Coverage:
    """Shares of each tile, 0-1, row by row over a grid; those of a tile add up to 1.

    by_class: (classes, n), in the order of `names`. contested, ignored: (n,), as `ClassAreas` has them. unseen: (n,)
    where nobody looked and nothing is drawn. free: (n,) the rest.
    """

    names: tuple[str, ...]
    by_class: Shares
    contested: Shares
    ignored: Shares
    unseen: Shares
    free: Shares

    @classmethod
    def of(cls, areas: ClassAreas, unseen: BaseGeometry, grid: TileGrid) -> Coverage:
        """Of areas in level-0 px, none of which overlaps another; but `unseen` may overlap all."""
        size = grid.spec.size_px
        px_size = (grid.downsample[0] * size / _PX_PER_TILE, grid.downsample[1] * size / _PX_PER_TILE)
        shape = (round(grid.slide_height / px_size[1]) + 1, round(grid.slide_width / px_size[0]) + 1)
        boxes, taken = grid.boxes(), np.zeros(shape, bool)

        def share(area: BaseGeometry) -> Shares:
            """Of what is not taken yet; then it is."""
            if area.is_empty:
                return np.zeros(len(boxes), np.float32)
            mask = rasterise(area, shape, px_size)
            np.greater(mask, taken, out=mask)  # without `~taken`, which takes as much memory again
            np.logical_or(taken, mask, out=taken)
            return box_fractions(mask, boxes, px_size)

        by_class = [share(area) for area in areas.by_name.values()]
        contested, ignored, nobody_looked = share(merged(areas.contested)), share(areas.ignored), share(unseen)
        free = 1 - box_fractions(taken, boxes, px_size)
        stacked = np.stack(by_class) if by_class else np.zeros((0, len(boxes)), np.float32)
        return cls(tuple(areas.by_name), stacked, contested, ignored, nobody_looked, free)

    def best(self) -> tuple[NDArray[np.int64], Shares, NDArray[np.bool_]]:
        """(n,) the class that covers most of each tile, how much, and whether another covers as much."""
        if not self.names:
            nothing = np.zeros(len(self.free), np.float32)
            return nothing.astype(np.int64), nothing, nothing > 0
        covered: Shares = self.by_class.max(axis=0)
        tied = (covered > 0) & ((self.by_class == covered).sum(axis=0) > 1)
        return self.by_class.argmax(axis=0), covered, tied
