"""What a search may choose from: for each setting a list of choices, or a range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from models.training.settings import TrainSettings

if TYPE_CHECKING:
    from optuna import Trial

Value = str | int | float | bool | None
_NEAR = 0.05  # of a range: as near to its end is at its end


@dataclass(frozen=True)
class Choices:
    """One of these values, in no order."""

    values: tuple[Value, ...]

    def suggested(self, trial: Trial, name: str) -> Value:
        """The value of `trial`."""
        return trial.suggest_categorical(name, self.values)

    def holds(self, value: object) -> bool:
        """Whether `value` may be chosen."""
        return value in self.values

    def border(self, value: Any) -> str | None:
        """The end that `value` lies at, where the choices are numbers and there might be better ones beyond."""
        numbers = [one for one in self.values if isinstance(one, int | float) and not isinstance(one, bool)]
        if len(numbers) < 2 or len(numbers) < len(self.values):
            return None
        return _end(value == min(numbers), value == max(numbers), min(numbers))


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included; log: its logarithm is evenly spread; whole: an integer."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def suggested(self, trial: Trial, name: str) -> Value:
        """The value of `trial`."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def holds(self, value: object) -> bool:
        """Whether `value` may be chosen."""
        return isinstance(value, int | float) and self.low <= value <= self.high

    def border(self, value: Any) -> str | None:
        """The end that `value` lies at or near, where there might be better values beyond."""
        low, high, at = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        place = (at - low) / (high - low)
        return _end(place <= _NEAR, place >= 1 - _NEAR, self.low)


# By names of `TrainSettings`.
Space = Mapping[str, Choices | Range]


def plain(space: Space) -> dict[str, dict[str, Any]]:
    """The space as values that JSON holds."""
    listed = {name: asdict(one) for name, one in space.items()}
    return {name: {k: list(v) if isinstance(v, tuple) else v for k, v in one.items()} for name, one in listed.items()}


def default_space(settings: TrainSettings) -> dict[str, Choices | Range]:
    """Four settings that matter for any network, around those that are given."""
    smoothings = {0.0, 0.05, 0.1, settings.label_smoothing}
    return {
        "learning_rate": Range(settings.learning_rate / 10, settings.learning_rate * 10, log=True),
        "weight_decay": Range(0.005, 0.5, log=True),
        "label_smoothing": Choices(tuple(sorted(smoothings))),
        "augmentation": Choices(tuple(dict.fromkeys(("light", "strong", settings.augmentation)))),
    }


def suggested(trial: Trial, space: Space) -> dict[str, Any]:
    """The values of a trial, by name: as `TrainSettings` takes them."""
    return {name: one.suggested(trial, name) for name, one in space.items()}


def own_values(space: Space, settings: TrainSettings) -> dict[str, Value] | None:
    """What `settings` say of all that is searched; None where they lie outside of the space."""
    values = {name: getattr(settings, name) for name in space}
    return values if all(space[name].holds(value) for name, value in values.items()) else None


def _end(lowest: bool, highest: bool, low: float) -> str | None:
    """Nothing lies below 0: to be there is no sign that the space is too small."""
    if lowest and low != 0:
        return "lower"
    return "upper" if highest else None
