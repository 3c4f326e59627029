"""What px show of the heat: which tile's, and whether tissue is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import TileGrid
from wsi.overlay.clip import Clip
from wsi.overlay.heat import Heat
from wsi.overlay.view import Axis, View

# A value and its layer in one number: a positive float's bits are in the order of floats, so that the maximum of the
# values brings its class along.
_LAYER_BITS = 32
Keys = NDArray[np.uint64]
Index = NDArray[np.int64]


class Seen:
    """The heat as the px of a view see it, rectangle by rectangle: left, top, width and height count from its margin.

    A px shows the cell under its centre and every cell whose own middle is in it; of several the strongest. Of a cell
    that is partly glass it shows the tissue: where there is some under the px's centre, or where the cell's middle,
    which then is a place of tissue in it, is in the px. So heat is off by half a px at most, and of a single hot tile
    something is seen at every scale.

    cells: (runs of rows, runs of cols) keys, as if nothing were cut; px (col, row) shows cells[rows[row], cols[col]].
    """

    def __init__(self, heat: Heat, clip: Clip | None, grid: TileGrid, view: View) -> None:
        columns, rows = view.axes(grid)
        keys = _keys(heat)
        self._cut = None
        if clip is not None:
            keys = np.where(clip.bare, np.uint64(0), keys)
            if (keys[clip.partly] > 0).any():
                self._cut = _Cut(np.where(clip.partly, keys, np.uint64(0)), clip, grid, view, (columns, rows))
        self.cells, self.rows, self.cols = _strongest(keys, columns, rows)
        self._whole = self.cells
        if self._cut is not None and clip is not None:
            self._whole = _strongest(np.where(clip.partly, np.uint64(0), keys), columns, rows)[0]

    def uncut(self, left: int, top: int, width: int, height: int) -> bool:
        """No px of the rectangle shows a cell that is cut along tissue."""
        return self._cut is None or self._cut.misses(left, top, width, height)

    def span(self, left: int, top: int, width: int, height: int) -> tuple[slice, slice]:
        """The part of `cells` that a rectangle shows, (rows, cols)."""
        rows, cols = self.rows, self.cols
        return slice(rows[top], rows[top + height - 1] + 1), slice(cols[left], cols[left + width - 1] + 1)

    def touches(self, left: int, top: int, width: int, height: int) -> bool:
        """Some px of the rectangle shows heat."""
        if self._whole[self.span(left, top, width, height)].any():
            return True
        return self._cut is not None and self._cut.touches(left, top, width, height)

    def kept(self, left: int, top: int, width: int, height: int) -> NDArray[np.bool_] | None:
        """(height, width) px that show what `cells` says; the others show nothing. None: it is not as simple."""
        return None if self._cut is None else self._cut.kept(left, top, width, height)

    def keys(self, left: int, top: int, width: int, height: int) -> Keys:
        """(height, width) what each px shows; see `parts_of`."""
        rows, cols = self.rows[top : top + height], self.cols[left : left + width]
        found: Keys = self._whole.take(rows, axis=0).take(cols, axis=1)
        if self._cut is not None:
            self._cut.lay_on(found, left, top)
        return found


def parts_of(keys: Keys) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """(layer, value) of keys: see `Heat`."""
    value = (keys >> np.uint64(_LAYER_BITS)).astype(np.uint32).view(np.float32)
    return (keys & np.uint64(0xFFFF)).astype(np.uint16), value


def _keys(heat: Heat) -> Keys:
    keys: Keys = heat.value.view(np.uint32).astype(np.uint64) << np.uint64(_LAYER_BITS) | heat.layer.astype(np.uint64)
    return keys


def _strongest(keys: Keys, columns: Axis, rows: Axis) -> tuple[Keys, Index, Index]:
    """What px show of (rows, cols) keys, once for each run of equal px; and px → run, of rows and of columns."""
    # Cells of nothing lie around, for px beyond the grid.
    keys = np.pad(keys, ((1, 2), (1, 2)))
    keys, row_runs = _strongest_along(keys, rows, 0)
    keys, col_runs = _strongest_along(keys, columns, 1)
    return keys, row_runs, col_runs


def _strongest_along(keys: Keys, axis: Axis, number: int) -> tuple[Keys, Index]:
    """The maximum over first[i] to before last[i] along an axis, once for each run of equal px; and px → run."""
    first, last = axis.first, axis.last
    starts = np.append(0, np.flatnonzero((np.diff(first) != 0) | (np.diff(last) != 0)) + 1)
    run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(first))))
    pairs = np.stack([first[starts], last[starts]], axis=1).ravel()
    maxima = np.maximum.reduceat(keys, pairs, axis=number)  # every other one is of what lies between two runs
    return (maxima[::2] if number == 0 else maxima[:, ::2]), run


class _Cut:
    """The cells that are partly glass, as px see them."""

    def __init__(self, keys: Keys, clip: Clip, grid: TileGrid, view: View, axes: tuple[Axis, Axis]) -> None:
        columns, rows = axes
        self._keys, self._mask = np.pad(keys, 1), clip.tissue.mask
        self._some = self._keys > 0
        self._rows, self._cols = rows.under, columns.under
        self._mask_rows, self._mask_cols = clip.tissue.px_at(rows.place, 0), clip.tissue.px_at(columns.place, 1)
        self._one_row, self._one_col = (
            (axis.first == axis.under) & (axis.last == axis.under + 1) for axis in (rows, columns)
        )
        self._points = self._hidden(clip, grid, view)

    def _hidden(self, clip: Clip, grid: TileGrid, view: View) -> _Points:
        """The places of tissue, one in each cell, that px would not show by what is under their centres."""
        wanted = self._some[1:-1, 1:-1]
        places, cells = clip.places(grid, wanted)
        col, row = (px + view.margin_px for px in view.holding(grid, places))
        seen = (col >= 0) & (col < len(self._cols)) & (row >= 0) & (row < len(self._rows))
        col, row, cells = col[seen], row[seen], cells[seen] + 1
        same = (self._rows[row] == cells[:, 0]) & (self._cols[col] == cells[:, 1])
        hidden = ~(same & self._mask[self._mask_rows[row], self._mask_cols[col]])
        col, row, cells = col[hidden], row[hidden], cells[hidden]
        order = np.argsort(row, kind="stable")
        return _Points(row[order], col[order], self._keys[cells[order, 0], cells[order, 1]])

    def _near(self, left: int, top: int, width: int, height: int) -> bool:
        """Such a cell is under some px of the rectangle."""
        rows, cols = self._rows[top : top + height], self._cols[left : left + width]
        return bool(self._some[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].any())

    def misses(self, left: int, top: int, width: int, height: int) -> bool:
        """No px of the rectangle has to do with such a cell."""
        area = (left, top, width, height)
        return not self._near(*area) and not len(self._points.within(*area))

    def touches(self, left: int, top: int, width: int, height: int) -> bool:
        """Some px of the rectangle shows such a cell's tissue."""
        area = (left, top, width, height)
        if len(self._points.within(*area)):
            return True
        return self._near(*area) and bool((self._under(self._some, *area) & self._tissue(*area)).any())

    def kept(self, left: int, top: int, width: int, height: int) -> NDArray[np.bool_] | None:
        """See `Seen.kept`."""
        one = self._one_row[top : top + height].all() and self._one_col[left : left + width].all()
        area = (left, top, width, height)
        if not one or len(self._points.within(*area)):
            return None
        kept: NDArray[np.bool_] = ~self._under(self._some, *area) | self._tissue(*area)
        return kept

    def lay_on(self, keys: Keys, left: int, top: int) -> None:
        """The stronger of what px show anyhow and what they show of such cells, in place."""
        area = (left, top, keys.shape[1], keys.shape[0])
        if self._near(*area):
            np.maximum(keys, np.where(self._tissue(*area), self._under(self._keys, *area), 0), out=keys)
        points = self._points.within(*area)
        np.maximum.at(keys, (self._points.row[points] - top, self._points.col[points] - left), self._points.key[points])

    def _tissue(self, left: int, top: int, width: int, height: int) -> NDArray[np.bool_]:
        """(height, width) px whose centres are on tissue."""
        rows, cols = self._mask_rows[top : top + height], self._mask_cols[left : left + width]
        return _spread(self._mask, rows, cols)

    def _under(self, cells: NDArray[Any], left: int, top: int, width: int, height: int) -> NDArray[Any]:
        """(height, width) what a table of cells, padded by one, says of those under px."""
        return _spread(cells, self._rows[top : top + height], self._cols[left : left + width])


def _spread(table: NDArray[Any], rows: Index, cols: Index) -> NDArray[Any]:
    """table[rows, cols] of ascending rows and columns, each of which comes often."""
    first = rows[0], cols[0]
    part = table[first[0] : rows[-1] + 1, first[1] : cols[-1] + 1]
    spread: NDArray[Any] = part.take(cols - first[1], axis=1).take(rows - first[0], axis=0)
    return spread


@dataclass(frozen=True)
class _Points:
    """Px (row, col), in order of rows, and the key of what they show."""

    row: Index
    col: Index
    key: Keys

    def within(self, left: int, top: int, width: int, height: int) -> Index:
        """Which of them are in a rectangle."""
        first, last = np.searchsorted(self.row, (top, top + height)).tolist()
        col = self.col[first:last]
        inside: Index = first + np.flatnonzero((col >= left) & (col < left + width))
        return inside
