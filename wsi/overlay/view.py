"""Which tiles of a grid a pixel shows. Pure arithmetic: the rules by which heat falls on a level of any scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box, TileGrid


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
        edges = grid.cell_edges()
        columns, rows = (_axis(self._px(grid, i), edges[i], _Tiles.of(grid, i), self.margin_px) for i in range(2))
        return columns, rows

    def holding(self, grid: TileGrid, places: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(column, row) of the px in which each level-0 place (n, 2: x, y) lies; margins do not count."""
        column, row = (self._px(grid, i).holding(places[:, i]) for i in range(2))
        return column, row

    def _px(self, grid: TileGrid, axis: int) -> _Pixels:
        slide_px = (grid.slide_width, grid.slide_height)[axis]
        return _Pixels(self.origin[axis], self.scale[axis], self.size[axis], slide_px)


@dataclass(frozen=True)
class Axis:
    """Along x or y: px i shows the cells first[i] to before last[i] of the grid padded by one cell at its start.

    under: (px,) the cell under its centre, in the same padded grid. place: (px,) level-0 place of its centre, on the
    slide. centre: (px,) where its centre lies between those of cells: 2.25 is a quarter of the way from that of cell 2
    to that of cell 3, in cells of the padded grid. cell_px: how many px a cell is wide.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    under: NDArray[np.int64]
    place: NDArray[np.float64]
    centre: NDArray[np.float64]
    cell_px: float


@dataclass(frozen=True)
class _Pixels:
    """Along x or y: `count` px from level-0 `origin` on, each `scale` level-0 px, of a slide of `slide_px`."""

    origin: float
    scale: float
    count: int
    slide_px: int

    def centres(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Level-0 places of px' centres; of px beyond the slide, of its edge."""
        return np.clip(self.origin + (index + 0.5) * self.scale, 0, math.nextafter(self.slide_px, 0))

    def holding(self, places: NDArray[np.float64]) -> NDArray[np.int64]:
        """The px in which level-0 places lie."""
        px = np.floor((places - self.origin) / self.scale).astype(np.int64)
        if self.origin + (self.count + 1) * self.scale > self.slide_px:
            px = np.minimum(px, self.count - 1)  # sizes of levels are rounded: the last px stands for what is left
        return px


def _axis(px: _Pixels, edges: NDArray[np.float64], tiles: _Tiles, margin_px: int) -> Axis:
    """A px shows the cell under its centre, and every cell whose own centre is in the px.

    So a cell is off by half a px at most, and however small it is, one px shows it. Where cells are larger than px,
    the second rule adds nothing but slivers at the slide's edge. Px beyond the slide show what is at its edge.
    """
    index = np.arange(-margin_px, px.count + margin_px)
    place, cells = px.centres(index), len(edges) - 1
    under = np.searchsorted(edges, place, "right")
    holding = px.holding((edges[:-1] + edges[1:]) / 2)
    begin, end = np.searchsorted(holding, index, "left"), np.searchsorted(holding, index, "right")
    first, last, some = under.copy(), under + 1, begin < end
    first[some] = np.minimum(first[some], begin[some] + 1)
    last[some] = np.maximum(last[some], end[some] + 1)
    # Beyond the outer tiles' centres there is nothing to go to.
    centre = np.clip(tiles.between(place), 1, cells)
    return Axis(first, last, under, place, centre, tiles.stride_px / px.scale)


@dataclass(frozen=True)
class _Tiles:
    """Along x or y: level-0 px from the slide's edge to the centre of the first tile, and from one to the next."""

    first_px: float
    stride_px: float

    @classmethod
    def of(cls, grid: TileGrid, axis: int) -> _Tiles:
        """Those of a grid; axis: 0 is x, 1 is y."""
        size, stride, downsample = grid.spec.size_px, grid.spec.stride_px, grid.downsample[axis]
        return cls(((size - stride) // 2 + stride / 2) * downsample, stride * downsample)

    def between(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Level-0 places in tiles: 1.0 is the first one's centre, 2.0 that of the next."""
        return (places - self.first_px) / self.stride_px + 1
