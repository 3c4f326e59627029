"""From a set of tiles to batches: checking, caching, splitting, and a loader that is the same run every time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from models.augment import Augment
from models.data import TileSet, list_some
from wsi.errors import InputError, WsiError
from wsi.geometry import TileSpec

_CACHE_BYTES = 1 << 30
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the tiles to train on and to choose the best epoch by, and how they were parted."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    how: str
    by_tile: bool


class Samples(Dataset[Batch]):
    """Part of a tile set, augmented. Item `epoch * len(self) + i` is tile i as that epoch sees it.

    Yields ((size, size, 3) uint8 RGB, () int64 label). indices: (n,) into `tiles`; labels and cache: of the
    whole of `tiles`.
    """

    def __init__(
        self,
        tiles: TileSet,
        tile: TileSpec,
        indices: NDArray[np.int64],
        labels: NDArray[np.int64],
        augment: Augment,
        seed: int,
        cache: Sequence[NDArray[np.uint8]] | None,
    ) -> None:
        self.tiles, self.tile, self.indices, self.labels = tiles, tile, indices, labels
        self.augment, self.seed, self.cache = augment, seed, cache

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: int) -> Batch:
        epoch, place = divmod(key, len(self))
        index = int(self.indices[place])
        pixels = self.cache[index] if self.cache is not None else self.tiles.load(index, self.tile)
        # One number per (seed, epoch, tile): neighbours must not get neighbouring random streams.
        seed = int(np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)[0])
        return torch.from_numpy(self.augment(pixels, seed)), torch.tensor(int(self.labels[index]))


class EpochSampler(Sampler[int]):
    """Keys of one epoch after another, shuffled by (seed, epoch); `set_epoch` jumps to any of them."""

    def __init__(self, length: int, seed: int, shuffle: bool) -> None:
        self.length, self.seed, self.shuffle, self.epoch = length, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        return iter((order + self.epoch * self.length).tolist())


def decode_or_check(tiles: TileSet, tile: TileSpec) -> list[NDArray[np.uint8]] | None:
    """Every tile, decoded once, where they fit in 1 GiB; else None, after those of `probe` were decoded.

    Raises InputError naming the tiles that cannot be decoded, all at once.
    """
    probe = list(tiles.probe())
    first = _try(tiles, tile, probe[0])
    bytes_each = tile.size_px**2 * 3 if isinstance(first, WsiError) else first.nbytes
    fits = bytes_each * len(tiles) <= _CACHE_BYTES
    wanted = list(range(len(tiles))) if fits else probe
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        if fits:
            decoded = list(pool.map(lambda i: _try(tiles, tile, i), wanted))
        else:  # only the errors are kept
            decoded = [d for d in pool.map(lambda i: _try(tiles, tile, i), wanted) if isinstance(d, WsiError)]
    faults = [str(item) for item in decoded if isinstance(item, WsiError)]
    if faults:
        raise InputError(f"{len(faults)} of {len(wanted)} tiles cannot be used: {list_some(faults)}")
    return [item for item in decoded if not isinstance(item, WsiError)] if fits else None


def _try(tiles: TileSet, tile: TileSpec, index: int) -> NDArray[np.uint8] | WsiError:
    try:
        return tiles.load(index, tile)
    except WsiError as error:
        return error


def labels_among(tiles: TileSet, classes: Sequence[str]) -> NDArray[np.int64]:
    """(n,) labels of `tiles` as indices into `classes`, by name. Raises InputError for a class not there."""
    unknown = sorted(set(tiles.classes) - set(classes))
    if unknown:
        raise InputError(f"the test set has classes {unknown}; the model knows only {list(classes)}")
    place = np.array([list(classes).index(name) for name in tiles.classes], np.int64)
    return place[tiles.labels]


def split(tiles: TileSet, val_fraction: float, seed: int) -> Split:
    """Part tiles for training from tiles for choosing the best epoch.

    Whole groups (cases, else slides) where there are two or more, so that no patient is on both sides; else
    by tile, the same fraction of each class. Raises InputError where a class would be left out of training.
    """
    generator = np.random.default_rng(seed)
    groups = np.array(tiles.groups) if tiles.groups is not None else None
    by_tile = groups is None or len(np.unique(groups)) < 2
    if groups is None or by_tile:
        val = _val_by_tile(tiles, val_fraction, generator)
        how = "no case ids: split by tile" if groups is None else f"one {tiles.group_kind} only: split by tile"
    else:
        val = _val_by_group(tiles, groups, val_fraction, generator)
        how = "split by case" if tiles.group_kind == "case" else "no case ids: split by slide"
    train = np.setdiff1d(np.arange(len(tiles)), val)
    lost = [name for i, name in enumerate(tiles.classes) if not np.any(tiles.labels[train] == i)]
    if lost:
        raise InputError(
            f"class {', '.join(lost)}: all its tiles went to validation ({how}); add tiles of other "
            f"{tiles.group_kind}s, or lower train.val_fraction ({val_fraction:g})"
        )
    return Split(train, val, how, by_tile)


def _val_by_tile(tiles: TileSet, fraction: float, generator: np.random.Generator) -> NDArray[np.int64]:
    chosen = []
    for i, name in enumerate(tiles.classes):
        members = np.flatnonzero(tiles.labels == i)
        if len(members) < 2:
            raise InputError(f"class {name}: {len(members)} tiles; training and validation need at least 2")
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen.append(generator.permutation(members)[:count])
    return np.sort(np.concatenate(chosen))


def _val_by_group(
    tiles: TileSet, groups: NDArray[np.str_], fraction: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Add, one by one, the group that brings validation nearest to `fraction` of every class."""
    names, group_of = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), len(tiles.classes)))
    np.add.at(counts, (group_of, tiles.labels), 1)
    per_class = counts.sum(axis=0)
    share = counts / np.maximum(per_class, 1)  # (groups, classes): the part of each class a group holds
    target = np.where(per_class > 0, fraction, 0.0)
    order = list(generator.permutation(len(names)))  # ties fall by the seed
    chosen: list[int] = []
    have = np.zeros(len(tiles.classes))
    while len(chosen) < len(names) - 1:
        costs = [float(np.sum((have + share[g] - target) ** 2)) for g in order]
        best = int(np.argmin(costs))
        if chosen and costs[best] >= float(np.sum((have - target) ** 2)):
            break
        have = have + share[order[best]]
        chosen.append(int(order.pop(best)))
    return np.flatnonzero(np.isin(group_of, chosen)).astype(np.int64)


def make_loader(
    samples: Samples, sampler: EpochSampler, batch_size: int, workers: int, drop_last: bool, pin: bool
) -> DataLoader[Batch]:
    """Batches of ((n, size, size, 3) uint8 RGB, (n,) int64 labels)."""
    return DataLoader(
        samples,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        drop_last=drop_last,
        pin_memory=pin,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread if workers else None,
    )


def _one_thread(_worker: int) -> None:
    """Workers are the parallelism: threads of OpenCV's own would only get in one another's way."""
    cv2.setNumThreads(0)


def default_workers(cached: bool) -> int:
    """No workers for tiles in memory; else one a core but one, at most eight."""
    return 0 if cached else max(1, min(8, (os.cpu_count() or 1) - 1))
