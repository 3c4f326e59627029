"""tiles.parquet: one row a tile. The table travels; pixels stay in the slide.

| column | type | meaning |
|---|---|---|
| col, row | int32 | place in the grid |
| x, y | int64 | top-left, level-0 px |
| tissue | float32 | share of the tile that is tissue, 0-1 |
| blank | bool | nothing to score: little tissue, or blank at full resolution |
| blank_reason | string | "" (not blank), "no tissue", "bright", "flat" or "ink" |
| ink | float32 | share of ink-coloured pixels, 0-1; NaN where pixels were not read |

The file's metadata holds the grid (`tesela.grid`, JSON): tile specification, slide size and mpp.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsi.atomic import writing
from wsi.blank import BlankOptions, tile_stats
from wsi.errors import InputError
from wsi.geometry import TileGrid, TileSpec
from wsi.source import Source
from wsi.tissue import TissueMask

NO_TISSUE = "no tissue"
_GRID_KEY = b"tesela.grid"


def make_tiles(
    slide_path: Source,
    grid: TileGrid,
    tissue: TissueMask,
    min_tissue: float,
    blank: BlankOptions,
    *,
    mpp: float | None = None,
    scheduler: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> pa.Table:
    """Every tile of the grid, with what is blank and why.

    The mask settles most tiles; only those with at least `min_tissue` (0-1) of tissue are read.
    """
    fractions = tissue.fractions(grid)
    wanted = fractions >= max(min_tissue, 1e-6)
    stats = tile_stats(
        slide_path,
        grid,
        wanted.reshape(grid.rows, grid.cols),
        blank,
        mpp=mpp,
        scheduler=scheduler,
        progress=progress,
    )
    reasons = np.full(len(fractions), NO_TISSUE, dtype=f"<U{len(NO_TISSUE)}")
    reasons[stats.index] = stats.reasons(blank)
    ink = np.full(len(fractions), np.nan, np.float32)
    ink[stats.index] = stats.ink
    rows, cols = np.divmod(np.arange(len(fractions)), grid.cols)
    boxes = grid.boxes()
    table = pa.table(
        {
            "col": cols.astype(np.int32),
            "row": rows.astype(np.int32),
            "x": boxes[:, 0],
            "y": boxes[:, 1],
            "tissue": fractions,
            "blank": reasons != "",
            "blank_reason": reasons,
            "ink": ink,
        }
    )
    return with_grid(table, grid)


def with_grid(table: pa.Table, grid: TileGrid) -> pa.Table:
    """The table with the grid in its metadata."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _GRID_KEY: json.dumps(asdict(grid))})


def grid_of(table: pa.Table, path: Path) -> TileGrid:
    """The grid in a table's metadata; raises InputError where the file has none or does not fit it."""
    raw = (table.schema.metadata or {}).get(_GRID_KEY)
    if raw is None:
        raise InputError(f"{path}: no tile grid in its metadata; make it with `tesela tiles`")
    values = json.loads(raw)
    values["spec"] = TileSpec(**values["spec"])
    values["slide_mpp"] = tuple(values["slide_mpp"])
    grid = TileGrid(**values)
    if grid.rows * grid.cols != table.num_rows:
        raise InputError(f"{path}: {table.num_rows} rows, but its grid has {grid.rows} × {grid.cols} tiles")
    return grid


def candidates(table: pa.Table, grid: TileGrid) -> NDArray[np.bool_]:
    """(rows, cols) bool: tiles that are not blank."""
    blank = table["blank"].to_numpy(zero_copy_only=False)
    return np.asarray(~blank, bool).reshape(grid.rows, grid.cols)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as Parquet."""
    with writing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read a Parquet table; raises InputError where it is not one."""
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet table ({error})") from error
