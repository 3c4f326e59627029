"""From a set of tiles to batches: checking, caching, and a loader that is the same run every time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from models.augment import Augment
from models.balance import draw, epoch_length
from models.data import TileSet, list_some
from wsi import processes
from wsi.errors import InputError, WsiError
from wsi.geometry import TileSpec

_CACHE_BYTES = 1 << 30
_ROUNDS = 1 << 32  # more than there are epochs
Batch = tuple[torch.Tensor, torch.Tensor]


class Samples(Dataset[Batch]):
    """Part of a tile set, augmented. Item `round * len(self) + i` is tile i as that round sees it.

    A round is an epoch, or the second, third... time that a tile is seen in one: each time it looks different.
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
        turn, place = divmod(key, len(self))
        index = int(self.indices[place])
        pixels = self.cache[index] if self.cache is not None else self.tiles.load(index, self.tile)
        # One number per (seed, round, tile): neighbours must not get neighbouring random streams.
        seed = int(np.random.SeedSequence((self.seed, turn, index)).generate_state(1)[0])
        return torch.from_numpy(self.augment(pixels, seed)), torch.tensor(int(self.labels[index]))


@dataclass(frozen=True)
class Share:
    """A process's part of every batch where `processes` work on it together: the same batches as one would take.

    batch: tiles of a whole one. multiple: each process takes a multiple of so many.
    """

    process: int = 0
    processes: int = 1
    batch: int = 2
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.batch % self.processes or self.batch < 2 * self.processes:
            raise InputError(
                f"train.batch_size {self.batch} is shared by {self.processes} devices; give a multiple of "
                f"{self.processes}, from {2 * self.processes}"
            )

    def sizes(self, tiles: int) -> list[int]:
        """Tiles of each whole batch: `batch` at most, and nearly as many in each.

        Not full batches and a rest: a last batch of one tile would leave batch norm without a variance, and one of a
        few would count as much as the others. For the same reason three tiles, two at a time, are one batch. Left out
        are those that cannot be shared: fewer than processes × multiple.
        """
        unit = self.processes * self.multiple
        units, most = tiles // unit, self.batch // unit
        least = -(-2 // self.multiple)  # units of a batch of two tiles for each process
        batches = max(1, min(-(-units // most), units // least)) if units else 0
        return [unit * (units // batches + (i < units % batches)) for i in range(batches)]

    def of(self, keys: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """This process's keys of each batch."""
        ends = np.cumsum(self.sizes(len(keys)))
        batches = np.split(keys[: ends[-1]], ends[:-1]) if len(ends) else []
        return [np.array_split(batch, self.processes)[self.process] for batch in batches]


class EpochSampler(Sampler[int]):
    """Keys of one epoch after another, shuffled by (seed, epoch); `set_epoch` jumps to any of them.

    times: (length,) how often an epoch shows each tile, see `models.balance`; None: each once.
    """

    def __init__(self, length: int, seed: int, shuffle: bool, times: NDArray[np.float64] | None = None) -> None:
        if times is not None and not shuffle:
            raise ValueError("what is not shuffled is evaluated, and that is never balanced")
        self.length, self.seed, self.shuffle, self.times, self.epoch = length, seed, shuffle, times, 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length if self.times is None else epoch_length(self.times)

    def __iter__(self) -> Iterator[int]:
        return iter(self.keys().tolist())

    def keys(self) -> NDArray[np.int64]:
        """(len(self),) of the epoch, in order."""
        generator = np.random.default_rng((self.seed, self.epoch))
        if self.times is not None:
            order = draw(self.times, generator)
        else:
            order = generator.permutation(self.length) if self.shuffle else np.arange(self.length)
        rounds = self.epoch + _ROUNDS * _times_before(order)
        return np.asarray(order + rounds * self.length, np.int64)


class EpochBatches(Sampler[list[int]]):
    """A process's share of every batch of an epoch: every tile of it is in one, as far as it can be shared.

    tiles: those of an epoch's batches, all processes together.
    """

    def __init__(self, sampler: EpochSampler, share: Share) -> None:
        self.sampler, self.share = sampler, share
        sizes = share.sizes(len(sampler))  # of every epoch
        self.batches, self.tiles = len(sizes), sum(sizes)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        return iter([batch.tolist() for batch in self.share.of(self.sampler.keys())])


def _times_before(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) how often each value was there before its place."""
    sorting = np.argsort(order, kind="stable")
    counts = np.unique(order, return_counts=True)[1]
    before = np.empty_like(order)
    before[sorting] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return before


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


def make_loader(
    samples: Samples, sampler: EpochSampler, batch_size: int, workers: int, drop_last: bool, pin: bool
) -> DataLoader[Batch]:
    """Batches of ((n, size, size, 3) uint8 RGB, (n,) int64 labels)."""
    return _loader(samples, workers, pin, sampler=sampler, batch_size=batch_size, drop_last=drop_last)


def make_training_loader(samples: Samples, batches: EpochBatches, workers: int, pin: bool) -> DataLoader[Batch]:
    """The same, parted as `batches` says."""
    return _loader(samples, workers, pin, batch_sampler=batches)


def _loader(samples: Samples, workers: int, pin: bool, **parted: Any) -> DataLoader[Batch]:
    return DataLoader(
        samples,
        **parted,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        worker_init_fn=_one_thread if workers else None,
        multiprocessing_context=processes.fresh("models.loading", "models.data.slides") if workers else None,
    )


def _one_thread(_worker: int) -> None:
    """Workers are the parallelism: threads of OpenCV's own would only get in one another's way."""
    cv2.setNumThreads(0)


def default_workers(cached: bool) -> int:
    """No workers for tiles in memory; else one a core but one, at most eight."""
    return 0 if cached else max(1, min(8, (os.cpu_count() or 1) - 1))
