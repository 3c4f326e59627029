"""What a model said of every tile: probabilities on a grid, as a table and as a map.

predictions.parquet holds the rows of tiles.parquet and, for each class, `prob_<class>` (float32, 0-1; NaN where
the tile was not scored). Its metadata holds the grid, the model's name and its thresholds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsi.errors import InputError
from wsi.geometry import TileGrid
from wsi.provenance import made_of_table, slide_of_table, with_provenance
from wsi.tiles import grid_of

_PREFIX = "prob_"
_MODEL_KEY = b"tesela.model"
_THRESHOLDS_KEY = b"tesela.thresholds"

# From here on a tile is called a class, where neither the model nor a person says otherwise.
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Threshold:
    """The probability from which on a tile is called a class, and who says so."""

    value: float
    source: Literal["given", "model", "default"]


@dataclass(frozen=True)
class TileScores:
    """`probabilities` (rows * cols, classes) float32, NaN where not scored; row by row over `grid`.

    thresholds: the model's own, by class; None where it has none. slide: the fingerprint of the slide, "" of scores
    that a program made and that no file holds.
    """

    grid: TileGrid
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    model: str
    thresholds: Mapping[str, float] | None = None
    slide: str = ""

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(rows * cols,) which tiles have probabilities."""
        return ~np.isnan(self.probabilities[:, 0])

    def heatmap(self) -> NDArray[np.float32]:
        """(classes, rows, cols) probabilities, NaN where nothing was scored."""
        return self.probabilities.T.reshape(len(self.classes), self.grid.rows, self.grid.cols)

    def threshold(self, name: str, given: float | None = None) -> Threshold:
        """The threshold of a class: the given one, else the model's, else the default."""
        if given is not None:
            return Threshold(given, "given")
        if self.thresholds is not None and name in self.thresholds:
            return Threshold(self.thresholds[name], "model")
        return Threshold(DEFAULT_THRESHOLD, "default")

    def winners(self) -> NDArray[np.int64]:
        """(rows * cols,) index of the most probable class; -1 where not scored."""
        best = np.nan_to_num(self.probabilities, nan=-1.0).argmax(axis=1)
        return np.where(self.scored, best, -1)

    def to_table(self, tiles: pa.Table, made_of: dict[str, str]) -> pa.Table:
        """The tile table with one column a class; what it was made of is added to what the tiles were made of."""
        for name, column in zip(self.classes, self.probabilities.T, strict=True):
            tiles = tiles.append_column(_PREFIX + name, pa.array(column))
        tiles = with_provenance(tiles, self.slide or slide_of_table(tiles), made_of)
        metadata = {**tiles.schema.metadata, _MODEL_KEY: self.model.encode()}
        if self.thresholds is not None:
            metadata[_THRESHOLDS_KEY] = json.dumps(dict(self.thresholds)).encode()
        return tiles.replace_schema_metadata(metadata)

    @classmethod
    def of_table(cls, table: pa.Table, path: Path) -> TileScores:
        """Scores from predictions.parquet; `path` is for messages. Raises InputError where it holds none."""
        names = [name for name in table.column_names if name.startswith(_PREFIX)]
        if not names:
            raise InputError(f"{path}: no column 'prob_<class>' in it; make it with `tesela predict`")
        probabilities = np.stack([table[name].to_numpy().astype(np.float32) for name in names], axis=1)
        metadata = table.schema.metadata or {}
        thresholds = json.loads(metadata.get(_THRESHOLDS_KEY, b"null"))
        classes = tuple(name.removeprefix(_PREFIX) for name in names)
        model = metadata.get(_MODEL_KEY, b"").decode()
        return cls(grid_of(table, path), classes, probabilities, model, thresholds, slide_of_table(table))


def made_of(predictions: Path) -> dict[str, str]:
    """What predictions.parquet was made of: `model` (name); `weights`, `tiles`, `tissue` (SHA-256); `slide`, and more.

    The last is the slide's fingerprint; it and the model are "" where the table does not say.
    """
    schema = pq.read_schema(predictions)
    model = (schema.metadata or {}).get(_MODEL_KEY, b"").decode()
    return {"model": model, "slide": slide_of_table(schema), **made_of_table(schema)}


def summarise(scores: TileScores) -> dict[str, Any]:
    """Per class, the area in mm² and the share of the scored area where it is the most probable; and totals."""
    winners = scores.winners()
    areas_mm2 = scores.grid.cell_areas_mm2()
    scored_mm2 = float(areas_mm2[scores.scored].sum())
    per_class = {name: winners == number for number, name in enumerate(scores.classes)}
    return {
        "tiles_scored": int(scores.scored.sum()),
        "scored_area_mm2": round(scored_mm2, 4),
        "classes": {
            name: {
                "tiles": int(won.sum()),
                "area_mm2": round(float(areas_mm2[won].sum()), 4),
                "share": round(float(areas_mm2[won].sum()) / scored_mm2, 4) if scored_mm2 else None,
            }
            for name, won in per_class.items()
        },
        "model": scores.model,
    }
