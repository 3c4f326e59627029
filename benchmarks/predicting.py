"""Scoring tiles ÷ the bare model's forward on as many tiles: same batch, precision and layout.

Of one slide, and of many small ones in one call. Opening, reading, cutting, scoring and writing predictions.parquet,
heatmap.ome.zarr and summary.json are counted; loading the model and the trial of its precision are not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from benchmarks.figures import Figure, paired_seconds, speed_ratio
from models.checkpoint import Checkpoint, save_checkpoint
from models.network import build, normalisation
from models.predict import Failed, PredictOptions, Scorer, SlideJob, score_slides
from pipelines import stages
from wsi.geometry import TileGrid, TileSpec
from wsi.phantom import Phantom, PhantomSpec
from wsi.phantom.files import write_tiled
from wsi.slide import open_slide
from wsi.stream import read_tiles
from wsi.tiles import with_grid, write_table

ARCHITECTURE = "efficientnet_b0"
_TILES, _BATCH, _REPEATS = 1536, 64, 5
_SMALL, _SMALL_PX = 20, 1280


def measure(name: str, path: Path) -> list[Figure]:
    """`predict.vs_forward` on one slide."""
    suffix = "" if name == "colorectal" else f".{name}"
    return [_figure(f"predict.vs_forward{suffix}", [path], _TILES, 0.93)]


def measure_small() -> list[Figure]:
    """`predict.small_vs_forward`: 20 slides of 100 tiles each."""
    folder = Path("build/bench") / f"small-{_SMALL_PX}"
    paths = [folder / f"{number}.ome.tif" for number in range(_SMALL)]
    for number, path in enumerate(paths):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tiled(Phantom(PhantomSpec(number, _SMALL_PX, _SMALL_PX, pieces=1)), path)
    return [_figure("predict.small_vs_forward", paths, _TILES, 0.9)]


def untrained(folder: Path, architecture: str, spec: TileSpec) -> None:
    """A model of nine classes that knows nothing, for tiles of `spec`."""
    network = build(architecture, 9)
    mean, std = normalisation(network)
    names = tuple(f"class-{number}" for number in range(9))
    save_checkpoint(folder, Checkpoint(architecture, names, spec, mean, std), network.state_dict())


def _figure(figure: str, paths: list[Path], most: int, bound: float) -> Figure:
    """Of about `most` tiles in the middle of each slide."""
    with open_slide(paths[0]) as slide:
        spec = TileSpec(128, slide.require_mpp()[0], 128)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        untrained(folder / "model", ARCHITECTURE, spec)
        scorer = Scorer(folder / "model", PredictOptions(_BATCH))
        jobs = [_job(path, spec, most, folder) for path in paths]
        count = sum(int(job.wanted.sum()) for job in jobs)
        ours: Callable[[], None] = partial(_score, scorer, jobs, folder)
        ours()
        bare = partial(_forward, scorer, _inputs(scorer, jobs, scorer.pass_tiles))
        seconds, bare_seconds = paired_seconds(ours, bare, _REPEATS)
    share = speed_ratio(seconds, bare_seconds)
    return Figure(
        figure,
        share,
        "×",
        f"bare {ARCHITECTURE} forward of the same {count:,} tiles, {scorer.pass_tiles} at a time, {scorer.plan.text}",
        bound,
        detail=f"{count / min(seconds):,.0f} tiles/s; bare {count / min(bare_seconds):,.0f}",
    )


def _job(path: Path, spec: TileSpec, most: int, folder: Path) -> SlideJob:
    """The slide, and `<name>.parquet` in the folder, a table of its tiles that a prediction is written beside."""
    with open_slide(path) as slide:
        grid = TileGrid.of(spec, slide.size, slide.mpp, name=slide.name)
    numbers = np.arange(grid.rows * grid.cols)
    write_table(folder / f"{path.stem}.parquet", with_grid(pa.table({"number": numbers}), grid))
    return SlideJob(path.stem, partial(open_slide, path), grid, _middle(grid, most))


def _middle(grid: TileGrid, count: int) -> NDArray[np.bool_]:
    """About `count` tiles around the slide's middle, as tissue would lie."""
    side = min(int(count**0.5), grid.rows, grid.cols)
    wanted = np.zeros((grid.rows, grid.cols), bool)
    top, left = (grid.rows - side) // 2, (grid.cols - side) // 2
    wanted[top : top + side, left : left + side] = True
    return wanted


def _score(scorer: Scorer, jobs: list[SlideJob], folder: Path) -> None:
    for found in score_slides(scorer, jobs):
        if isinstance(found, Failed):
            raise found.error
        stages.write_scores(found.scores, folder / f"{found.name}.parquet", folder / found.name, scorer.made_of)


def _inputs(scorer: Scorer, jobs: list[SlideJob], at_once: int) -> list[torch.Tensor]:
    """The tiles of all slides, read and normalised, `at_once` to a tensor: what the bare network is given."""
    pixels = []
    for job in jobs:
        with job.open() as slide:
            pixels += [block.pixels for block in read_tiles(slide, job.grid, job.wanted)]
    every = np.concatenate(pixels)
    return [
        scorer.checkpoint.inputs(every[start : start + at_once], scorer.device)
        for start in range(0, len(every), at_once)
    ]


@torch.inference_mode()
def _forward(scorer: Scorer, inputs: list[torch.Tensor]) -> None:
    for batch in inputs:
        with torch.autocast(scorer.device.type, torch.bfloat16, enabled=scorer.plan.bf16):
            scorer.network(batch).float().cpu()
