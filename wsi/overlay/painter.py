"""How heat falls on pixels: blocky, smooth or as an outline, on any level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.colours import class_colours, heat_rgb
from wsi.geometry import Box, TileGrid
from wsi.overlay.heat import Heat
from wsi.overlay.options import OverlayOptions
from wsi.overlay.view import View
from wsi.scores import TileScores

# Opacity in steps of 1/256: with 8-bit colours all arithmetic fits into 16 bits, and is off by one at most. Blending a
# tile of 256 px takes 0.06 ms so, and 0.8 ms in floating point.
_STEPS, _HALF, _SHIFT = 256, 128, 8
# Between the centres of cells that are smaller, no px lies near enough to one to show what was scored there.
_LEAST_SMOOTH_PX = 4
# Rows that are painted at once where a picture is painted whole.
_ROWS = 256

Pixels = NDArray[np.uint8]


class Painter:
    """The colours of a slide's scores, to be laid over any of its pixels."""

    def __init__(self, scores: TileScores, options: OverlayOptions) -> None:
        self.heat = Heat.of(scores, options)
        self.painted = self.heat.classes
        self.colours = class_colours(scores.classes)
        self._grid = scores.grid
        self._options = options

    def on(self, view: View) -> Brush:
        """What paints those pixels."""
        palette = np.array([(0, 0, 0), *(self.colours[name] for name in self.painted)], np.uint8)
        ink = Ink(palette, self._options.alpha, self._options.heat is not None)
        if self._options.style == "outline":
            return OutlineBrush(self.heat, self._grid, view, ink, self._options.outline_px)
        if self._options.style == "smooth":
            columns, rows = view.axes(self._grid)
            if min(columns.cell_px, rows.cell_px) >= _LEAST_SMOOTH_PX:
                return SmoothBrush(self.heat, self._grid, view, ink)
        return BlockyBrush(self.heat, self._grid, view, ink)

    def blend(self, pixels: Pixels, box: Box) -> Pixels:
        """The slide's (h, w, 3) pixels of a level-0 box, at any resolution, with the colours laid over."""
        height, width = pixels.shape[:2]
        brush = self.on(View.of_box(box, (width, height)))
        out = np.empty_like(pixels)
        for top in range(0, height, _ROWS):
            out[top : top + _ROWS] = brush.paint(pixels[top : top + _ROWS], 0, top)
        return out


@dataclass(frozen=True)
class Ink:
    """palette: (1 + classes, 3) RGB by layer. by_value: instead, the colour is that of the probability."""

    palette: Pixels
    alpha: float
    by_value: bool

    def opacity(self, value: NDArray[np.floating]) -> NDArray[np.uint16]:
        """Of probabilities, in steps of 1/256."""
        steps: NDArray[np.uint16] = np.rint(value * (self.alpha * _STEPS)).astype(np.uint16)
        return steps

    def colour(self, layer: NDArray[np.uint16], value: NDArray[np.floating]) -> Pixels:
        """(…, 3) RGB."""
        return heat_rgb(value) if self.by_value else self.palette[layer]


def _mixed(pixels: Pixels, kept: NDArray[np.uint16], added: NDArray[np.uint16]) -> Pixels:
    """(pixels · kept + added) / 256; `kept`, as large as the pixels, is overwritten."""
    np.multiply(pixels, kept, out=kept)
    np.add(kept, added, out=kept)
    np.right_shift(kept, _SHIFT, out=kept)
    return kept.astype(np.uint8)


class Brush(ABC):
    """Paints the pixels of one view."""

    @abstractmethod
    def touches(self, left: int, top: int, width: int, height: int) -> bool:
        """Something is painted in this rectangle of the view's px."""

    @abstractmethod
    def paint(self, pixels: Pixels, left: int, top: int) -> Pixels:
        """(h, w, 3) RGB from (left, top) of the view on, painted; the very same array where nothing is."""


