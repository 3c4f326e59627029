"""What needs no network: mean colour and a colour histogram. A model that these match has learned colour at most."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.evaluation.scored import Units
from wsi.errors import InputError

MOST_TILES = 5000  # to fit on: more would change nothing but the time
_BINS = 32  # a channel; with HSV beside RGB it does better than any of 8 × 8 × 8 joint bins, RGB, HSV or Lab alone
_TREES = 300
_FOLDS = 5
Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Baseline:
    """What a simple rule says of the evaluated tiles: (n,) int64 classes; how: what it was fitted on."""

    name: str
    predicted: NDArray[np.int64]
    how: str


@dataclass(frozen=True, eq=False)
class Colours:
    """What the baselines see of n tiles. mean: (n, 3) RGB; histogram: (n, 192), RGB and HSV."""

    mean: Features
    histogram: Features


def colours(tiles: Iterable[Pixels]) -> Colours:
    """Of (h, w, 3) uint8 RGB tiles of any size."""
    found = [(_mean_rgb(tile), _histogram(tile)) for tile in tiles]
    return Colours(np.stack([mean for mean, _ in found]), np.stack([histogram for _, histogram in found]))


def fitted_baselines(train: Colours, labels: NDArray[np.int64], test: Colours, seed: int = 0) -> list[Baseline]:
    """Both baselines, fitted on `train`, asked about `test`. Raises InputError where training tiles are of one class.

    A class that `train` does not have is never called.
    """
    if len(np.unique(labels)) < 2:
        raise InputError("the baselines need training tiles of two classes or more")
    how = f"fitted on {len(labels)} training tiles"
    return [
        Baseline(name, np.asarray(make(seed).fit(of(train), labels).predict(of(test)), np.int64), how)
        for name, make, of in _KINDS
    ]


def crossed_baselines(test: Colours, labels: NDArray[np.int64], units: Units, seed: int = 0) -> list[Baseline]:
    """Both baselines by cross-validation over the cases (or slides) evaluated, for want of the training tiles.

    Raises InputError where cases are not known or too few. Never over single tiles: a random forest then knows tiles by
    their neighbours (98 % instead of 73 % on a set of five classes), and no model could beat it.
    """
    if units.kind == "tile":
        raise InputError(
            "no baselines: without case ids they cannot be fitted among these tiles; "
            "give the tiles that the model was trained on (--baselines-from)"
        )
    groups = [len(np.unique(units.of[labels == i])) for i in np.unique(labels)]
    folds = min(_FOLDS, *groups) if len(groups) > 1 else 0
    splits = []
    if folds > 1:
        by_group = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        splits = list(by_group.split(labels, labels, units.of))
    if not splits or any(len(np.unique(labels[train])) < 2 for train, _ in splits):
        raise InputError(
            f"no baselines: two classes, each in two {units.kind}s or more, are needed to cross-validate them; "
            "give the tiles that the model was trained on (--baselines-from)"
        )
    how = f"fitted on these {len(labels)} tiles by {folds}-fold cross-validation over {units.kind}s"
    return [
        Baseline(name, np.asarray(cross_val_predict(make(seed), of(test), labels, cv=splits), np.int64), how)
        for name, make, of in _KINDS
    ]


def _mean_rgb(tile: Pixels) -> Features:
    return np.asarray(tile.reshape(-1, 3).mean(axis=0), np.float32)


def _histogram(tile: Pixels) -> Features:
    """(192,): shares of pixels in 32 bins of each of red, green, blue, hue, saturation and value."""
    spaces = (tile, np.asarray(cv2.cvtColor(tile, cv2.COLOR_RGB2HSV_FULL), np.uint8))
    counts = [cv2.calcHist([space], [i], None, [_BINS], [0, 256]).ravel() for space in spaces for i in range(3)]
    return np.asarray(np.concatenate(counts) / tile[:, :, 0].size, np.float32)


def _logistic(_seed: int) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))


def _forest(seed: int) -> Any:
    return RandomForestClassifier(_TREES, class_weight="balanced", random_state=seed, n_jobs=-1)


# Name, what is fitted, and on what. Classes are balanced, since baselines and model are compared by balanced accuracy.
_KINDS: tuple[tuple[str, Callable[[int], Any], Callable[[Colours], Features]], ...] = (
    ("mean RGB (logistic regression)", _logistic, lambda seen: seen.mean),
    ("colour histogram (random forest)", _forest, lambda seen: seen.histogram),
)
