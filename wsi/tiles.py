"""tiles.parquet: one row a tile. The table travels; pixels stay in the slide.

| column | type | unit, frame | meaning |
|---|---|---|---|
| col, row | int32 | tiles | place in the grid, from the slide's top left |
| x, y | int64 | level-0 px | top-left of the tile |
| tissue | float32 | 0-1 | share of the tile that the tissue mask covers |
| blank | bool | | nothing to score: `blank_reason` is not "" |
| blank_reason | string | | "", "no tissue" (by the mask), "bright", "flat", "ink", "out of focus" (`wsi.blank`) |
| bright | float32 | 0-1 | share of px whose darkest channel is above `bright_level` |
| saturation | float32 | 0-255 | mean of largest minus smallest channel |
| colour | float32 | 0-255 | standard deviation of the same |
| contrast | float32 | 0-255 | standard deviation of green |
| edge_energy | float32 | 0-255 per px | mean difference of green between neighbours in a row |
| ink | float32 | 0-1 | share of px in a pen's colour |
| focus | float32 | none, about 0-2 | sharpness (`wsi.focus`); NaN where not asked for, or where it cannot be told |

From `bright` on, numbers are of the tile's pixels at its own mpp (`wsi.tilestats`), and NaN where they were not read:
the mask had settled the tile.

The file's metadata holds the grid (`tesela.grid`, JSON): tile specification, slide size and mpp, edge policy; the
corner of the slide's bounds (`tesela.bounds_offset`, level-0 [x, y]), from which QuPath counts annotations; the tissue
(`tesela.tissue`, see `TissueMask.packed`): heat and areas made of the tiles are of that tissue and no other; and of
which slide it is, see `wsi.provenance`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsi.atomic import writing
from wsi.bands import tile_stats
from wsi.blank import NO_TISSUE, REASONS, BlankOptions, blank_reasons
from wsi.errors import InputError
from wsi.geometry import TileGrid, TileSpec
from wsi.provenance import with_provenance
from wsi.slide import Slide
from wsi.tilestats import STATS, Measures
from wsi.tissuemask import TissueMask
from wsi.workers import THREADS, Progress, Workers

_GRID_KEY = b"tesela.grid"
_BOUNDS_KEY = b"tesela.bounds_offset"
_TISSUE_KEY = b"tesela.tissue"
# Sides of the slide as the mask's px add up to them may differ from the grid's by rounding, level-0 px.
_SAME_SIZE_PX = 1.0


def make_tiles(
    slide: Slide,
    grid: TileGrid,
    tissue: TissueMask,
    min_tissue: float,
    blank: BlankOptions,
    *,
    workers: Workers = THREADS,
    progress: Progress | None = None,
) -> pa.Table:
    """Every tile of the grid, with what is blank and why.

    The mask settles most tiles; only those with at least `min_tissue` (0-1) of tissue are read, once.
    """
    fractions = tissue.fractions(grid)
    wanted = (fractions >= max(min_tissue, 1e-6)).reshape(grid.rows, grid.cols)
    measures = Measures(blank.bright_level, with_focus=blank.min_focus is not None)
    stats = tile_stats(slide, grid, wanted, measures, workers=workers, progress=progress)
    reasons = np.full(len(fractions), NO_TISSUE, np.int8)
    reasons[stats.index] = blank_reasons(stats, blank)
    numbers = np.full((len(fractions), len(STATS)), np.nan, np.float32)
    numbers[stats.index] = stats.values
    rows, cols = np.divmod(np.arange(len(fractions)), grid.cols)
    boxes = grid.boxes()
    table = pa.table(
        {
            "col": cols.astype(np.int32),
            "row": rows.astype(np.int32),
            "x": boxes[:, 0],
            "y": boxes[:, 1],
            "tissue": fractions,
            "blank": reasons != 0,
            "blank_reason": pa.array(REASONS).take(pa.array(reasons)),
            **dict(zip(STATS, numbers.T, strict=True)),
        }
    )
    table = with_tissue(with_grid(table, grid, slide.header.bounds_offset), tissue)
    return with_provenance(table, slide.fingerprint, {})


def with_grid(table: pa.Table, grid: TileGrid, bounds_offset: tuple[int, int] = (0, 0)) -> pa.Table:
    """The table with the grid and the corner of the slide's bounds, level-0 (x, y), in its metadata."""
    said = {_GRID_KEY: json.dumps(asdict(grid)), _BOUNDS_KEY: json.dumps(bounds_offset)}
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **said})


def with_tissue(table: pa.Table, tissue: TissueMask) -> pa.Table:
    """The table with the tissue that its tiles were cut with in its metadata."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _TISSUE_KEY: tissue.packed()})


def tissue_of(table: pa.Table, path: Path) -> TissueMask | None:
    """The tissue in a table's metadata, None where it has none; raises InputError where it does not fit the grid."""
    raw = (table.schema.metadata or {}).get(_TISSUE_KEY)
    if raw is None:
        return None
    tissue, grid = TissueMask.unpacked(raw, str(path)), grid_of(table, path)
    size = (tissue.mask.shape[1] * tissue.px_size[0], tissue.mask.shape[0] * tissue.px_size[1])
    if max(abs(size[0] - grid.slide_width), abs(size[1] - grid.slide_height)) > _SAME_SIZE_PX:
        raise InputError(
            f"{path}: its tissue is of a slide of {size[0]:.0f} × {size[1]:.0f} px, its tiles of one of "
            f"{grid.slide_width} × {grid.slide_height}; cut the tiles again with `tesela tiles`"
        )
    return tissue


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


def bounds_offset_of(table: pa.Table, path: Path) -> tuple[int, int]:
    """Level-0 (x, y) of the corner of the slide's bounds; raises InputError where the table does not say."""
    raw = (table.schema.metadata or {}).get(_BOUNDS_KEY)
    if raw is None:
        raise InputError(
            f"{path}: does not say where the slide's bounds begin; cut the tiles again, with `tesela tiles`"
        )
    x, y = json.loads(raw)
    return x, y


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
    return _read(path, pq.read_table)


def read_schema(path: Path) -> pa.Schema:
    """The columns and the metadata of a Parquet table; raises InputError where it is not one."""
    return _read(path, pq.read_schema)


def _read(path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable Parquet table ({error})") from error
