"""Figures of many resamples at once: each is a row of weights, one a tile. With weights of 1, scikit-learn's numbers.

C classes, n tiles, r resamples. NaN where a resample holds no tile that a figure needs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def confusions(weights: Array, labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Array:
    """(r, n) weights → (r, C, C); [i, j]: tiles of class i that were called j."""
    cells = np.zeros((len(labels), classes * classes))
    cells[np.arange(len(labels)), labels * classes + predicted] = 1
    return np.asarray((weights @ cells).reshape(-1, classes, classes), np.float64)


def accuracy(confusion: Array) -> Array:
    """(r, C, C) → (r,)."""
    return _ratio(np.trace(confusion, axis1=1, axis2=2), confusion.sum(axis=(1, 2)))


def recall(confusion: Array) -> Array:
    """(r, C, C) → (r, C)."""
    return _ratio(_hits(confusion), confusion.sum(axis=2))


def precision(confusion: Array) -> Array:
    """(r, C, C) → (r, C); 0 for a class that is never called."""
    return np.nan_to_num(_ratio(_hits(confusion), confusion.sum(axis=1)))


def f1(confusion: Array) -> Array:
    """(r, C, C) → (r, C); NaN for a class that is absent."""
    score = np.nan_to_num(_ratio(2 * _hits(confusion), confusion.sum(axis=2) + confusion.sum(axis=1)))
    return np.where(confusion.sum(axis=2) > 0, score, np.nan)


def balanced_accuracy(confusion: Array) -> Array:
    """(r, C, C) → (r,): mean recall of the classes that are there."""
    return present_mean(recall(confusion))


def present_mean(values: Array) -> Array:
    """(r, C) → (r,): mean of the classes that have a figure."""
    known = np.isfinite(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))


def auc(weights: Array, positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> Array:
    """(r, n) weights → (r,) area under the ROC curve; ties count half."""
    order = np.argsort(scores, kind="stable")
    ranked, ordered = weights[:, order], scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    hit = np.add.reduceat(ranked * positive[order], starts, axis=1)
    miss = np.add.reduceat(ranked * ~positive[order], starts, axis=1)
    below = np.cumsum(miss, axis=1) - miss / 2
    return _ratio((hit * below).sum(axis=1), hit.sum(axis=1) * miss.sum(axis=1))


def mean(weights: Array, values: NDArray[np.floating]) -> Array:
    """(r, n) weights → (r,) mean of a number a tile."""
    return _ratio(weights @ values, weights.sum(axis=1))


def _hits(confusion: Array) -> Array:
    return np.asarray(np.diagonal(confusion, axis1=1, axis2=2), np.float64)


def _ratio(above: Array, below: Array) -> Array:
    """NaN where there is nothing to divide by."""
    return np.asarray(np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0), np.float64)
