"""95 % intervals by the bootstrap: whole cases are drawn again and again, since tiles of one case are alike.

scipy.stats.bootstrap draws single observations. Here a resample is a weight a tile (how often its case was drawn), so
that all resamples of all figures are a few matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

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
    """The middle 95 % of resampled figures; None for one unit alone, or where most resamples have no figure."""
    known = values[np.isfinite(values)]
    if units.count < 2 or len(known) < len(values) / 2:
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
