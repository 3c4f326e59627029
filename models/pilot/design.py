"""What is tried on what: test parts by case, and training sets that grow within them, one order a seed."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from models.data import TileSet, list_some
from models.evaluation.scored import Units
from models.splits import holdout
from wsi.errors import InputError

Indices = NDArray[np.int64]
LEAST_TILES, LEAST_OF_CLASS = 30, 5
TEST_FRACTION = 0.25
# A quarter of so few would say hardly anything: every tile is tested instead, once in each of the folds.
FEW_TILES, FEW_CASES = 200, 20
_FOLDS, _TRIES = 5, 50
_OF_EACH_CLASS = 2  # in the least training set: one to train on, one to choose the epoch by
_SMALLEST_SHARE = 1 / 64  # below it, a curve shows how guessing ends and not where learning leads


@dataclass(frozen=True, eq=False)
class Fold:
    """Tiles to draw training sets from, and tiles to test."""

    pool: Indices
    test: Indices


@dataclass(frozen=True, eq=False)
class Draw:
    """One training: tiles to train on and to test; its size's place in `Design.sizes`, its seed and its fold."""

    size: int
    seed: int
    fold: int
    train: Indices
    test: Indices


@dataclass(frozen=True, eq=False)
class Design:
    """Everything that is to be trained and tested.

    sizes: (k,) tiles of the training sets, rising, mean over seeds and folds; units_at: (k,) cases (or tiles) of them.
    tested: (m,) tiles, fold after fold; units: of those, drawn whole when errors are resampled. how: in words.
    """

    folds: tuple[Fold, ...]
    draws: tuple[Draw, ...]
    sizes: NDArray[np.float64]
    units_at: Indices
    seeds: int
    tested: Indices
    units: Units
    kind: str
    how: str

    @property
    def whole(self) -> tuple[Draw, ...]:
        """The draws of the first seed that train on everything but the test part: one a fold."""
        return tuple(draw for draw in self.draws if draw.seed == 0 and draw.size == len(self.sizes) - 1)


def design(tiles: TileSet, sizes: int, seeds: int, seed: int) -> Design:
    """Of `sizes` sizes, spaced geometrically, and `seeds` orders. Raises InputError for a set too small to try."""
    refuse_too_small(tiles)
    unit_of = units_of(tiles)
    folds, how = _folds(tiles, unit_of, seed)
    kind = "tile" if tiles.groups is None else tiles.group_kind
    orders = [[_order(tiles, unit_of, fold.pool, (seed, i, f)) for f, fold in enumerate(folds)] for i in range(seeds)]
    units_at = _spaced(tiles, unit_of, orders, sizes)
    draws = tuple(
        Draw(
            place, i, f, _tiles_of(unit_of, fold.pool, orders[i][f][: _count(units_at, place, orders[i][f])]), fold.test
        )
        for place in range(len(units_at))
        for i in range(seeds)
        for f, fold in enumerate(folds)
    )
    mean = [np.mean([len(draw.train) for draw in draws if draw.size == place]) for place in range(len(units_at))]
    tested = np.concatenate([fold.test for fold in folds])
    names, of = np.unique(unit_of[tested], return_inverse=True)
    return Design(
        folds, draws, np.array(mean), units_at, seeds, tested, Units(of.astype(np.int64), len(names), kind), kind, how
    )


def refuse_too_small(tiles: TileSet) -> None:
    """Raise InputError where no learning curve can be drawn: too few tiles, classes, or cases of a class."""
    counts = np.bincount(tiles.labels, minlength=len(tiles.classes))
    if len(tiles.classes) < 2:
        raise InputError(f"one class only ({tiles.classes[0]}); a pilot takes two or more")
    rare = [f"{name} ({count})" for name, count in zip(tiles.classes, counts, strict=True) if count < LEAST_OF_CLASS]
    if rare:
        raise InputError(
            f"class {list_some(rare, ', ')}: fewer than {LEAST_OF_CLASS} tiles; label more of it, or leave it out"
        )
    if len(tiles) < LEAST_TILES:
        raise InputError(f"{len(tiles)} tiles in all; a learning curve takes {LEAST_TILES} or more")
    if tiles.groups is None:
        return
    lone = [name for i, name in enumerate(tiles.classes) if _groups_with(tiles, i) < 2]
    if lone:
        raise InputError(
            f"class {list_some(lone, ', ')}: tiles of one {tiles.group_kind} only; a pilot takes two or more of each "
            "class, to train on some and test on others"
        )


