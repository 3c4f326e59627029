"""Two sets of predictions of the same tiles, compared on the same resamples, so that luck with cases cancels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.evaluation import weighted
from models.evaluation.intervals import Interval, interval, resampled
from models.evaluation.scored import Scored


def balanced(scored: Scored, predicted: NDArray[np.int64]) -> float:
    """Balanced accuracy of other predictions, (n,), of the same tiles."""
    return float(_balanced(np.ones((1, len(scored))), scored, predicted)[0])


def fall(
    scored: Scored, first: NDArray[np.int64], second: NDArray[np.int64], *, repeats: int, seed: int
) -> tuple[float, Interval | None]:
    """Balanced accuracy of `first` minus that of `second`, both (n,), and its 95 % interval."""

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return (_balanced(weights, scored, first) - _balanced(weights, scored, second))[:, None]

    values = resampled(scored.units, statistic, repeats=repeats, seed=seed)[:, 0]
    return balanced(scored, first) - balanced(scored, second), interval(values, scored.units)


def _balanced(weights: NDArray[np.float64], scored: Scored, predicted: NDArray[np.int64]) -> NDArray[np.float64]:
    return weighted.balanced_accuracy(weighted.confusions(weights, scored.labels, predicted, len(scored.classes)))
