"""Stairs of tiles, slightly rounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

# Places on a corner's arc, from its start (0) to its end (1).
_ARC = np.array([0.0, 1 / 3, 2 / 3, 1.0])[:, None]


def rounded_outlines(
    outlines: NDArray[np.object_], x_edges: NDArray[np.float64], y_edges: NDArray[np.float64]
) -> NDArray[np.object_]:
    """Polygons along the sides of cells -> the same, rounded, in level-0 px.

    outlines: (n,) polygons whose corners are whole numbers of cells. x_edges, y_edges: level-0 px of the lines between
    cells, ascending.

    Each corner becomes an arc from the middle of the cell's side before it to the middle of that after it (a quadratic
    B-spline), no further from the corner than a fifth of a cell's side. An arc stays within the one cell that its
    corner turns around, so that rings never cross or touch. Inner corners gain what outer ones lose: but for the four
    surplus corners of a ring, a fifth of a cell in all, areas are kept.
    """
    if not len(outlines):
        return outlines
    rings, owner = shapely.get_rings(shapely.segmentize(outlines, 1.0), return_index=True)
    points, ring_of = _arcs(rings)
    placed = np.stack(
        [
            np.interp(points[:, 0], np.arange(len(x_edges)), x_edges),
            np.interp(points[:, 1], np.arange(len(y_edges)), y_edges),
        ],
        axis=1,
    )
    # The first ring of a polygon is its outer one, both in what came and in what goes.
    polygons: NDArray[np.object_] = shapely.polygons(shapely.linearrings(placed, indices=ring_of), indices=owner)
    return polygons


def _arcs(rings: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """((m, 2) points, (m,) their ring) of the arcs of all corners, one ring after the other."""
    corners, ring_of = shapely.get_coordinates(rings, return_index=True)
    last = np.diff(ring_of, append=len(rings)) > 0  # a closed ring's last point is its first again
    corners, ring_of = corners[~last], ring_of[~last]
    before, after = _neighbours(ring_of)
    start, end = (corners + corners[before]) / 2, (corners + corners[after]) / 2
    turns = _cross(corners - start, end - corners) != 0
    start, corners, end, ring_of = start[turns, None], corners[turns, None], end[turns, None], ring_of[turns]
    points = ((1 - _ARC) ** 2 * start + 2 * _ARC * (1 - _ARC) * corners + _ARC**2 * end).reshape(-1, 2)
    ring_of = np.repeat(ring_of, len(_ARC))
    # Where two corners follow each other, one arc ends where the next begins: halves of whole numbers, exactly equal.
    new = np.append(True, (np.diff(points, axis=0) != 0).any(axis=1) | (np.diff(ring_of) != 0))
    return points[new], ring_of[new]


def _neighbours(ring_of: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Index of the point before and after each, around its ring."""
    index = np.arange(len(ring_of))
    first = np.flatnonzero(np.diff(ring_of, prepend=-1))
    last = np.append(first[1:], len(ring_of)) - 1
    before, after = index - 1, index + 1
    before[first], after[last] = last, first
    return before, after


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[Any]:
    return np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