def folds_of(tiles: TileSet, seed: int) -> tuple[Fold, ...]:
    """Up to five folds in which every tile is tested once, whole cases together, and no pool lacks a class."""
    unit_of = units_of(tiles)
    most = min(_groups_with(tiles, i) for i in range(len(tiles.classes)))
    kind = StratifiedKFold if tiles.groups is None else StratifiedGroupKFold
    for folds in range(min(_FOLDS, most), 1, -1):
        for attempt in range(_TRIES):
            parter = kind(folds, shuffle=True, random_state=seed + attempt)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                parts = list(parter.split(unit_of, tiles.labels, unit_of))
            if all(len(test) and _has_every_class(tiles, pool) for pool, test in parts):
                return tuple(Fold(np.asarray(pool, np.int64), np.asarray(test, np.int64)) for pool, test in parts)
    raise InputError(f"these {tiles.group_kind}s cannot be parted so that every part has every class; add others")


def units_of(tiles: TileSet) -> Indices:
    """(n,) number of the case (or slide) of each tile; of the tile itself where none is known."""
    if tiles.groups is None:
        return np.arange(len(tiles))
    return np.unique(np.array(tiles.groups), return_inverse=True)[1].astype(np.int64)


def digest(indices: Indices) -> str:
    """SHA-256 of the tiles of a part."""
    return hashlib.sha256(np.ascontiguousarray(indices, np.int64).tobytes()).hexdigest()


def _groups_with(tiles: TileSet, label: int) -> int:
    return len(np.unique(units_of(tiles)[tiles.labels == label]))


def _has_every_class(tiles: TileSet, part: Indices) -> bool:
    return len(np.unique(tiles.labels[part])) == len(tiles.classes)


def _folds(tiles: TileSet, unit_of: Indices, seed: int) -> tuple[tuple[Fold, ...], str]:
    """The test parts, and how they were made in words."""
    count = len(np.unique(unit_of))
    by = f"by {tiles.group_kind}" if tiles.groups is not None else "by tile, for want of case ids"
    why = None
    if len(tiles) < FEW_TILES:
        why = f"{len(tiles)} tiles"
    elif tiles.groups is not None and count < FEW_CASES:
        why = f"{count} {tiles.group_kind}s"
    if why is None:
        split = holdout(tiles, TEST_FRACTION, seed)
        if _has_every_class(tiles, split.val):
            share = len(split.val) / len(tiles)
            return (Fold(split.train, split.val),), f"one held-out part, {100 * share:.0f} % of the tiles, {by}"
        why = "a held-out part would lack a class"
    folds = folds_of(tiles, seed)
    return folds, f"{len(folds)} folds {by}, every tile tested once ({why}: one held-out part would say too little)"


def _order(tiles: TileSet, unit_of: Indices, pool: Indices, seed: Sequence[int]) -> Indices:
    """The pool's cases (or tiles) in an order of which every beginning has the classes in about the pool's shares."""
    generator = np.random.default_rng(seed)
    names, of = np.unique(unit_of[pool], return_inverse=True)
    counts = np.zeros((len(names), len(tiles.classes)))
    np.add.at(counts, (of, tiles.labels[pool]), 1)
    # A case goes with the class that it holds most of, so that a rare class has cases of its own.
    stratum = np.argmax(counts / counts.sum(axis=0), axis=1)
    turn = np.empty(len(names))
    for i in np.unique(stratum):
        members = generator.permutation(np.flatnonzero(stratum == i))
        turn[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return np.asarray(names[np.argsort(turn)], np.int64)


def _spaced(tiles: TileSet, unit_of: Indices, orders: Sequence[Sequence[Indices]], sizes: int) -> Indices:
    """(k,) numbers of units, from the least with which every order has every class to all of the smallest pool."""
    every = [order for of_seed in orders for order in of_seed]
    most = min(len(order) for order in every)
    least = max(_least(tiles, unit_of, order) for order in every)
    least = min(max(least, int(np.ceil(most * _SMALLEST_SHARE))), most)
    return np.unique(np.round(np.geomspace(least, most, sizes)).astype(np.int64))


def _count(units_at: Indices, place: int, order: Indices) -> int:
    """How many units of an order; the last size is all of them, of pools that differ by a few."""
    return len(order) if place == len(units_at) - 1 else int(units_at[place])


def _least(tiles: TileSet, unit_of: Indices, order: Indices) -> int:
    """Units of the order until there are two tiles of each class."""
    place = np.full(int(unit_of.max()) + 1, len(order))
    place[order] = np.arange(len(order))
    at = place[unit_of]
    return max(int(np.sort(at[tiles.labels == i])[_OF_EACH_CLASS - 1]) + 1 for i in range(len(tiles.classes)))


def _tiles_of(unit_of: Indices, pool: Indices, units: Indices) -> Indices:
    return pool[np.isin(unit_of[pool], units)]
