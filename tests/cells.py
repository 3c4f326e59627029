"""What lies where on a tile grid: cells by another arithmetic than the code's own, and tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import TileGrid
from wsi.tissuemask import TissueMask


def exact_cell(grid: TileGrid, col: int, row: int) -> tuple[float, float, float, float]:
    """Level-0 left, top, right, bottom of a cell, not rounded: a tile's middle; the outer ones reach to the edge."""
    spec, (dx, dy) = grid.spec, grid.downsample
    margin = (spec.size_px - spec.stride_px) // 2
    left = 0.0 if col == 0 else (col * spec.stride_px + margin) * dx
    top = 0.0 if row == 0 else (row * spec.stride_px + margin) * dy
    right = grid.slide_width if col == grid.cols - 1 else ((col + 1) * spec.stride_px + margin) * dx
    bottom = grid.slide_height if row == grid.rows - 1 else ((row + 1) * spec.stride_px + margin) * dy
    return left, top, right, bottom


def tissue_on(grid: TileGrid, mask: NDArray[np.bool_]) -> TissueMask:
    """The mask (rows, cols), however coarse, over the whole slide."""
    return TissueMask(mask, (grid.slide_width / mask.shape[1], grid.slide_height / mask.shape[0]))


def everywhere(grid: TileGrid) -> TissueMask:
    """All of the slide is tissue: tiles are painted whole."""
    return tissue_on(grid, np.ones((1, 1), bool))
