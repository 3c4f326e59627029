"""Tile labels from regions: a tile takes the name that covers most of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from wsi.annotations import Region
from wsi.geometry import TileGrid
from wsi.shapes import box_fractions, rasterise

# Coverage is measured on a raster with this many px along a tile's side: steps of 1/16 along each axis.
_PX_PER_TILE = 16


def label_tiles(table: pa.Table, grid: TileGrid, regions: list[Region], min_cover: float) -> pa.Table:
    """The tile table with columns `label` (string, null where no region covers enough) and `cover` (float32, 0-1).

    min_cover: share of the tile that a region must cover to name it; the best covered name wins.
    """
    size = grid.spec.size_px
    boxes = grid.boxes()
    px_size = (grid.downsample[0] * size / _PX_PER_TILE, grid.downsample[1] * size / _PX_PER_TILE)
    shape = (round(grid.slide_height / px_size[1]) + 1, round(grid.slide_width / px_size[0]) + 1)
    names = sorted({region.name for region in regions})
    cover = np.zeros((len(names) + 1, len(boxes)), np.float32)
    for number, name in enumerate(names, start=1):
        drawn = shapely.union_all([region.polygon for region in regions if region.name == name])
        cover[number] = box_fractions(rasterise(drawn, shape, px_size), boxes, px_size)
    best = cover.argmax(axis=0)
    covered: NDArray[np.float32] = cover.max(axis=0)
    named = [names[b - 1] if b > 0 and c >= min_cover else None for b, c in zip(best, covered, strict=True)]
    table = table.append_column("label", pa.array(named, pa.string()))
    return table.append_column("cover", pa.array(covered))