class BlockyBrush(Brush):
    """Each px has the colour of its tile; where it shows several, of the one with the strongest heat."""

    def __init__(self, heat: Heat, grid: TileGrid, view: View, ink: Ink) -> None:
        seen = Seen.of(heat, grid, view)
        opacity = ink.opacity(seen.value)
        self._rows, self._cols, self._painted = seen.rows, seen.cols, opacity > 0
        colour = ink.colour(seen.layer, seen.value)
        self._kept = np.repeat(_STEPS - opacity[..., None], 3, axis=2)
        self._added = opacity[..., None] * colour + np.uint16(_HALF)

    def touches(self, left: int, top: int, width: int, height: int) -> bool:
        """See `Brush.touches`."""
        return bool(self._painted[self._span(self._rows, top, height), self._span(self._cols, left, width)].any())

    def paint(self, pixels: Pixels, left: int, top: int) -> Pixels:
        """See `Brush.paint`."""
        height, width = pixels.shape[:2]
        if not self.touches(left, top, width, height):
            return pixels
        rows, cols = self._rows[top : top + height], self._cols[left : left + width]
        span = self._span(self._rows, top, height)
        # The few rows of cells are drawn out along x first: then whole rows of px are copies of them.
        kept, added = (
            table[span].take(cols, axis=1).reshape(span.stop - span.start, -1).take(rows - span.start, axis=0)
            for table in (self._kept, self._added)
        )
        return _mixed(pixels.reshape(height, -1), kept, added).reshape(pixels.shape)

    @staticmethod
    def _span(index: NDArray[np.int64], start: int, count: int) -> slice:
        return slice(int(index[start]), int(index[start + count - 1]) + 1)


@dataclass(frozen=True)
class Seen:
    """The heat as px see it: px (col, row) shows layer and value [rows[row], cols[col]]."""

    layer: NDArray[np.uint16]
    value: NDArray[np.float32]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]

    @classmethod
    def of(cls, heat: Heat, grid: TileGrid, view: View) -> Seen:
        """Where a px shows several cells, the strongest of them."""
        columns, rows = view.axes(grid)
        # A positive float's bits are in the order of floats: value and layer in one number, so that the maximum of the
        # values brings its class along. Cells of nothing lie around, for px beyond the grid.
        keys = heat.value.view(np.uint32).astype(np.uint64) << np.uint64(32) | heat.layer.astype(np.uint64)
        keys = np.pad(keys, ((1, 2), (1, 2)))
        keys, row_index = _strongest(keys, rows.first, rows.last, axis=0)
        keys, col_index = _strongest(keys, columns.first, columns.last, axis=1)
        value = (keys >> np.uint64(32)).astype(np.uint32).view(np.float32)
        return cls((keys & np.uint64(0xFFFF)).astype(np.uint16), value, row_index, col_index)


