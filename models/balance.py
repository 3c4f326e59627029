"""Balance: rare classes, or cases, count more in the loss or are seen more often; never in what is evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InputError

Balance = Literal["none", "weights", "sampler", "oversample", "groups"]
MOST = 10.0  # a class of three tiles must not drown the rest, nor be all that is seen of it


def class_weights(labels: NDArray[np.int64], classes: int) -> list[float]:
    """Weights that let every class count the same in the loss; at most ten."""
    counts = np.bincount(labels, minlength=classes)
    return [float(min(MOST, len(labels) / (classes * max(1, n)))) for n in counts]


def times_seen(
    labels: NDArray[np.int64], how: Balance, groups: Sequence[str] | None = None
) -> NDArray[np.float64] | None:
    """(n,) how often an epoch shows each tile; None: each once.

    labels, groups: (n,) class and case of the training tiles alone. "sampler": every class as often, in an epoch as
    long as before: tiles of large classes are seen in some epochs only. "oversample": rare classes are repeated until
    they are as many as the largest; the epoch is longer, and no tile is left out. "groups": as "sampler", and within a
    class every group as often, so that a class is not learned from the few cases that have most of its tiles.
    No tile is seen more than ten times an epoch, on average.

    Raises InputError where "groups" is asked for and none are known.
    """
    if how not in get_args(Balance):
        raise InputError(f"train.balance is {how!r}; give one of {', '.join(get_args(Balance))}")
    if how in ("none", "weights"):
        return None
    if how == "groups":
        return _each_group_as_often(labels, groups)
    counts = np.bincount(labels)
    present = np.count_nonzero(counts)
    wanted = counts.max() if how == "oversample" else len(labels) / present
    return np.minimum(MOST, wanted / counts[labels])


def _each_group_as_often(labels: NDArray[np.int64], groups: Sequence[str] | None) -> NDArray[np.float64]:
    if groups is None:
        raise InputError(
            "train.balance is groups, and no case is known; name the cases (cases.csv, train.case_pattern), "
            "or guess them with train.group_by: stain"
        )
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    tiles = np.zeros((labels.max() + 1, numbers.max() + 1))
    np.add.at(tiles, (labels, numbers), 1)
    of_class = np.count_nonzero(tiles, axis=1)
    wanted = len(labels) / np.count_nonzero(of_class) / of_class[labels]
    return np.asarray(np.minimum(MOST, wanted / tiles[labels, numbers]), np.float64)


def epoch_length(times: NDArray[np.float64]) -> int:
    """How many tiles `draw` gives: the sum, rounded up so that what is to be seen once is never left out."""
    return math.ceil(float(times.sum()) * (1 - 1e-9))


def draw(times: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
    """(epoch_length,) indices of one epoch's tiles, shuffled: i as often as times[i], rounded up or down by chance.

    Systematic, not independent draws: those would leave out a third of the tiles that are to be seen once.
    """
    tiles = generator.permutation(len(times))
    tiles = tiles[np.argsort(times[tiles], kind="stable")]  # tiles seen as often side by side: each class its share
    until, count = np.cumsum(times[tiles]), epoch_length(times)
    places = (np.arange(count) + generator.random()) * (until[-1] / count)
    drawn = tiles[np.minimum(np.searchsorted(until, places, side="right"), len(tiles) - 1)]
    return generator.permutation(drawn).astype(np.int64)
