"""A figure: a ratio measured within one run, what it is compared with, and its bound."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`value` is compared with `bound`: at least it where `at_least`, else at most. `detail` is for people."""

    name: str
    value: float
    unit: str
    against: str
    bound: float
    at_least: bool = True
    detail: str = ""

    @property
    def holds(self) -> bool:
        """The bound is kept."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def paired_seconds(
    ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of each, taken in turns, so that a busy moment of the machine strikes both alike."""
    first, second = [], []
    for _ in range(repeats):
        first.append(_seconds(ours))
        second.append(_seconds(theirs))
    return first, second


def speed_ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of theirs ÷ ours over the pairs: above 1, ours is faster."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
