"""Stain normalisation in training: its target found on training tiles, and where in the loading it takes place."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.augment import Augment, EvalCrop
from models.stain import FIT_TILES, Normaliser, fit_normaliser
from models.training.judge import Cache, Seen
from models.training.settings import TrainSettings


@dataclass(frozen=True)
class _StainFirst:
    """Normalises a tile, then augments it: the jitter of stain is about the target."""

    stain: Normaliser
    augment: Augment

    def __call__(self, tile: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        return self.augment(self.stain(tile), seed)


@dataclass(frozen=True)
class _CropFirst:
    """Normalises the part of a tile that the network sees, as `predict` does: all it has is that part."""

    crop: EvalCrop
    stain: Normaliser

    def __call__(self, tile: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        return self.stain(self.crop(tile, seed))


def found_stain(settings: TrainSettings, seen: Seen, train: NDArray[np.int64]) -> Normaliser | None:
    """The normaliser of `settings`, its target that of a seeded sample of the training tiles `train`; None without."""
    some = np.sort(np.random.default_rng(settings.seed).permutation(train)[:FIT_TILES])
    return fit_normaliser(settings.stain, seen.pictures(some, settings.tile))


def to_train(
    stain: Normaliser | None, cache: Cache | None, train: NDArray[np.int64], augment: Augment
) -> tuple[Cache | None, Augment]:
    """What `Samples` takes for the tiles `train`: those in memory are normalised now, once; others whenever read."""
    if stain is None:
        return cache, augment
    if cache is None:
        return None, _StainFirst(stain, augment)
    changed = list(cache)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for index, tile in zip(train, pool.map(stain, [cache[i] for i in train]), strict=True):
            changed[index] = tile
    return changed, augment


def to_evaluate(stain: Normaliser | None, size_px: int) -> Augment:
    """What `Samples` takes for tiles that are only looked at."""
    crop = EvalCrop(size_px)
    return crop if stain is None else _CropFirst(crop, stain)
