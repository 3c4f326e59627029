"""Where (x, y) and (row, col) meet: boxes, levels, tile grids. Pure arithmetic, no pixels.

Frames used here:

- *level 0*: the slide's finest pixels; (x, y), top-left origin. `Box` is always in this frame.
- *grid*: pixels at the tile specification's mpp, the frame the model sees. Tile (col, row) starts at
  ``(col * stride_px, row * stride_px)``, exactly; its level-0 box is rounded to whole pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InputError, MismatchError, MppError

# What becomes of tiles that reach over the slide's edge.
Edge = Literal["pad", "drop"]
EDGES: tuple[str, ...] = get_args(Edge)

# A level may be built from rounded sizes: 4001 px halved is 2000 or 2001. A ratio this close to a whole
# number is that number, and is then exact.
_WHOLE_TOLERANCE = 2e-3

# Scanners of one make differ by about 1 %; a wrong level differs by a factor of 2.
MPP_TOLERANCE = 0.02

MPP_REMEDY = "give it by hand (--mpp; `tesela tiles`: --slide-mpp) or in the column 'mpp' of the sheet"


@dataclass(frozen=True)
class Box:
    """A rectangle in level-0 px, top-left (x, y); it may reach outside the slide."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise InputError(f"a box needs a positive size, not {self.width} × {self.height} px")

    @property
    def right(self) -> int:
        """First column to the right of the box."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row below the box."""
        return self.y + self.height


@dataclass(frozen=True)
class Level:
    """One resolution of a slide: size in its own px, and level-0 px per level px."""

    width: int
    height: int
    downsample: float


@dataclass(frozen=True)
class TileSpec:
    """What a model sees: square tiles of `size_px` at `mpp` µm/px, one every `stride_px`."""

    size_px: int
    mpp: float
    stride_px: int

    def __post_init__(self) -> None:
        if self.size_px < 8:
            raise InputError(f"tile.size_px is {self.size_px}; give 8 or more")
        if not 1 <= self.stride_px <= self.size_px:
            raise InputError(
                f"tile.stride_px is {self.stride_px}; give 1 to {self.size_px} "
                "(a larger stride would leave tissue unscored)"
            )
        if not 0 < self.mpp < math.inf:
            raise InputError(f"tile.mpp is {self.mpp}; give µm per pixel, above 0")


def whole(ratio: float) -> float:
    """`ratio`, or the whole number it stands for when rounded sizes blurred it."""
    nearest = round(ratio)
    return float(nearest) if nearest >= 1 and abs(ratio - nearest) <= _WHOLE_TOLERANCE * nearest else ratio


def downsample_of(size: tuple[int, int], level_size: tuple[int, int]) -> float:
    """Level-0 px per level px, from both (width, height).

    Writers round sizes down at every halving, so the quotient of a small level is off (15936 / 124 = 128.5
    where pixels were halved seven times). The whole number that explains both sides within a pixel wins.
    """
    ratios = (size[0] / level_size[0], size[1] / level_size[1])
    for candidate in sorted({math.floor(min(ratios)), round(min(ratios)), math.ceil(min(ratios))}):
        if candidate >= 1 and all(abs(s / candidate - n) <= 1 for s, n in zip(size, level_size, strict=True)):
            return float(candidate)
    return (ratios[0] + ratios[1]) / 2


