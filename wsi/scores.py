"""What a model said of every tile: probabilities on a grid, as a table and as a map.

predictions.parquet holds the rows of tiles.parquet and, for each class, `prob_<class>` (float32, 0-1; NaN where
the tile was not scored). Its metadata holds the grid and the model's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wsi.errors import InputError
from wsi.geometry import TileGrid
from wsi.tiles import grid_of

_PREFIX = "prob_"
_MODEL_KEY = b"tesela.model"


@dataclass(frozen=True)
class TileScores:
    """`probabilities` (rows * cols, classes) float32, NaN where not scored; row by row over `grid`."""

    grid: TileGrid
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    model: str

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(rows * cols,) which tiles have probabilities."""
        return ~np.isnan(self.probabilities[:, 0])

    def heatmap(self) -> NDArray[np.float32]:
        """(classes, rows, cols) probabilities, NaN where nothing was scored."""
        return self.probabilities.T.reshape(len(self.classes), self.grid.rows, self.grid.cols)

    def winners(self) -> NDArray[np.int64]:
        """(rows * cols,) index of the most probable class; -1 where not scored."""
        best = np.nan_to_num(self.probabilities, nan=-1.0).argmax(axis=1)
        return np.where(self.scored, best, -1)

    def to_table(self, tiles: pa.Table) -> pa.Table:
        """The tile table with one column a class."""
        for name, column in zip(self.classes, self.probabilities.T, strict=True):
            tiles = tiles.append_column(_PREFIX + name, pa.array(column))
        metadata = {**(tiles.schema.metadata or {}), _MODEL_KEY: self.model.encode()}
        return tiles.replace_schema_metadata(metadata)

    @classmethod
    def of_table(cls, table: pa.Table, path: Path) -> TileScores:
        """Scores from predictions.parquet; `path` is for messages. Raises InputError where it holds none."""
        names = [name for name in table.column_names if name.startswith(_PREFIX)]
        if not names:
            raise InputError(f"{path}: no column 'prob_<class>' in it; make it with `tesela predict`")
        probabilities = np.stack([table[name].to_numpy().astype(np.float32) for name in names], axis=1)
        model = (table.schema.metadata or {}).get(_MODEL_KEY, b"").decode()
        classes = tuple(name.removeprefix(_PREFIX) for name in names)
        return cls(grid_of(table, path), classes, probabilities, model)


def summarise(scores: TileScores) -> dict[str, Any]:
    """Per class, the area in mm² and the share of the scored area where it is the most probable; and totals."""
    winners = scores.winners()
    scored = int(scores.scored.sum())
    counts = {name: int((winners == number).sum()) for number, name in enumerate(scores.classes)}
    tile_mm2 = scores.grid.spec.area_mm2
    return {
        "tiles_scored": scored,
        "scored_area_mm2": round(scored * tile_mm2, 4),
        "classes": {
            name: {
                "tiles": count,
                "area_mm2": round(count * tile_mm2, 4),
                "share": round(count / scored, 4) if scored else None,
            }
            for name, count in counts.items()
        },
        "model": scores.model,
    }
