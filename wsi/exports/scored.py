"""The scored tiles of a slide, as every export lists them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import TileGrid
from wsi.scores import TileScores


@dataclass(frozen=True)
class ScoredTiles:
    """Tiles that have probabilities, row by row.

    boxes: (n, 4) int64 level-0 px (x, y, width, height), cut at the slide's edge. cells: the same of each tile's cell
    (`TileGrid.cell`): with overlapping tiles its middle, one stride wide, so that none covers another. winners: (n,)
    index of the most probable class. probabilities: (n, classes) float32.
    """

    classes: tuple[str, ...]
    boxes: NDArray[np.int64]
    cells: NDArray[np.int64]
    winners: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, scores: TileScores) -> ScoredTiles:
        """Those of a slide's scores."""
        grid, scored = scores.grid, scores.scored
        boxes = grid.boxes()[scored]
        room = np.array([grid.slide_width, grid.slide_height]) - boxes[:, :2]
        boxes[:, 2:] = np.minimum(boxes[:, 2:], room)
        return cls(scores.classes, boxes, _cells(grid)[scored], scores.winners()[scored], scores.probabilities[scored])

    def __len__(self) -> int:
        return len(self.boxes)


def cell_edges(grid: TileGrid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(cols + 1,) x and (rows + 1,) y, level-0 px, of the lines between cells, cut at the slide's edge."""
    spec, (dx, dy) = grid.spec, grid.downsample
    margin = (spec.size_px - spec.stride_px) // 2
    x = (np.arange(grid.cols + 1) * spec.stride_px + margin) * dx
    y = (np.arange(grid.rows + 1) * spec.stride_px + margin) * dy
    return np.minimum(x, grid.slide_width), np.minimum(y, grid.slide_height)


def _cells(grid: TileGrid) -> NDArray[np.int64]:
    """(rows * cols, 4) cells rounded to whole px, on the slide, at least one px wide and high."""
    x, y = (np.rint(edges).astype(np.int64) for edges in cell_edges(grid))
    left, top = np.minimum(x[:-1], grid.slide_width - 1), np.minimum(y[:-1], grid.slide_height - 1)
    widths, heights = np.maximum(x[1:] - left, 1), np.maximum(y[1:] - top, 1)
    tops, lefts = np.meshgrid(top, left, indexing="ij")
    tall, wide = np.meshgrid(heights, widths, indexing="ij")
    return np.stack([lefts.ravel(), tops.ravel(), wide.ravel(), tall.ravel()], axis=1)