def _strongest(
    keys: NDArray[np.uint64], first: NDArray[np.int64], last: NDArray[np.int64], axis: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The maximum over first[i] to before last[i] along an axis, once for each run of equal px; and px → run."""
    starts = np.append(0, np.flatnonzero((np.diff(first) != 0) | (np.diff(last) != 0)) + 1)
    run = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(first))))
    pairs = np.stack([first[starts], last[starts]], axis=1).ravel()
    maxima = np.maximum.reduceat(keys, pairs, axis=axis)  # every other one is of what lies between two runs
    return (maxima[::2] if axis == 0 else maxima[:, ::2]), run


class SmoothBrush(Brush):
    """Bilinear between the centres of tiles of one class; painted tiles keep their edges, and nothing bleeds out."""

    def __init__(self, heat: Heat, grid: TileGrid, view: View, ink: Ink) -> None:
        columns, rows = view.axes(grid)
        self._layer, self._value = np.pad(heat.layer, (1, 2)), np.pad(heat.value, (1, 2))
        self._painted = ink.opacity(self._value) > 0
        self._columns, self._rows, self._ink = columns, rows, ink

    def touches(self, left: int, top: int, width: int, height: int) -> bool:
        """See `Brush.touches`."""
        rows, cols = self._rows.first[top : top + height], self._columns.first[left : left + width]
        return bool(self._painted[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1].any())

    def paint(self, pixels: Pixels, left: int, top: int) -> Pixels:
        """See `Brush.paint`."""
        height, width = pixels.shape[:2]
        if not self.touches(left, top, width, height):
            return pixels
        rows, cols = slice(top, top + height), slice(left, left + width)
        own = self._layer.take(self._rows.first[rows], axis=0).take(self._columns.first[cols], axis=1)
        value = self._between(own, rows, cols)
        opacity = self._ink.opacity(value)[..., None]
        added = opacity * self._ink.colour(own, value) + np.uint16(_HALF)
        return _mixed(pixels, np.repeat(_STEPS - opacity, 3, axis=2), added)

    def _between(self, own: NDArray[np.uint16], rows: slice, cols: slice) -> NDArray[np.float32]:
        """Mean of the four centres around each px, by distance, of those that are painted in the px's own class."""
        first_row, down = _weights(self._rows.centre[rows], len(self._layer))
        first_col, across = _weights(self._columns.centre[cols], self._layer.shape[1])
        near = np.s_[first_row : first_row + down.shape[1], first_col : first_col + across.shape[1]]
        layers, values = self._layer[near], self._value[near]
        value = np.zeros(own.shape, np.float32)
        for layer in np.unique(own[own > 0]):
            of_layer = (layers == layer).astype(np.float32)
            total, share = (down @ part @ across.T for part in (values * of_layer, of_layer))
            np.divide(total, share, out=value, where=own == layer)
        return value


def _weights(centres: NDArray[np.float64], cells: int) -> tuple[int, NDArray[np.float32]]:
    """(first cell, (px, cells from it on) weights of the two cells between whose centres each px lies)."""
    before = np.clip(np.floor(centres).astype(np.int64), 0, cells - 2)
    share = np.clip(centres - before, 0, 1).astype(np.float32)
    first, px = int(before[0]), np.arange(len(centres))
    weights = np.zeros((len(centres), int(before[-1]) - first + 2), np.float32)
    weights[px, before - first], weights[px, before - first + 1] = 1 - share, share
    return first, weights


class OutlineBrush(Brush):
    """Lines inside the borders of areas of one class, in its colour and opaque; all else shows through."""

    def __init__(self, heat: Heat, grid: TileGrid, view: View, ink: Ink, width_px: int) -> None:
        self._margin = width_px
        self._seen = Seen.of(heat, grid, View(view.size, view.scale, view.origin, width_px))
        self._square = np.ones((2 * width_px + 1, 2 * width_px + 1), np.uint8)
        self._palette = ink.palette

    def touches(self, left: int, top: int, width: int, height: int) -> bool:
        """See `Brush.touches`."""
        border = self._border(left, top, width, height)
        return border is not None and bool(border.any())

    def paint(self, pixels: Pixels, left: int, top: int) -> Pixels:
        """See `Brush.paint`."""
        height, width = pixels.shape[:2]
        border = self._border(left, top, width, height)
        if border is None or not border.any():
            return pixels
        return np.where(border[..., None] > 0, self._palette[border], pixels)

    def _border(self, left: int, top: int, width: int, height: int) -> NDArray[np.uint16] | None:
        """(height, width) the layer that px are on the border of, 0 elsewhere; None where there is no border."""
        around = 2 * self._margin
        rows = self._seen.rows[top : top + height + around]
        cols = self._seen.cols[left : left + width + around]
        cells = self._seen.layer[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        if cells.min() == cells.max():
            return None
        layer = cells.take(rows - rows[0], axis=0).take(cols - cols[0], axis=1)
        # Within reach of another layer, the largest or the smallest layer around is not the px's own.
        other = (cv2.dilate(layer, self._square) != layer) | (cv2.erode(layer, self._square) != layer)
        inside = np.s_[self._margin : self._margin + height, self._margin : self._margin + width]
        return np.where(other, layer, np.uint16(0))[inside]
