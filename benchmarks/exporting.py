"""predictions.parquet with 100,000 scored tiles of nine classes → tiles.geojson.gz, from reading the table on."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.figures import Figure
from wsi.geometry import TileGrid, TileSpec
from wsi.scores import TileScores
from wsi.tiles import with_grid, with_tissue, write_table
from wsi.tissuemask import TissueMask

_TILES = 100_000
_SIDE = 450
_CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
_REPEATS = 3


def measure() -> list[Figure]:
    """`export.100k_s` and `export.rss_mb`; the default formats, and all of them, are told beside."""
    with tempfile.TemporaryDirectory() as folder:
        predictions = _predictions(Path(folder))
        tiles = [_run(predictions, "tiles") for _ in range(_REPEATS)]
        usual = [_run(predictions, "tiles", "regions", "csv") for _ in range(_REPEATS)]
        every = _run(predictions, "tiles", "regions", "csv", "geoparquet")
        size_mb = (predictions.parent / "tiles.geojson.gz").stat().st_size / 2**20
    seconds, usual_s = (min(run["seconds"] for run in runs) for runs in (tiles, usual))
    rss_mb = max(run["rss_mb"] for run in (*tiles, *usual, every))
    processor_s = min(run["processor_s"] for run in tiles)
    detail = f"{processor_s:.1f} s of the processor; {size_mb:.1f} MB; with regions and csv {usual_s:.1f} s"
    return [
        Figure(
            "export.100k_s",
            seconds,
            "s",
            f"nothing: {_TILES:,} tiles of {len(_CLASSES)} classes, imports not counted",
            3,
            at_least=False,
            detail=detail,
        ),
        Figure(
            "export.rss_mb",
            rss_mb,
            "MB",
            "nothing: peak memory of the whole process, the most of any format",
            500,
            at_least=False,
            detail=f"all formats {every['rss_mb']:.0f} MB",
        ),
    ]


def _predictions(folder: Path) -> Path:
    """A table of scores in patches as tissue has them: noise, blurred, sharpened; about half of the grid is scored."""
    random = np.random.default_rng(0)
    grid = TileGrid(TileSpec(128, 0.5, 128), _SIDE * 256, _SIDE * 256, (0.25, 0.25))
    blurred = [cv2.GaussianBlur(random.normal(size=(_SIDE, _SIDE)), (0, 0), 4) for _ in range(len(_CLASSES) + 1)]
    values = np.stack([np.exp(60 * field) for field in blurred[1:]], axis=-1).reshape(-1, len(_CLASSES))
    values /= values.sum(axis=1, keepdims=True)
    tissue = np.argsort(blurred[0].ravel())[:_TILES]
    probabilities = np.full(values.shape, np.nan, np.float32)
    probabilities[tissue] = values[tissue]
    rows, cols = np.divmod(np.arange(len(values), dtype=np.int32), _SIDE)
    path = folder / "predictions.parquet"
    table = with_tissue(with_grid(pa.table({"col": cols, "row": rows}), grid), _tissue(blurred[0]))
    write_table(path, TileScores(grid, _CLASSES, probabilities, "benchmark").to_table(table, {}))
    return path


def _tissue(field: NDArray[np.float64]) -> TissueMask:
    """A mask of 8 µm a px whose outlines run through the outer tiles, as those of tissue do."""
    fine = cv2.resize(field, (_SIDE * 8, _SIDE * 8), interpolation=cv2.INTER_CUBIC)
    return TissueMask(fine <= np.sort(field.ravel())[_TILES - 1], (32.0, 32.0))


def _run(predictions: Path, *formats: str) -> dict[str, float]:
    """Seconds, processor seconds and peak MB of one export in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.exporting_child", str(predictions), str(predictions.parent), *formats]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured
