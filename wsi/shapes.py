"""Between masks of pixels and polygons in level-0 px."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import LinearRing, LineString, MultiPolygon, Point, Polygon
from shapely.geometry.base import BaseGeometry


def polygons_of(mask: NDArray[np.bool_], px_size: tuple[float, float]) -> list[Polygon]:
    """The connected areas of a (rows, cols) mask as polygons with holes, in level-0 px.

    px_size: level-0 px per mask px, (x, y). Outlines follow the pixels' borders; inner corners are
    cut obliquely, at most half a px each (0.5 % of a smooth mask's area), and `rasterise` gives the mask back.
    """
    contours, hierarchy = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if hierarchy is None:
        return []
    holes: dict[int, list[NDArray[Any]]] = {}
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True):
        if parent >= 0 and len(contour) > 3:
            holes.setdefault(int(parent), []).append(contour[:, 0])
    found: list[Polygon] = []
    for number, (contour, (_, _, _, parent)) in enumerate(zip(contours, hierarchy[0], strict=True)):
        if parent < 0:
            found += _outline(contour[:, 0], holes.get(number, []))
    # Contours run through pixel centres; (0.5, 0.5) moves them from index to position.
    moved = (shapely.transform(polygon, lambda xy: (xy + 0.5) * px_size) for polygon in found)
    return [polygon for polygon in moved if polygon.area > 0]


def _outline(shell: NDArray[Any], holes: list[NDArray[Any]]) -> list[Polygon]:
    """A contour through pixel centres, grown by half a px to the pixels' borders."""
    core: BaseGeometry
    if len(shell) == 1:
        core = Point(shell[0])
    elif len(shell) == 2:
        core = LineString(shell)
    else:
        polygon = Polygon(shell, holes)
        core = polygon if polygon.is_valid else _touching(shell, holes)
    grown = core.buffer(0.5, cap_style="square", join_style="mitre")
    return list(grown.geoms) if isinstance(grown, MultiPolygon) else [grown]


def _touching(shell: NDArray[Any], holes: list[NDArray[Any]]) -> BaseGeometry:
    """A contour whose holes touch it, or itself: its area, and its lines, which are all there is of walls 1 px wide."""
    area = shapely.make_valid(Polygon(shell)).difference(
        shapely.union_all([shapely.make_valid(Polygon(hole)) for hole in holes])
    )
    return shapely.union_all([area, LinearRing(shell), *(LinearRing(hole) for hole in holes)])


def rasterise(polygon: BaseGeometry, shape: tuple[int, int], px_size: tuple[float, float]) -> NDArray[np.bool_]:
    """(rows, cols) mask of the pixels whose centres lie inside polygons in level-0 px; px_size as in `polygons_of`."""
    rows, x = _crossings(polygon, shape[0], px_size)
    # A row has one more place than pixels, for crossings right of them: every row has an even number of crossings.
    wide = shape[1] + 1
    first = np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(np.int64)
    places = np.sort(rows * wide + first)
    # From one crossing to the next, row after row, all is outside or inside in turns.
    lengths = np.diff(places, prepend=0, append=shape[0] * wide)
    inside: NDArray[np.bool_] = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(shape[0], wide)[:, :-1]
    return np.ascontiguousarray(inside)


def _crossings(
    polygon: BaseGeometry, height: int, px_size: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(row, x) in mask px of every place where an outline crosses the middle line of a row."""
    points, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(polygon)), return_index=True)
    points = points / px_size
    edge = ring[:-1] == ring[1:]
    start, end = points[:-1][edge], points[1:][edge]
    first = np.clip(np.ceil(np.minimum(start[:, 1], end[:, 1]) - 0.5), 0, height).astype(np.int64)
    count = np.clip(np.ceil(np.maximum(start[:, 1], end[:, 1]) - 0.5), 0, height).astype(np.int64) - first
    each = np.repeat(np.arange(len(count)), count)
    rows = first[each] + np.arange(len(each)) - np.repeat(np.cumsum(count) - count, count)
    # Edges that cross no line have no entry in `each`; a level one among them would divide by nothing.
    slope = (end[:, 0] - start[:, 0]) / np.where(count > 0, end[:, 1] - start[:, 1], 1)
    return rows, start[each, 0] + (rows + 0.5 - start[each, 1]) * slope[each]


def box_fractions(
    mask: NDArray[np.bool_], boxes: NDArray[np.int64], px_size: tuple[float, float]
) -> NDArray[np.float32]:
    """(N,) share of each level-0 box (N, 4: x, y, width, height) that a mask covers; outside counts as not.

    px_size: level-0 px per mask px, (x, y). Boxes are rounded to whole mask px, at least one.
    """
    integral = cv2.integral(mask.astype(np.uint8))
    rows, cols = mask.shape
    left, right = _span(boxes[:, 0], boxes[:, 2], px_size[0])
    top, bottom = _span(boxes[:, 1], boxes[:, 3], px_size[1])
    area = (right - left) * (bottom - top)
    left, right = np.clip(left, 0, cols), np.clip(right, 0, cols)
    top, bottom = np.clip(top, 0, rows), np.clip(bottom, 0, rows)
    covered = integral[bottom, right] - integral[top, right] - integral[bottom, left] + integral[top, left]
    return (covered / area).astype(np.float32)


def _span(
    start: NDArray[np.int64], length: NDArray[np.int64], px_size: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    first = np.floor(start / px_size + 0.5).astype(np.int64)
    last = np.floor((start + length) / px_size + 0.5).astype(np.int64)
    return first, np.maximum(last, first + 1)
