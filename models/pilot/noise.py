"""The error on a test part, and what it might have been on another: whole cases are drawn again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import REPEATS, resampled
from models.evaluation.scored import Units

Array = NDArray[np.float64]


def recalls(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> Array:
    """(classes, ...) share of each class's tiles that is found. labels: (n,); predicted: (..., n)."""
    right = predicted == labels
    return np.stack([right[..., labels == i].mean(axis=-1) for i in range(classes)])


def resampled_recalls(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, units: Units) -> Array:
    """(B, classes, ...) the same, had other cases been tested; NaN where a resample lacks the class.

    The same resamples of the same units in every call, so that what two readers are given pairs.
    """
    shape = predicted.shape[:-1]
    right = (predicted == labels).reshape(-1, len(labels)).T.astype(np.float64)

    def statistic(weights: Array) -> Array:
        found = []
        for i in range(classes):
            mine = labels == i
            of_class = weights[:, mine]
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append(of_class @ right[mine] / of_class.sum(axis=1, keepdims=True))
        return np.concatenate(found, axis=1)

    values = resampled(units, statistic, repeats=REPEATS)
    return values.reshape(len(values), classes, *shape)


def balanced_error(of_classes: Array, axis: int) -> Array:
    """1 - the mean recall, over the classes along `axis` that are there."""
    return np.asarray(1 - np.nanmean(of_classes, axis=axis), np.float64)
