"""The scored tiles of a slide, as every export lists them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.scores import TileScores


@dataclass(frozen=True)
class ScoredTiles:
    """Tiles that have probabilities, row by row.

    boxes: (n, 4) int64 level-0 px (x, y, width, height), cut at the slide's edge. cells: the same of each tile's cell
    (`TileGrid.cell_edges`): with overlapping tiles its middle, one stride wide, so that none covers another. winners:
    (n,) index of the most probable class. probabilities: (n, classes) float32. tissue_um2: (n,) area of the tissue in
    each cell; None where it is not known.
    """

    classes: tuple[str, ...]
    boxes: NDArray[np.int64]
    cells: NDArray[np.int64]
    winners: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    tissue_um2: NDArray[np.float64] | None

    @classmethod
    def of(cls, scores: TileScores) -> ScoredTiles:
        """Those of a slide's scores."""
        grid, scored = scores.grid, scores.scored
        boxes = grid.boxes()[scored]
        room = np.array([grid.slide_width, grid.slide_height]) - boxes[:, :2]
        boxes[:, 2:] = np.minimum(boxes[:, 2:], room)
        tissue_um2 = None if scores.tissue is None else scores.areas_mm2()[scored] * 1e6
        winners, probabilities = scores.winners()[scored], scores.probabilities[scored]
        return cls(scores.classes, boxes, grid.cells()[scored], winners, probabilities, tissue_um2)

    def __len__(self) -> int:
        return len(self.boxes)
