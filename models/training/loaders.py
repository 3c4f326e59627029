"""Batches of a split's tiles: shuffled and augmented to train on, in order and as they are to be measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from models.augment import TrainAugment
from models.balance import epoch_length
from models.loading import (
    Batch,
    EpochBatches,
    EpochSampler,
    Samples,
    Share,
    default_workers,
    make_loader,
    make_training_loader,
)
from models.splits import Split
from models.stain import Normaliser
from models.training.judge import Seen, Tested
from models.training.settings import TrainSettings
from models.training.staining import to_evaluate, to_train
from wsi.errors import InputError


@dataclass(frozen=True, eq=False)
class Loaders:
    """Batches to train on, the sampler that shuffles their tiles, and batches to choose the best epoch by.

    epoch_tiles: tiles that an epoch trains on, all processes together; epoch_left_out: those of it that cannot be
    shared among processes, or paired: other ones in each epoch.
    """

    train: DataLoader[Batch]
    sampler: EpochSampler
    val: DataLoader[Batch]
    epoch_tiles: int
    epoch_left_out: int


def loaders_for(
    settings: TrainSettings,
    seen: Seen,
    parts: Split,
    times: NDArray[np.float64] | None,
    fabric: Fabric,
    stain: Normaliser | None = None,
) -> Loaders:
    """This process's part of the split's training and validation tiles.

    times: (n,) how often an epoch shows each training tile, see `models.balance`; None: each once. Raises InputError
    where there are too few tiles.
    """
    tiles, cache = seen.tiles, seen.cache
    size, seed = settings.tile.size_px, settings.seed
    workers = default_workers(cache is not None) if settings.workers is None else settings.workers
    rank, world = fabric.global_rank, fabric.world_size
    batch = min(settings.batch_size, len(parts.train) if times is None else epoch_length(times))
    multiple = 2 if settings.mixup > 0 else 1  # whole pairs for each process
    batch -= batch % (multiple * world) if multiple > 1 else 0
    if batch < 2 or len(parts.val) < world:
        raise InputError(
            f"{len(parts.train)} tiles are left to train on and {len(parts.val)} to choose the epoch by; 2 and a tile "
            "for each device are the least"
        )
    pin = torch.cuda.is_available()
    own_cache, augment = to_train(stain, cache, parts.train, TrainAugment(size, settings.augmentation))
    train_samples = Samples(tiles, settings.tile, parts.train, tiles.labels, augment, seed, own_cache)
    own_val = np.array_split(parts.val, world)[rank]
    val_samples = Samples(tiles, settings.tile, own_val, tiles.labels, to_evaluate(stain, size), seed, cache)
    sampler = EpochSampler(len(train_samples), seed, shuffle=True, times=times)
    batches = EpochBatches(sampler, Share(rank, world, batch, multiple))
    train_loader = make_training_loader(train_samples, batches, workers, pin)
    unshuffled = EpochSampler(len(val_samples), seed, shuffle=False)
    val_loader = make_loader(val_samples, unshuffled, batch, workers, drop_last=False, pin=pin)
    return Loaders(train_loader, sampler, val_loader, batches.tiles, len(sampler) - batches.tiles)


def test_loader(settings: TrainSettings, tested: Tested, stain: Normaliser | None) -> DataLoader[Batch]:
    """The tiles that are measured once, each once and in order."""
    tiles, cache, crop = tested.seen.tiles, tested.seen.cache, to_evaluate(stain, settings.tile.size_px)
    labels = np.zeros(len(tiles), np.int64)
    labels[tested.indices] = tested.labels
    samples = Samples(tiles, settings.tile, tested.indices, labels, crop, settings.seed, cache)
    workers = default_workers(cache is not None) if settings.workers is None else settings.workers
    sampler = EpochSampler(len(samples), settings.seed, shuffle=False)
    return make_loader(samples, sampler, settings.batch_size, workers, drop_last=False, pin=torch.cuda.is_available())
