"""Which tiles of a grid a pixel shows. Pure arithmetic: the rules by which heat falls on a level of any scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box, TileGrid, TileSpec


@dataclass(frozen=True)
class View:
    """Pixels to paint on: `size` (width, height) of them, each `scale` (x, y) level-0 px large.

    origin: level-0 (x, y) of the first one's top-left corner; it need not be a whole number. margin_px: on each side
    so many more are looked at, though not painted.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    origin: tuple[float, float] = (0.0, 0.0)
    margin_px: int = 0

    @classmethod
    def of_level(cls, size: tuple[int, int], downsample: float) -> View:
        """A whole level of a pyramid, whose sizes may have been rounded either way."""
        return cls(size, (downsample, downsample))

    @classmethod
    def of_box(cls, box: Box, size: tuple[int, int]) -> View:
        """A level-0 box, drawn with `size` px."""
        return cls(size, (box.width / size[0], box.height / size[1]), (float(box.x), float(box.y)))

    def axes(self, grid: TileGrid) -> tuple[Axis, Axis]:
        """(columns, rows): the tiles under each column and each row of px, those in the margins too."""
        slide = (grid.slide_width, grid.slide_height)
        counts = (grid.cols, grid.rows)
        columns, rows = (
            _axis(
                _Cells(grid.spec, grid.downsample[i], counts[i], slide[i]),
                *(self.origin[i], self.scale[i], self.size[i], self.margin_px),
            )
            for i in range(2)
        )
        return columns, rows


@dataclass(frozen=True)
class Axis:
    """Along x or y: px i shows the cells first[i] to before last[i] of the grid padded by one cell at its start.

    cell_px: how many px a cell is wide. centre: (px,) where its centre lies between those of cells: 2.25 is a quarter
    of the way from that of cell 2 to that of cell 3, in cells of the padded grid.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    centre: NDArray[np.float64]
    cell_px: float


@dataclass(frozen=True)
class _Cells:
    """The cells of a grid along x or y: `count` of them, `downsample` level-0 px to each of its px."""

    spec: TileSpec
    downsample: float
    count: int
    slide_px: int

    @property
    def margin(self) -> int:
        """Grid px from a tile's edge to its cell's."""
        return (self.spec.size_px - self.spec.stride_px) // 2

    def at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Level-0 places in cells: 2.5 is the middle of cell 2."""
        return (places / self.downsample - self.margin) / self.spec.stride_px

    def middles(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The cells that lie on the slide, and the level-0 middle of what does."""
        starts = (np.arange(self.count) * self.spec.stride_px + self.margin) * self.downsample
        ends = np.minimum(starts + self.spec.stride_px * self.downsample, self.slide_px)
        visible = np.flatnonzero(ends > starts)
        return visible, ((starts + ends) / 2)[visible]


def _axis(cells: _Cells, origin: float, scale: float, count: int, margin_px: int) -> Axis:
    """A px shows the cell under its centre, and every cell whose own centre (of what lies on the slide) is in the px.

    So a cell is off by half a px at most, and however small it is, one px shows it. Where cells are larger than px,
    the second rule adds nothing but slivers at the slide's edge. Px beyond the slide show what is at its edge.
    """
    index = np.arange(-margin_px, count + margin_px)
    along = cells.at(np.clip(origin + (index + 0.5) * scale, 0, math.nextafter(cells.slide_px, 0)))
    under = np.clip(np.floor(along).astype(np.int64), -1, cells.count) + 1
    visible, middles = cells.middles()
    px = np.floor((middles - origin) / scale).astype(np.int64)
    if origin + (count + 1) * scale > cells.slide_px:
        px = np.minimum(px, count - 1)  # sizes of levels are rounded: the last px stands for what is left
    begin, end = np.searchsorted(px, index, "left"), np.searchsorted(px, index, "right")
    first, last, some = under.copy(), under + 1, begin < end
    first[some] = np.minimum(first[some], visible[begin[some]] + 1)
    last[some] = np.maximum(last[some], visible[end[some] - 1] + 2)
    return Axis(first, last, along + 0.5, cells.spec.stride_px * cells.downsample / scale)
