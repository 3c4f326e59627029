"""Tile labels from regions: a tile takes the name that covers most of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsi.annotations import Region
from wsi.errors import InputError
from wsi.geometry import TileGrid
from wsi.shapes import box_fractions, rasterise

# Coverage is measured on a raster with this many px along a tile's side: steps of 1/16 along each axis.
_PX_PER_TILE = 16
EVERYWHERE_SEEN = shapely.Polygon()


def label_tiles(
    table: pa.Table,
    grid: TileGrid,
    regions: Sequence[Region],
    min_cover: float,
    outside: str | None = None,
    unseen: BaseGeometry = EVERYWHERE_SEEN,
) -> pa.Table:
    """The tile table with columns `label` (string, null where nothing covers enough) and `cover` (float32, 0-1).

    min_cover: share of the tile that a region must cover to name it; the best covered name wins. outside: the name
    of tiles of which at least this share lies in no region; the border tiles between have none. unseen: the part of
    the slide (level-0 px) where nobody looked, which is neither within a region nor outside.

    `cover` is the share that the best covering name covers, also where that is too little for a label.
    A region that lies within one of another name is cut out of it: the inner one is what was meant there.

    Raises InputError where a region lies outside of the slide: all tiles would be `outside`, in silence.
    """
    _refuse_elsewhere(regions, grid)
    drawn = drawn_by_name(regions)
    names = list(drawn)
    cover = np.zeros((len(names) + 1, len(table)), np.float32)
    for number, name in enumerate(names, start=1):
        cover[number] = _cover(drawn[name], grid)
    best = cover.argmax(axis=0)
    covered: NDArray[np.float32] = cover.max(axis=0)
    labelled = (best > 0) & (covered >= min_cover)
    named: NDArray[np.object_] = np.array([None, *names], object)[np.where(labelled, best, 0)]
    if outside is not None:
        free = 1 - _cover(shapely.union_all([*drawn.values(), unseen]), grid)
        named[~labelled & (free >= min_cover)] = outside
    table = table.append_column("label", pa.array(named, pa.string()))
    return table.append_column("cover", pa.array(covered))


def _refuse_elsewhere(regions: Iterable[Region], grid: TileGrid) -> None:
    slide = shapely.box(0, 0, grid.slide_width, grid.slide_height)
    elsewhere = [region for region in regions if not region.polygon.intersects(slide)]
    if elsewhere:
        first, bounds = elsewhere[0], ", ".join(f"{value:.0f}" for value in elsewhere[0].polygon.bounds)
        raise InputError(
            f"{first.source}: {len(elsewhere)} regions lie outside of the slide ({grid.slide_width} × "
            f"{grid.slide_height} px), the first, {first.name}, at level-0 px {bounds}; give annotations of this very "
            "slide, in its px, and the corner that they count from (--origin)"
        )


def drawn_by_name(regions: Iterable[Region]) -> dict[str, BaseGeometry]:
    """Each name's area, names in order; without the regions of other names that lie within one of its own."""
    of_name: dict[str, list[BaseGeometry]] = {}
    for region in regions:
        of_name.setdefault(region.name, []).append(region.polygon)
    found: dict[str, BaseGeometry] = {}
    for name in sorted(of_name):
        others = [polygon for other in of_name if other != name for polygon in of_name[other]]
        inner = _within(others, of_name[name])
        found[name] = shapely.union_all(of_name[name]).difference(shapely.union_all(inner))
    return found


def _within(inner: list[BaseGeometry], outer: list[BaseGeometry]) -> list[BaseGeometry]:
    """Those of `inner` that lie within one of `outer`, and are smaller: of two that are equal neither is cut."""
    inside, around = np.array(inner, object), np.array(outer, object)
    found, holder = shapely.STRtree(around).query(inside, predicate="within")
    smaller = shapely.area(inside[found]) < shapely.area(around[holder])
    return list(inside[np.unique(found[smaller])])


def _cover(drawn: BaseGeometry, grid: TileGrid) -> NDArray[np.float32]:
    """(N,) share of each tile of the grid that an area covers."""
    size = grid.spec.size_px
    px_size = (grid.downsample[0] * size / _PX_PER_TILE, grid.downsample[1] * size / _PX_PER_TILE)
    shape = (round(grid.slide_height / px_size[1]) + 1, round(grid.slide_width / px_size[0]) + 1)
    return box_fractions(rasterise(drawn, shape, px_size), grid.boxes(), px_size)
