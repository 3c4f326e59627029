"""How heat falls on pixels: blocky, smooth or as an outline, on any level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.colours import class_colours, heat_rgb
from wsi.geometry import Box
from wsi.overlay.clip import clip_of
from wsi.overlay.heat import Heat
from wsi.overlay.options import OverlayOptions
from wsi.overlay.seen import Seen, parts_of
from wsi.overlay.view import Axis, View
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
    """The colours of a slide's scores, to be laid over any of its pixels.

    Raises InputError where they are to be cut along the tissue, and the scores do not say where that is.
    """

    def __init__(self, scores: TileScores, options: OverlayOptions) -> None:
        self.heat = Heat.of(scores, options)
        self.painted = self.heat.classes
        self.colours = class_colours(scores.classes)
        self._grid = scores.grid
        self._options = options
        self._clip = clip_of(scores, options)

    def on(self, view: View) -> Brush:
        """What paints those pixels."""
        palette = np.array([(0, 0, 0), *(self.colours[name] for name in self.painted)], np.uint8)
        ink, style = Ink(palette, self._options.alpha, self._options.heat is not None), self._options.style
        if style == "outline":
            width_px = self._options.outline_px
            around = replace(view, margin_px=width_px)
            return OutlineBrush(Seen(self.heat, self._clip, self._grid, around), ink, width_px)
        # What is too faint for a step of opacity is not painted.
        seen = Seen(self.heat.at_least(ink.opacity), self._clip, self._grid, view)
        if style == "smooth":
            columns, rows = view.axes(self._grid)
            if min(columns.cell_px, rows.cell_px) >= _LEAST_SMOOTH_PX:
                return SmoothBrush(seen, self.heat, columns, rows, ink)
        return BlockyBrush(seen, ink)

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

    def __init__(self, seen: Seen, ink: Ink) -> None:
        self._seen, self._ink = seen, ink
        self._kept, self._added = self._tables(seen.cells)

    def _tables(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """(…, 3) each: what is kept of a pixel's colours, in steps of 1/256, and what is added to them."""
        layer, value = parts_of(keys)
        opacity = self._ink.opacity(value)[..., None]
        added = opacity * self._ink.colour(layer, value) + np.uint16(_HALF)
        return np.repeat(_STEPS - opacity, 3, axis=-1), added

    def touches(self, left: int, top: int, width: int, height: int) -> bool:
        """See `Brush.touches`."""
        return self._seen.touches(left, top, width, height)

    def paint(self, pixels: Pixels, left: int, top: int) -> Pixels:
        """See `Brush.paint`."""
        height, width = pixels.shape[:2]
        area = (left, top, width, height)
        if not self.touches(*area):
            return pixels
        if self._seen.uncut(*area):
            return self._whole(pixels, left, top)
        kept = self._seen.kept(*area)
        if kept is None:
            return _mixed(pixels, *self._tables(self._seen.keys(*area)))
        painted = self._whole(pixels, left, top)
        return np.asarray(cv2.copyTo(painted, kept.view(np.uint8), pixels.copy()))

    def _whole(self, pixels: Pixels, left: int, top: int) -> Pixels:
        """Painted as if no cell were cut."""
        height, width = pixels.shape[:2]
        rows, _ = self._seen.span(left, top, width, height)
        down, across = self._seen.rows[top : top + height] - rows.start, self._seen.cols[left : left + width]
        # The few rows of cells are drawn out along x first: then whole rows of px are copies of them.
        kept, added = (
            table[rows].take(across, axis=1).reshape(rows.stop - rows.start, -1).take(down, axis=0)
            for table in (self._kept, self._added)
        )
        return _mixed(pixels.reshape(height, -1), kept, added).reshape(pixels.shape)


class SmoothBrush(Brush):
    """Bilinear between the centres of tiles of one class; painted tiles keep their edges, and nothing bleeds out."""

    def __init__(self, seen: Seen, heat: Heat, columns: Axis, rows: Axis, ink: Ink) -> None:
        self._seen, self._ink = seen, ink
        self._layer, self._value = np.pad(heat.layer, (1, 2)), np.pad(heat.value, (1, 2))
        self._columns, self._rows = columns, rows

    def touches(self, left: int, top: int, width: int, height: int) -> bool:
        """See `Brush.touches`."""
        return self._seen.touches(left, top, width, height)

    def paint(self, pixels: Pixels, left: int, top: int) -> Pixels:
        """See `Brush.paint`."""
        height, width = pixels.shape[:2]
        if not self.touches(left, top, width, height):
            return pixels
        own = parts_of(self._seen.keys(left, top, width, height))[0]
        value = self._between(own, slice(top, top + height), slice(left, left + width))
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

    def __init__(self, seen: Seen, ink: Ink, width_px: int) -> None:
        """seen: with a margin of `width_px`."""
        self._seen, self._margin = seen, width_px
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
        area = (left, top, width + 2 * self._margin, height + 2 * self._margin)
        if self._seen.uncut(*area):
            cells = parts_of(self._seen.cells[self._seen.span(*area)])[0]
            if cells.min() == cells.max():
                return None
        layer = parts_of(self._seen.keys(*area))[0]
        # Within reach of another layer, the largest or the smallest layer around is not the px's own.
        other = (cv2.dilate(layer, self._square) != layer) | (cv2.erode(layer, self._square) != layer)
        inside = np.s_[self._margin : self._margin + height, self._margin : self._margin + width]
        return np.where(other, layer, np.uint16(0))[inside]
