"""Training on tiles read straight from slides ÷ the same training fed from memory: same model, batches and loop."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from benchmarks.figures import Figure, paired_seconds, speed_ratio
from models.augment import TrainAugment
from models.data import LabelledSlide, SlideSet, read_slides
from models.loading import EpochSampler, Samples, decode_or_check, default_workers, make_loader
from models.network import build, normalisation
from models.training.device import make_fabric
from models.training.fit import Fit, Schedule
from wsi.geometry import TileGrid, TileSpec
from wsi.phantom import Phantom, PhantomSpec
from wsi.phantom.files import write_tiled

_FOLDER = Path("build/bench/training")
_SLIDES, _SIDE_PX = 5, 3072
_BATCH = 32
_TILES = 8 * _BATCH  # of one timed pass
_REPEATS = 3


def measure(architecture: str = "resnet18") -> list[Figure]:
    """`train.vs_memory`: five JPEG pyramids, tiles shuffled across all of them.

    Also at an mpp for which a tile is resampled from up to four native tiles.
    """
    figures = []
    for suffix, mpp in (("", 0.5), (".resampled", 0.875)):
        tile = TileSpec(128, mpp, 128)
        tiles = _labelled(tile)
        figures.append(_figure(f"train.vs_memory{suffix}", architecture, tiles, tile))
    return figures


def _figure(name: str, architecture: str, tiles: SlideSet, tile: TileSpec) -> Figure:
    cache = decode_or_check(tiles, tile)
    if cache is None:
        raise RuntimeError("the tiles do not fit in memory; take fewer slides")
    fit = _fit(architecture)
    slides = _Passes(fit, tiles, tile, None, default_workers(cached=False))
    memory = _Passes(fit, tiles, tile, cache, default_workers(cached=True))
    for passes in (slides, memory):
        passes.once()
    ours, theirs = paired_seconds(slides.once, memory.once, _REPEATS)
    return Figure(
        name,
        speed_ratio(ours, theirs),
        "×",
        f"{architecture} fed from memory, batches of {_BATCH}, {fit.fabric.device.type}",
        0.9,
        detail=f"{_TILES / min(ours):,.0f} tiles/s; from memory {_TILES / min(theirs):,.0f}",
    )


class _Passes:
    """Training on `_TILES` tiles at a time, each pass an epoch of its own. cache: None reads from the slides."""

    def __init__(
        self, fit: Fit, tiles: SlideSet, tile: TileSpec, cache: Sequence[NDArray[np.uint8]] | None, workers: int
    ) -> None:
        indices = np.random.default_rng(0).permutation(len(tiles))[:_TILES]
        samples = Samples(tiles, tile, indices, tiles.labels, TrainAugment(tile.size_px, "light"), 0, cache)
        self._fit, self._epochs = fit, count()
        self._sampler = EpochSampler(len(samples), 0, shuffle=True)
        pin = fit.fabric.device.type == "cuda"
        self._loader = make_loader(samples, self._sampler, _BATCH, workers, drop_last=True, pin=pin)

    def once(self) -> None:
        """One epoch."""
        self._sampler.set_epoch(next(self._epochs))
        self._fit.train_epoch(self._loader, lambda *_: None)


def _fit(architecture: str) -> Fit:
    """A network in training, as `models.train` sets it up, in bfloat16."""
    torch.manual_seed(0)
    network = build(architecture, 2)
    schedule = Schedule(1e-3, 0.05, 0.1, 0.05, 100, _TILES // _BATCH)
    return Fit(network, make_fabric("bf16-mixed"), schedule, *normalisation(network), None)


def _labelled(tile: TileSpec) -> SlideSet:
    """Every tile of the slides; odd and even columns are the classes."""
    slides = []
    for number in range(_SLIDES):
        path = _FOLDER / f"{number}.ome.tif"
        if not path.exists():
            write_tiled(Phantom(PhantomSpec(60 + number, _SIDE_PX, _SIDE_PX, pieces=1)), path)
        grid = TileGrid.of(tile, (_SIDE_PX, _SIDE_PX), (0.5, 0.5), name=path.name)
        boxes = grid.boxes()
        columns = np.arange(len(boxes)) % grid.cols
        labels = np.array(["even", "odd"])[columns % 2]
        table = pa.table({"x": boxes[:, 0], "y": boxes[:, 1], "label": labels, "blank": np.zeros(len(boxes), bool)})
        pq.write_table(table, path.with_suffix(f".{tile.mpp}.parquet"))
        slides.append(LabelledSlide(path, path.with_suffix(f".{tile.mpp}.parquet")))
    return read_slides(slides)
