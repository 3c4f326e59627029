"""tiles.csv, in WSInfer's columns, and tiles.geo.parquet (GeoParquet 1.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely
from pyarrow import csv

from wsi.atomic import writing
from wsi.exports.scored import ScoredTiles
from wsi.tiles import write_table

_BOX_COLUMNS = ("minx", "miny", "width", "height")


def write_csv(path: Path, tiles: ScoredTiles) -> None:
    """minx, miny, width, height (level-0 px of the whole slide) and prob_<class>, as WSInfer writes them."""
    with writing(path) as temporary:
        csv.write_csv(_table(tiles), temporary)


def write_geoparquet(path: Path, tiles: ScoredTiles, about: dict[str, Any]) -> None:
    """The columns of tiles.csv, `class` (the most probable), and `geometry`: each tile's rectangle as WKB.

    Coordinates are level-0 px, y downwards; "crs" is null, since px of a slide are on no map. `about` goes into the
    metadata as `tesela.export`.
    """
    left, top, width, height = tiles.boxes.T
    rectangles = shapely.box(left, top, left + width, top + height)
    names = pa.array(tiles.classes, pa.string()).take(pa.array(tiles.winners))
    table = _table(tiles).append_column("class", names)
    table = table.append_column("geometry", pa.array(shapely.to_wkb(rectangles), pa.binary()))
    metadata = {"geo": json.dumps(_geo(rectangles)), "tesela.export": json.dumps(about)}
    write_table(path, table.replace_schema_metadata(metadata))


def _table(tiles: ScoredTiles) -> pa.Table:
    columns = dict(zip(_BOX_COLUMNS, tiles.boxes.T, strict=True))
    for name, column in zip(tiles.classes, tiles.probabilities.T, strict=True):
        columns[f"prob_{name}"] = np.ascontiguousarray(column)
    return pa.table(columns)


def _geo(rectangles: Any) -> dict[str, Any]:
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": [], "crs": None, "edges": "planar"}
    if len(rectangles):
        column["geometry_types"] = ["Polygon"]
        column["bbox"] = shapely.total_bounds(rectangles).tolist()
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