@dataclass(frozen=True)
class TileGrid:
    """All tile positions of one slide: `cols` × `rows` tiles.

    edge: "pad": together they cover the slide, and the last column and row may reach over its edge, where pixels are
    white; "drop": tiles that would are left out, and a strip at the right and below is in none.
    Raises InputError where no tile is left.
    """

    spec: TileSpec
    slide_width: int
    slide_height: int
    slide_mpp: tuple[float, float]
    edge: Edge = "pad"

    def __post_init__(self) -> None:
        if self.edge not in EDGES:
            raise InputError(f"tile.edge is {self.edge!r}; give one of {', '.join(EDGES)}")
        if not self.cols or not self.rows:
            raise InputError(
                f"a slide of {self.slide_width} × {self.slide_height} px has no room for a tile of "
                f"{self.spec.size_px} px at {self.spec.mpp:g} mpp; set tile.edge to pad"
            )

    @classmethod
    def of(
        cls,
        spec: TileSpec,
        size: tuple[int, int],
        mpp: tuple[float, float] | None,
        *,
        name: str,
        allow_upsample: bool = False,
        edge: Edge = "pad",
    ) -> TileGrid:
        """The grid of a slide of `size` (level-0 width, height) px at `mpp` (x, y).

        Raises MppError where mpp is unknown, or coarser than the tiles' and upsampling was not allowed.
        """
        if mpp is None:
            raise MppError(f"{name}: no mpp in the file; {MPP_REMEDY}")
        if max(mpp) > spec.mpp * (1 + MPP_TOLERANCE) and not allow_upsample:
            raise MppError(
                f"{name}: {spec.mpp:g} mpp asked, the finest level has {max(mpp):.4g}; "
                f"use a model of {max(mpp):.4g} mpp or coarser, or set tile.allow_upsample"
            )
        return cls(spec, *size, mpp, edge)

    @property
    def downsample(self) -> tuple[float, float]:
        """Level-0 px per grid px, (x, y)."""
        return whole(self.spec.mpp / self.slide_mpp[0]), whole(self.spec.mpp / self.slide_mpp[1])

    @property
    def cols(self) -> int:
        """Tiles in a row."""
        return self._count(self.slide_width, self.downsample[0])

    @property
    def rows(self) -> int:
        """Tiles in a column."""
        return self._count(self.slide_height, self.downsample[1])

    def _count(self, slide_px: int, downsample: float) -> int:
        size, stride = self.spec.size_px, self.spec.stride_px
        count = 1 + max(0, math.ceil((slide_px / downsample - size) / stride - 1e-9))
        if self.edge == "drop":
            while count > 0 and round(((count - 1) * stride + size) * downsample) > slide_px:
                count -= 1
            return count
        # Where the tile before already ends at the edge, once rounded, the last one would lie wholly outside.
        while count > 1 and round(((count - 2) * stride + size) * downsample) >= slide_px:
            count -= 1
        return count

    def grid_box(self, x: int, y: int, width: int, height: int) -> Box:
        """The level-0 box of a rectangle in grid px; edges rounded to whole level-0 px."""
        dx, dy = self.downsample
        left, top = round(x * dx), round(y * dy)
        return Box(left, top, max(1, round((x + width) * dx) - left), max(1, round((y + height) * dy) - top))

    def box(self, col: int, row: int) -> Box:
        """The level-0 box of tile (col, row)."""
        stride, size = self.spec.stride_px, self.spec.size_px
        return self.grid_box(col * stride, row * stride, size, size)

    def cell_edges(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(cols + 1,) x and (rows + 1,) y, ascending level-0 px, of the lines between the tiles' cells.

        A tile's cell is what it answers for on a map and in areas: where tiles overlap its middle, one stride wide,
        else the whole tile. The outer cells reach to the outer tiles' edges, cut at the slide's edge, so that all that
        lies in a tile lies in exactly one cell.
        """
        (dx, dy), size = self.downsample, (self.slide_width, self.slide_height)
        return self._edges(self.cols, dx, size[0]), self._edges(self.rows, dy, size[1])

    def _edges(self, count: int, downsample: float, slide_px: int) -> NDArray[np.float64]:
        size, stride = self.spec.size_px, self.spec.stride_px
        edges = np.arange(count + 1, dtype=np.float64) * stride + (size - stride) // 2
        edges *= downsample
        end = ((count - 1) * stride + size) * downsample
        edges[0], edges[-1] = 0, slide_px if round(end) >= slide_px else end
        return edges

    def cell(self, col: int, row: int) -> Box:
        """The level-0 box of tile (col, row)'s cell (see `cell_edges`), rounded to whole px, at least one each way."""
        x, y, width, height = self.cells()[row * self.cols + col].tolist()
        return Box(x, y, width, height)

    def cells(self) -> NDArray[np.int64]:
        """(rows * cols, 4) level-0 (x, y, width, height) of every cell, row by row; equal to `cell`."""
        (left, right), (top, bottom) = (
            (np.minimum(whole_px[:-1], slide_px - 1), whole_px[1:])
            for whole_px, slide_px in zip(
                map(_rounded, self.cell_edges()), (self.slide_width, self.slide_height), strict=True
            )
        )
        return _every_box(left, right, top, bottom)

    def boxes(self) -> NDArray[np.int64]:
        """(rows * cols, 4) level-0 (x, y, width, height) of every tile, row by row; equal to `box`."""
        dx, dy = self.downsample
        starts_x = np.arange(self.cols) * self.spec.stride_px
        starts_y = np.arange(self.rows) * self.spec.stride_px
        left, right = _rounded(starts_x * dx), _rounded((starts_x + self.spec.size_px) * dx)
        top, bottom = _rounded(starts_y * dy), _rounded((starts_y + self.spec.size_px) * dy)
        return _every_box(left, right, top, bottom)

    def cell_areas_mm2(self) -> NDArray[np.float64]:
        """(rows * cols,) area in mm² of every cell, glass and tissue alike; together, that of all that tiles cover."""
        x, y = self.cell_edges()
        px_mm2 = self.slide_mpp[0] * self.slide_mpp[1] / 1e6
        areas: NDArray[np.float64] = np.outer(np.diff(y), np.diff(x)).ravel() * px_mm2
        return areas

    def check_slide(self, size: tuple[int, int], mpp: tuple[float, float] | None, name: str) -> None:
        """Raise MismatchError where this grid was not laid on a slide of `size` px at `mpp`."""
        own = (self.slide_width, self.slide_height)
        if size != own:
            raise MismatchError(
                f"{name}: {size[0]} × {size[1]} px, but its tiles were cut from a slide of {own[0]} × {own[1]} px; "
                "run `tesela tiles` and `tesela predict` on this slide again"
            )
        if mpp is not None and any(abs(a / b - 1) > 1e-3 for a, b in zip(mpp, self.slide_mpp, strict=True)):
            raise MismatchError(
                f"{name}: {mpp[0]:.4g} mpp, but its tiles were cut at {self.slide_mpp[0]:.4g}; "
                "run `tesela tiles` and `tesela predict` on this slide again"
            )


def _rounded(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    # np.rint and round() both take halves to the even side, so that `boxes` and `box` agree.
    whole_px: NDArray[np.int64] = np.rint(values).astype(np.int64)
    return whole_px


def _every_box(
    left: NDArray[np.int64], right: NDArray[np.int64], top: NDArray[np.int64], bottom: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(rows * cols, 4) x, y, width and height, at least 1, of all columns in all rows."""
    ys, xs = np.meshgrid(top, left, indexing="ij")
    heights, widths = np.meshgrid(np.maximum(bottom - top, 1), np.maximum(right - left, 1), indexing="ij")
    return np.stack([xs.ravel(), ys.ravel(), widths.ravel(), heights.ravel()], axis=1)
