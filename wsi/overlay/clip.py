"""Where on the tile grid there is tissue: heat lies there, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InputError
from wsi.geometry import TileGrid
from wsi.overlay.options import OverlayOptions
from wsi.scores import TileScores
from wsi.tissuemask import TissueMask


@dataclass(frozen=True)
class Clip:
    """The tissue along which the heat of a grid is cut.

    bare, partly: (rows, cols) bool, tiles whose cells hold no tissue at all, or tissue and glass.
    """

    tissue: TissueMask
    bare: NDArray[np.bool_]
    partly: NDArray[np.bool_]

    @classmethod
    def of(cls, tissue: TissueMask, grid: TileGrid) -> Clip:
        """That of a slide's tissue."""
        some, every = tissue.some_and_every(*grid.cell_edges())
        return cls(tissue, ~some, some & ~every)

    def places(self, grid: TileGrid, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """(n, 2) level-0 (x, y) of a place of tissue in each of the `wanted` cells, and (n, 2) their (row, col).

        wanted: (rows, cols) bool. Cells whose tissue is but a sliver, less than half a px of the mask wide, have none.
        """
        mask, px_size = self.tissue.mask, np.array(self.tissue.px_size)
        x, y = grid.cell_edges()
        # Of every row and column of the mask the cell in which its middle lies, padded: outside is no cell.
        col = np.searchsorted(x, (np.arange(mask.shape[1]) + 0.5) * px_size[0], "right")
        row = np.searchsorted(y, (np.arange(mask.shape[0]) + 0.5) * px_size[1], "right")
        inside = np.pad(wanted, 1).take(row, axis=0).take(col, axis=1)
        mask_row, mask_col = np.nonzero(mask & inside)
        last = np.full(wanted.shape, -1, np.int64)
        last[row[mask_row] - 1, col[mask_col] - 1] = np.arange(len(mask_row))  # of those in a cell, one is as good
        cells = np.argwhere(last >= 0)
        found = last[last >= 0]
        return np.stack([mask_col[found] + 0.5, mask_row[found] + 0.5], axis=1) * px_size, cells


def check_clip(scores: TileScores, options: OverlayOptions, name: str = "the predictions") -> None:
    """Raise InputError where heat is to be cut along tissue, and the scores, of that name, do not say where it is."""
    if options.clip == "tissue" and scores.tissue is None:
        raise InputError(
            f"{name}: of an older version, which does not say where tissue is; cut the tiles again with `tesela tiles` "
            "and predict, or paint whole tiles, glass and all: --clip tile"
        )


def clip_of(scores: TileScores, options: OverlayOptions) -> Clip | None:
    """Along what heat is cut; None where whole tiles are painted. Raises InputError as `check_clip` does."""
    check_clip(scores, options)
    return None if options.clip == "tile" or scores.tissue is None else Clip.of(scores.tissue, scores.grid)
