"""Which probability is enough to call a tile a class: what each threshold misses, and what it calls falsely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InputError

By = Literal["recall", "youden", "cost"]
TABLE = (0.01, 0.02, 0.05, *(round(0.05 * i, 2) for i in range(2, 19)), 0.95, 0.98, 0.99)


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen.

    recall: the highest one that finds `target_recall` of the class. youden: most recall + specificity.
    cost: least cost, where a tile missed costs as much as `miss_cost` false alarms.
    """

    by: By = "recall"
    target_recall: float = 0.95
    miss_cost: float = 5.0

    def __post_init__(self) -> None:
        if self.by not in get_args(By):
            raise InputError(f"thresholds are chosen by {', '.join(get_args(By))}, not by {self.by!r}")
        if not 0 < self.target_recall <= 1:
            raise InputError(f"target_recall is {self.target_recall}; give a share above 0, such as 0.95")
        if not self.miss_cost > 0:
            raise InputError(f"miss_cost is {self.miss_cost}; give how many false alarms one miss is worth, above 0")

    @property
    def text(self) -> str:
        """For a person."""
        if self.by == "recall":
            return f"recall {self.target_recall:g} or more"
        if self.by == "youden":
            return "most recall + specificity (Youden)"
        return f"least cost, a miss being worth {self.miss_cost:g} false alarms"


RULES = tuple(Rule(by) for by in get_args(By))


@dataclass(frozen=True)
class Threshold:
    """A class against the rest: tiles of probability `threshold` or more are called it. Counts are tiles."""

    threshold: float
    found: int
    missed: int
    false_alarms: int
    rejected: int

    @property
    def recall(self) -> float | None:
        """Share of the class that is found; None where there is none of it."""
        return _share(self.found, self.missed)

    @property
    def specificity(self) -> float | None:
        """Share of the rest that is not called it; None where there is no rest."""
        return _share(self.rejected, self.false_alarms)

    @property
    def precision(self) -> float | None:
        """Share of what is called it that is; None where nothing is called it."""
        return _share(self.found, self.false_alarms)

    def to_json(self) -> dict[str, Any]:
        """Counts and shares."""
        shares = {"recall": self.recall, "specificity": self.specificity, "precision": self.precision}
        return {**asdict(self), **shares}


def _share(part: int, rest: int) -> float | None:
    return part / (part + rest) if part + rest else None


def threshold_table(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], thresholds: Sequence[float] = TABLE
) -> list[Threshold]:
    """What each threshold does. scores: (n,) probabilities of the class; positive: (n,), which tiles are of it."""
    hits, others = np.sort(scores[positive]), np.sort(scores[~positive])
    missed, rejected = np.searchsorted(hits, thresholds), np.searchsorted(others, thresholds)
    return [
        Threshold(float(t), len(hits) - int(m), int(m), len(others) - int(r), int(r))
        for t, m, r in zip(thresholds, missed, rejected, strict=True)
    ]


def choose_threshold(scores: NDArray[np.floating], positive: NDArray[np.bool_], rule: Rule) -> Threshold | None:
    """The threshold a rule chooses on these tiles; None where the class, or everything else, is absent.

    Always one by which some tile is called the class, even where calling none would cost least: a finding that can
    never be made is no use. Of equally good ones the lowest, which misses least.

    Half-way between two probabilities that occur, so that rounding elsewhere moves no tile across it.
    """
    if positive.all() or not positive.any():
        return None
    values = np.unique(scores.astype(np.float64))
    table = threshold_table(scores, positive, ((values + np.r_[0.0, values[:-1]]) / 2).tolist())
    tiles, others = int(positive.sum()), int((~positive).sum())
    if rule.by == "recall":
        return max((row for row in table if row.found / tiles >= rule.target_recall), key=lambda row: row.threshold)
    if rule.by == "youden":
        return max(table, key=lambda row: row.found / tiles + row.rejected / others)
    return min(table, key=lambda row: rule.miss_cost * row.missed + row.false_alarms)


def choose_thresholds(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], classes: Sequence[str], rule: Rule
) -> dict[str, float]:
    """Class → threshold by `rule`, as a checkpoint holds them; classes for which none can be chosen are left out."""
    chosen = {name: choose_threshold(probabilities[:, i], labels == i, rule) for i, name in enumerate(classes)}
    return {name: row.threshold for name, row in chosen.items() if row is not None}
