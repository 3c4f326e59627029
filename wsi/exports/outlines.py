"""Outlines of areas of a mask whose lines need not lie evenly, exactly along the borders of its cells."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Outlines:
    """polygons: (n,), of which none overlaps another. row, col: (n,) a cell of the mask within each."""

    polygons: NDArray[np.object_]
    row: Index
    col: Index


def outlines_of(mask: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64]) -> Outlines:
    """The areas of a (rows, cols) mask whose cells share sides, with their holes.

    x, y: (cols + 1,) and (rows + 1,) ascending places of the lines between cells. Outer rings are counter-clockwise
    in x and y as numbers, inner ones clockwise; a ring may touch another at a point.
    """
    corners = _Corners.of(mask)
    rings = corners.rings()
    if not rings:
        return Outlines(np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.int64))
    lengths = np.array([len(ring) for ring in rings])
    points, first = np.concatenate(rings), np.append(0, np.cumsum(lengths)[:-1])
    areas = np.add.reduceat(corners.swept(points, first), first)
    row, col = corners.inner_cell(points[first], points[first + 1])
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    owner = labels[row, col]
    # The outer ring of an area comes first, and is the only one of it that goes counter-clockwise.
    order = np.lexsort((areas < 0, owner))
    places = np.stack([x[corners.col[points]], y[corners.row[points]]], axis=1)
    each = shapely.linearrings(places, indices=np.repeat(np.arange(len(rings)), lengths))
    polygons = shapely.polygons(each[order], indices=np.unique(owner[order], return_inverse=True)[1])
    outer = order[np.append(True, np.diff(owner[order]) != 0)]
    return Outlines(polygons, row[outer], col[outer])


@dataclass(frozen=True)
class _Corners:
    """Where borders turn: line `row` and `col` of each corner, in order of rows.

    Where two cells touch at a point alone, there are two corners, `twin` of each other (-1 at all else): each belongs
    to one of the cells. following: the next corner on the way around, with the area to the left.
    """

    row: Index
    col: Index
    twin: Index
    following: Index
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> _Corners:
        """Those of a mask."""
        padded = np.pad(mask, 1)
        one, right, below, both = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
        crossed = (one == both) & (right == below) & (one != right)
        row, col = np.nonzero((one ^ right ^ below ^ both) | crossed)
        twice = crossed[row, col].astype(np.int64) + 1
        row, col, twin = np.repeat(row, twice), np.repeat(col, twice), np.full(twice.sum(), -1)
        second = np.cumsum(twice)[twice == 2] - 1
        twin[second], twin[second - 1] = second - 1, second
        # Of twins the first is at the left end of the crossing's lines; its own upright line goes up where the cell
        # above and to the left is of the area, else down.
        late = np.zeros(len(row), np.int64)
        late[second] = 1
        leftwards = one[row, col]
        upright = np.where(leftwards, late, 1 - late)
        along = np.arange(len(row)).reshape(-1, 2)  # a line between rows goes from every other corner to the next
        down = np.lexsort((upright, row, col)).reshape(-1, 2)
        following = np.empty(len(row), np.int64)
        begin, end = along.T
        above = both[row[begin], col[begin]]  # what lies beyond the line, at its first cell, is of the area
        following[np.where(above, begin, end)] = np.where(above, end, begin)
        begin, end = down.T
        left = below[row[begin], col[begin]]
        following[np.where(left, begin, end)] = np.where(left, end, begin)
        return cls(row, col, twin, following, mask)

    def rings(self) -> list[list[int]]:
        """The corners of every ring in their order; none comes to a place twice."""
        following, twin = self.following.tolist(), self.twin.tolist()
        seen = bytearray(len(following))
        found: list[list[int]] = []
        for start in range(len(following)):
            corner, path = start, list[int]()
            place: dict[int, int] = {}  # of corners with a twin, where they are in the path
            while not seen[corner]:
                seen[corner] = 1
                if twin[corner] in place:  # here it has been: what it went around since is a ring of its own
                    at = place.pop(twin[corner])
                    found.append(path[at:])
                    for other in path[at:]:
                        place.pop(other, None)
                    del path[at:]
                if twin[corner] >= 0:
                    place[corner] = len(path)
                path.append(corner)
                corner = following[corner]
            if path:
                found.append(path)
        return found

    def swept(self, points: Index, first: Index) -> Index:
        """What each step of rings, of which `first` are the first points, adds to twice their area, in cells."""
        following = np.arange(1, len(points) + 1)
        following[np.append(first[1:], len(points)) - 1] = first
        x, y = self.col[points], self.row[points]
        swept: Index = x * y[following] - x[following] * y
        return swept

    def inner_cell(self, begin: Index, end: Index) -> tuple[Index, Index]:
        """(row, col) of a cell to the left of the way from corners to the next of their rings."""
        row, col = self.row, self.col
        step_x, step_y = np.sign(col[end] - col[begin]), np.sign(row[end] - row[begin])
        # Rightwards the area is beyond the line, leftwards before it; downwards before, upwards beyond, and behind.
        inner_row = np.where(step_x > 0, row[begin], row[begin] - 1)
        inner_col = np.where(step_x > 0, col[begin], col[begin] - 1)
        inner_row = np.where(step_y > 0, row[begin], np.where(step_y < 0, row[begin] - 1, inner_row))
        inner_col = np.where(step_y > 0, col[begin] - 1, np.where(step_y < 0, col[begin], inner_col))
        return inner_row, inner_col
