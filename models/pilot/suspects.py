"""Tiles whose label a reader contests after learning from other cases: often wrong labels, sometimes hard tiles.

Confident learning (Northcutt et al. 2021): a tile is contested where the reader is as sure of another class as it
is, on average, of that class's own tiles. Here by all of several forests, so that chance takes less part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.pilot.design import Fold
from models.pilot.readers import Features, forest

_FORESTS = 3


@dataclass(frozen=True)
class Suspect:
    """A tile (its index), the class it is labelled, the class it is called, and the probabilities of both."""

    index: int
    labelled: int
    called: int
    of_label: float
    of_called: float


def suspects(features: Features, labels: NDArray[np.int64], folds: Sequence[Fold]) -> list[Suspect]:
    """The contested tiles, surest first. features: (n, k); folds test every tile once."""
    classes = int(labels.max()) + 1
    every = np.stack([_crossed(features, labels, folds, classes, seed) for seed in range(_FORESTS)])
    contested = np.all([_contested(one, labels, classes) for one in every], axis=0)
    mean = every.mean(axis=0)
    called, place = mean.argmax(axis=1), np.arange(len(labels))
    found = [
        Suspect(int(i), int(labels[i]), int(called[i]), float(mean[i, labels[i]]), float(mean[i, called[i]]))
        for i in place[contested & (called != labels)]
    ]
    return sorted(found, key=lambda one: one.of_label - one.of_called)


def _crossed(
    features: Features, labels: NDArray[np.int64], folds: Sequence[Fold], classes: int, seed: int
) -> NDArray[np.float64]:
    """(n, classes) probabilities, each tile's by a forest that saw none of its case."""
    found = np.zeros((len(labels), classes))
    for fold in folds:
        fitted = forest(seed, len(fold.pool)).fit(features[fold.pool], labels[fold.pool])
        found[fold.test] = fitted.predict_proba(features[fold.test])
    return found


def _contested(probabilities: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    """(n,) as sure of another class as of its own tiles on average, and surer of it than of the label."""
    usual = np.array([probabilities[labels == i, i].mean() for i in range(classes)])
    sure = probabilities >= usual
    # Beyond the paper: a tile that its own label also explains as well as usual is no suspect.
    sure &= ~sure[np.arange(len(labels)), labels][:, None]
    return np.asarray(sure.any(axis=1), np.bool_)
