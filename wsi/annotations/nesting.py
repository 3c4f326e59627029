"""Which of two areas decides where they overlap: the inner one, and where neither lies within the other, neither.

Outlines are drawn by hand. One that pokes out of another by a sliver was meant to lie within it, and two that differ
by no more than hands do are one outline, drawn twice: of these neither is the inner one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

# At most this share of an inner area pokes out of the outer one.
POKES_OUT = 0.05
# What an outer area has beyond the inner one is at least so many times what pokes out, and at least so much of itself.
_BEYOND_TO_POKING, _BEYOND = 4, 0.01
# Level-0 px². Files round to 0.01 px: what touches overlaps by that much.
_NO_AREA = 1e-6
# So many holes are cut out one after the other, of all areas at once; more of them are merged first.
_FEW = 8

Areas = NDArray[np.object_]


@dataclass(frozen=True)
class Settled:
    """Areas of several kinds, once it is settled who decides where they overlap.

    kept: (n,) what each area alone decides, None where nothing is left of it. Areas of one kind may overlap.
    contested: (m,) areas where two of different kinds overlap and neither lies within the other; first, second: (m,)
    which two.
    """

    kept: Areas
    contested: Areas
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def settle(areas: Areas, kinds: NDArray[np.int64]) -> Settled:
    """Cut out of each area (polygon) what lies within it and is of another kind, and what it and another contest.

    kinds: (n,) which areas mean the same; these never take anything from each other. Neither the order of the areas
    nor that of the kinds matters.
    """
    outer, inner = _overlapping(areas, kinds)
    decided = lie_within(areas[inner], areas[outer])
    # The larger outline may have the smaller area: it has holes.
    swapped = ~decided & (_holed(areas[inner]) | _holed(areas[outer]))
    swapped[swapped] = lie_within(areas[outer[swapped]], areas[inner[swapped]])
    outer[swapped], inner[swapped] = inner[swapped], outer[swapped]
    decided |= swapped
    kept = cut_out(areas, outer[decided], areas[inner[decided]])
    first, second = outer[~decided], inner[~decided]
    contested = polygonal(shapely.intersection(kept[first], kept[second]))
    some = shapely.area(contested) > _NO_AREA
    first, second, contested = first[some], second[some], contested[some]
    kept = cut_out(kept, np.concatenate([first, second]), np.concatenate([contested, contested]))
    return Settled(kept, contested, first, second)


def lie_within(inner: Areas, outer: Areas) -> NDArray[np.bool_]:
    """(n,) whether each inner area lies within its outer one; then that is the larger of the two.

    Either all that belongs to it does, or its outline lies within the other's: as around a hole of the outer one.
    """
    shapely.prepare(outer)
    found = _shares_fit(inner, outer)
    holed = np.flatnonzero(~found & (_holed(inner) | _holed(outer)))
    found[holed] = _shares_fit(_filled(inner[holed]), _filled(outer[holed]))
    return found


def _shares_fit(inner: Areas, outer: Areas) -> NDArray[np.bool_]:
    inner_area, outer_area = shapely.area(inner), shapely.area(outer)
    common = inner_area.copy()
    part = np.flatnonzero(~shapely.covers(outer, inner))
    common[part] = shapely.area(shapely.intersection(inner[part], outer[part]))
    pokes_out, beyond = inner_area - common, outer_area - common
    fits: NDArray[np.bool_] = (
        (pokes_out <= POKES_OUT * inner_area)
        & (beyond >= _BEYOND_TO_POKING * pokes_out)
        & (beyond >= _BEYOND * outer_area)
    )
    return fits


def _holed(areas: Areas) -> NDArray[np.bool_]:
    return np.asarray(shapely.get_num_interior_rings(areas) > 0)


def _filled(areas: Areas) -> Areas:
    filled = areas.copy()
    polygon = shapely.get_type_id(areas) == shapely.GeometryType.POLYGON
    filled[polygon] = shapely.polygons(shapely.get_exterior_ring(areas[polygon]))
    return filled


def _overlapping(areas: Areas, kinds: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every two areas of different kinds that overlap, once: the larger one, the smaller one."""
    one, two = shapely.STRtree(areas).query(areas)
    new = (one < two) & (kinds[one] != kinds[two])
    one, two = one[new], two[new]
    bounds = shapely.bounds(areas)
    side_by_side = (np.minimum(bounds[one, 2:], bounds[two, 2:]) <= np.maximum(bounds[one, :2], bounds[two, :2])).any(1)
    one, two = one[~side_by_side], two[~side_by_side]
    size = shapely.area(areas)
    larger = np.where(size[one] >= size[two], one, two)
    smaller = one + two - larger
    shapely.prepare(areas[np.unique(larger)])
    meet = shapely.intersects(areas[larger], areas[smaller]) & ~shapely.touches(areas[larger], areas[smaller])
    return larger[meet], smaller[meet]


def cut_out(areas: Areas, of: NDArray[np.int64], holes: Areas) -> Areas:
    """The areas without their holes: hole number k is cut out of area `of[k]`. None where nothing is left."""
    left = areas.copy()
    order = np.argsort(of, kind="stable")
    numbers, starts, counts = np.unique(of[order], return_index=True, return_counts=True)
    few = counts <= _FEW
    for turn in range(min(_FEW, counts.max(initial=0))):
        mine = few & (counts > turn)
        left[numbers[mine]] = shapely.difference(left[numbers[mine]], holes[order[starts[mine] + turn]])
    for number, start, count in zip(numbers[~few], starts[~few], counts[~few], strict=True):
        left[number] = shapely.difference(left[number], merged(holes[order[start : start + count]]))
    left[numbers] = polygonal(left[numbers])
    return left


def merged(areas: Areas) -> BaseGeometry:
    """One area of many, empty where there are none; ten times as fast as `union_all` where few of them overlap."""
    return shapely.disjoint_subset_union_all(areas)


def polygonal(areas: Any) -> Areas:
    """(n,) the areas without the points and lines that cutting leaves; None where no area is left."""
    found = np.array(areas, object).reshape(-1)
    kinds = shapely.get_type_id(found)
    for number in np.flatnonzero(kinds == shapely.GeometryType.GEOMETRYCOLLECTION):
        parts = shapely.get_parts(found[number])
        found[number] = shapely.union_all(parts[shapely.area(parts) > 0])
    found[~(shapely.area(found) > 0)] = None
    return found
