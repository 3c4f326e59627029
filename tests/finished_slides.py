"""All that the stages leave behind of a small slide, without a network: the scores are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.stages import TilesFile, export, ingest, overlay, tissue, write_scores
from pipelines.stages import tiles as cut_tiles
from wsi.blank import BlankOptions
from wsi.digest import sha256_of
from wsi.exports import ExportOptions
from wsi.geometry import TileSpec
from wsi.overlay import OverlayOptions
from wsi.provenance import slide_of_table
from wsi.scores import TileScores
from wsi.tiles import candidates, grid_of, read_table
from wsi.tissue import TissueOptions

TILE = TileSpec(64, 1.0, 64)


def score(folder: Path, share: float, weights: str = "w", **made_of: str) -> None:
    """Predictions of a model that gives every tile `share` for its second class."""
    tiles = folder / "tiles.parquet"
    table = read_table(tiles)
    grid = grid_of(table, tiles)
    probabilities = np.tile(np.array([1 - share, share], np.float32), (len(table), 1))
    probabilities[~candidates(table, grid).ravel()] = np.nan
    scores = TileScores(grid, ("A", "B"), probabilities, "model", slide=slide_of_table(table))
    write_scores(scores, TilesFile(tiles, sha256_of(tiles)), folder, {"weights": weights, **made_of})


def cut(folder: Path, min_tissue: float = 0.1) -> None:
    slide, out = folder / "slide.json", folder / "tiles.parquet"
    cut_tiles(
        slide,
        out,
        TILE,
        BlankOptions(),
        min_tissue=min_tissue,
        allow_upsample=False,
        tissue_path=folder / "tissue.geojson",
        tissue_options=TissueOptions(),
        scheduler=None,
    )


def paint(folder: Path) -> None:
    out, preview = folder / "overlay.ome.tif", folder / "overlay.png"
    overlay(
        folder / "slide.json",
        folder / "predictions.parquet",
        out,
        OverlayOptions(),
        preview=preview,
        slide_id=folder.name,
    )


def make_slide(folder: Path, path: Path) -> None:
    """All that the stages leave behind of a slide."""
    ingest(path, folder, None)
    tissue(folder / "slide.json", folder, TissueOptions())
    cut(folder)
    score(folder, 0.8)
    paint(folder)
    export(folder / "slide.json", folder / "predictions.parquet", folder, ExportOptions())
