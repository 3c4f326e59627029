"""A small run as the workflow leaves it behind, made without a network: a slide ok, one without tissue, one failed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile

from models.evaluation import Scored, evaluate
from models.evaluation.baselines import Baseline
from models.plots import plot_confusion
from pipelines.cohort import Cohort, CohortSlide
from pipelines.stages import TilesFile, ingest, overlay, tissue, write_scores
from pipelines.stages import tiles as cut_tiles
from wsi.blank import BlankOptions
from wsi.digest import sha256_of
from wsi.geometry import TileSpec
from wsi.overlay import OverlayOptions
from wsi.phantom import Phantom, PhantomSpec
from wsi.phantom.files import write_tiled
from wsi.provenance import slide_of_table
from wsi.scores import TileScores
from wsi.tiles import candidates, grid_of, read_table
from wsi.tissue import TissueOptions

# What would run, load or break out of its place, were it not escaped.
HOSTILE = """</script><script>alert(1)</script><img src=x onerror="alert(2)">'"{{ 7*7 }}&amp;"""
CLASSES = ("BACK", "LYM", '<i title="x">TUM</i>')
TILE = TileSpec(64, 1.0, 64)
WEIGHTS = "ab" * 32


def write_run(run: Path) -> Path:
    """Results of the slides "good" and "white", of "bad", which failed at its tiles, and of the model that scored."""
    slides = run.parent / "slides"
    write_tiled(Phantom(PhantomSpec(81, 900, 700, 1.0, pieces=1, classes=("LYM", "STR"))), slides / "good.tif")
    white = np.full((400, 500, 3), 243, np.uint8)
    resolution = {"resolution": (1e4, 1e4), "resolutionunit": 3}
    tifffile.imwrite(slides / "white.tif", white, photometric="rgb", tile=(256, 256), **resolution)
    (slides / "bad.tif").write_bytes((slides / "good.tif").read_bytes())
    rows = [
        CohortSlide("good", str(slides / "good.tif"), case="P1", split="train", note=HOSTILE),
        CohortSlide("white", str(slides / "white.tif"), case=HOSTILE),
        CohortSlide("bad", str(slides / "bad.tif"), case="P2"),
    ]
    Cohort(tuple(rows)).write(run / "cohort.csv")
    write_model(run / "models" / "m")
    for slide in rows:
        folder = run / "slides" / slide.id
        ingest(Path(slide.slide), folder, None)
        tissue(folder / "slide.json", folder, TissueOptions())
    for name in ("good", "white"):
        _score(run / "slides" / name)
        _measured(run, "predict", name, 12.5)
    log = run / "logs" / "tiles" / "bad.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"tesela: error: bad.tif: {HOSTILE}\n")
    return run


def _score(folder: Path) -> None:
    slide, tiles = folder / "slide.json", folder / "tiles.parquet"
    cut_tiles(
        slide,
        tiles,
        TILE,
        BlankOptions(),
        min_tissue=0.1,
        allow_upsample=False,
        tissue_path=folder / "tissue.geojson",
        tissue_options=TissueOptions(),
        scheduler=None,
    )
    table = read_table(tiles)
    grid = grid_of(table, tiles)
    generator = np.random.default_rng(4)
    probabilities = generator.dirichlet([0.3] * len(CLASSES), grid.rows * grid.cols).astype(np.float32)
    probabilities[~candidates(table, grid).ravel()] = np.nan
    made_of = {"weights": WEIGHTS, "precision": "32-true"}
    scores = TileScores(grid, CLASSES, probabilities, "m", slide=slide_of_table(table))
    write_scores(scores, TilesFile(tiles, sha256_of(tiles)), folder, made_of)
    out = folder / "overlay.ome.tif"
    predictions, preview = folder / "predictions.parquet", folder / "overlay.png"
    overlay(slide, predictions, out, OverlayOptions(), preview=preview, slide_id=folder.name)


def _measured(run: Path, stage: str, job: str, seconds: float) -> None:
    """What Snakemake measured of a job."""
    path = run / "benchmarks" / stage / f"{job}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:12\t730.5\n")


def write_model(folder: Path) -> None:
    """model.json, metrics.json and a plot of a model that is right about three times in four."""
    generator = np.random.default_rng(5)
    labels = generator.integers(0, len(CLASSES), 90)
    logits = generator.normal(0, 1, (90, len(CLASSES))) + 2 * np.eye(len(CLASSES))[labels]
    scored = Scored(CLASSES, logits, labels)
    found = evaluate(scored, baselines=[Baseline("a histogram", labels, "fitted on nothing")], repeats=50)
    (folder / "plots").mkdir(parents=True)
    plot_confusion(folder / "plots" / "roc.png", found["confusion"], CLASSES, "a plot")
    data = {"fingerprint": "cd" * 32, "test_fingerprint": None, "split": f"by tile {HOSTILE}"}
    description = {
        "architecture": "resnet10t",
        "classes": list(CLASSES),
        "tile": {"size_px": 64, "mpp": 1.0, "stride_px": 64},
        "weights_sha256": WEIGHTS,
        "thresholds": dict.fromkeys(CLASSES, 0.4321),
        "provenance": {
            "packages": {"torch": "2.13"},
            "device": "cpu",
            "precision": "32-true",
            "settings": {"epochs": 3, "pretrained": HOSTILE},
            "data": data,
        },
    }
    (folder / "model.json").write_text(json.dumps(description))
    (folder / "metrics.json").write_text(json.dumps({"best_epoch": 3, "val": found, "test": None, "history": []}))
