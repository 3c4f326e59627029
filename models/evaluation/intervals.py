"""95 % intervals by the bootstrap: whole cases are drawn again and again, since tiles of one case are alike.

scipy.stats.bootstrap draws single observations. Here a resample is a weight a tile (how often its case was drawn), so
that all resamples of all figures are a few matrix products.

Of few cases the middle 95 % is too narrow: the spread of n drawn ones is short by (n - 1) / n, and the quantiles are
the normal's. They are taken further out, as Student's t has it (Hesterberg 2015, What teachers should know about the
bootstrap: the expanded percentile interval). Of hundreds of cases nothing changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.evaluation.scored import Units

REPEATS = 1000
LEVEL = 0.95
_VALUES_AT_ONCE = 4_000_000  # weights held at a time: 32 MB
# (resamples, n) weights → (resamples, k) figures, NaN where a resample has none.
Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
Interval = tuple[float, float]


def resampled(units: Units, statistic: Statistic, *, repeats: int = REPEATS, seed: int = 0) -> NDArray[np.float64]:
    """(repeats, k) figures of `repeats` resamples of the units. The same seed draws the same units, so figures pair."""
    generator = np.random.default_rng(seed)
    block = max(1, _VALUES_AT_ONCE // len(units.of))
    found = []
    for start in range(0, repeats, block):
        rows = min(block, repeats - start)
        drawn = generator.integers(0, units.count, (rows, units.count))
        drawn += np.arange(rows)[:, None] * units.count
        times = np.bincount(drawn.ravel(), minlength=rows * units.count).reshape(rows, units.count)
        found.append(statistic(times[:, units.of].astype(np.float64)))
    return np.concatenate(found)


def interval(values: NDArray[np.float64], units: Units) -> Interval | None:
    """The middle 95 % of resampled figures, and more of few units; None of one, or where most have no figure."""
    known = values[np.isfinite(values)]
    if units.count < 2 or len(known) < len(values) / 2:
        return None
    tail = _tail(units.count)
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def _tail(count: int) -> float:
    """The share of resamples to leave out on each side: 0.025 of many units, less of few."""
    reach = math.sqrt(count / (count - 1)) * stats.t.ppf((1 + LEVEL) / 2, count - 1)
    return float(stats.norm.cdf(-reach))


def without_spread(intervals: dict[str, Any], units: Units) -> list[str]:
    """A note where a figure is the same in every resample: that is no certainty. intervals: of `figures.intervals`."""
    wholes = [intervals, *intervals["per_class"].values()]
    still = any(isinstance(pair, tuple) and pair[0] == pair[1] for found in wholes for pair in found.values())
    if not still:
        return []
    share = 100 * min(1.0, 3 / units.count)
    return [
        "an interval without width comes of tiles that are all right, or all wrong, and is no certainty: where "
        f"{units.count} {units.kind}s are without error, up to {share:.0f} % of new ones may not be "
        "(rule of three)"
    ]
