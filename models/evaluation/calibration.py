"""Are probabilities what they say? Reliability, expected calibration error, and temperature scaling (Guo 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from wsi.errors import InputError

BINS = 15  # of equal width, as in Guo et al., On calibration of modern neural networks, ICML 2017
_LEAST, _MOST = 0.05, 20.0


@dataclass(frozen=True, eq=False)
class Reliability:
    """Tiles by the probability of the class they were called, in BINS bins of equal width from 0 to 1.

    count, confidence, accuracy: (BINS,); confidence (mean probability) and accuracy are NaN in an empty bin.
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |accuracy - confidence| over the tiles."""
        gap = np.nan_to_num(np.abs(self.accuracy - self.confidence))
        return float((gap * self.count).sum() / self.count.sum())

    def to_json(self) -> dict[str, Any]:
        """Lists, with None in empty bins."""
        return {
            "count": self.count.tolist(),
            "confidence": [None if math.isnan(v) else float(v) for v in self.confidence],
            "accuracy": [None if math.isnan(v) else float(v) for v in self.accuracy],
        }


def reliability(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Reliability:
    """How often tiles called with some probability are called rightly. probabilities: (n, classes)."""
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((top * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    held = np.where(count > 0, count, np.nan)
    return Reliability(
        count,
        np.bincount(bins, weights=top, minlength=BINS) / held,
        np.bincount(bins, weights=right, minlength=BINS) / held,
    )


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature, 0.05 to 20, that makes (n, classes) validation logits most likely; it changes no prediction.

    1 where every tile is called rightly: the likelihood would then only ask for more confidence, without end.
    Raises InputError where there are no tiles.
    """
    if len(labels) == 0:
        raise InputError("no validation tiles to fit a temperature on; hold some out (train.val_fraction)")
    values = logits.astype(np.float64)
    if np.array_equal(values.argmax(axis=1), labels):
        return 1.0
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(values / math.exp(log_temperature), axis=1)[rows, labels].mean())

    found = minimize_scalar(loss, bounds=(math.log(_LEAST), math.log(_MOST)), method="bounded")
    return math.exp(float(found.x))
