"""What a model said of every tile: probabilities on a grid, as a table and as a map.

predictions.parquet holds the rows of tiles.parquet and, for each class, `prob_<class>` (float32, 0-1; NaN where
the tile was not scored). Its metadata holds the grid, the tissue, the model's name and its thresholds.
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
from wsi.tiles import grid_of, tissue_of
from wsi.tissuemask import TissueMask

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
    that a program made and that no file holds. tissue: with which the tiles were cut; None where their table, of an
    older version, does not say.
    """

    grid: TileGrid
    classes: tuple[str, ...]
    probabilities: NDArray[np.float32]
    model: str
    thresholds: Mapping[str, float] | None = None
    slide: str = ""
    tissue: TissueMask | None = None

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

    def areas_mm2(self) -> NDArray[np.float64]:
        """(rows * cols,) area that each tile stands for: the tissue in its cell (`TileGrid.cell_edges`).

        Where the tissue is not known, of the whole cell: `area_of` says which.
        """
        if self.tissue is None:
            return self.grid.cell_areas_mm2()
        mpp = self.grid.slide_mpp
        return self.tissue.areas_px(*self.grid.cell_edges()).ravel() * (mpp[0] * mpp[1] / 1e6)

    @property
    def area_of(self) -> Literal["tissue", "tiles"]:
        """What areas are of: the tissue within tiles, or whole tiles, glass and all."""
        return "tiles" if self.tissue is None else "tissue"

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
        grid, model = grid_of(table, path), metadata.get(_MODEL_KEY, b"").decode()
        return cls(grid, classes, probabilities, model, thresholds, slide_of_table(table), tissue_of(table, path))


def made_of(predictions: Path) -> dict[str, str]:
    """What predictions.parquet was made of: `model` (name); `weights`, `tiles`, `tissue` (SHA-256); `slide`, and more.

    The last is the slide's fingerprint; it and the model are "" where the table does not say.
    """
    schema = pq.read_schema(predictions)
    model = (schema.metadata or {}).get(_MODEL_KEY, b"").decode()
    return {"model": model, "slide": slide_of_table(schema), **made_of_table(schema)}


# What areas and shares are of, for who reads them.
AREA_RULES = {
    "tissue": "the tissue within the scored tiles, without the glass; where tiles overlap, a tile counts for its "
    "middle, one stride wide, and no place counts twice",
    "tiles": "whole scored tiles as far as they lie on the slide, glass and all, since these tiles do not say where "
    "their tissue is: cut them again with `tesela tiles` to count tissue alone",
}


def summarise(scores: TileScores) -> dict[str, Any]:
    """Per class, the area in mm² and the share of the scored area where it is the most probable; and totals.

    area_of: "tissue" (what areas count, see `AREA_RULES`), or "tiles" for tables that do not say where tissue is; then
    tissue_area_mm2, of all tissue that the tiles were cut with, is None.
    """
    winners = scores.winners()
    areas_mm2 = scores.areas_mm2()
    scored_mm2 = float(areas_mm2[scores.scored].sum())
    tissue_mm2 = None if scores.tissue is None else scores.tissue.area_mm2(scores.grid.slide_mpp)
    if tissue_mm2 is not None:
        scored_mm2 = min(scored_mm2, tissue_mm2)  # a sum's last digit must not say that more was scored than there is
    per_class = {name: winners == number for number, name in enumerate(scores.classes)}
    return {
        "tiles_scored": int(scores.scored.sum()),
        "area_of": scores.area_of,
        "tissue_area_mm2": None if tissue_mm2 is None else round(tissue_mm2, 4),
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
