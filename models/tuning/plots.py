"""The pictures of a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from models.plots import BLUE, ORANGE, VERMILION, save, small_charts
from models.tuning.space import Choices, Range, Space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_SPREAD = 0.12  # sideways, of points of one choice


def plot_history(path: Path, trials: Sequence[FrozenTrial], figure_name: str) -> None:
    """The value of every trial in the order they ran, and the best so far."""
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes = figure.subplots()
    places = {name: [i for i, t in enumerate(trials, start=1) if t.state.name == name] for name in _MARKS}
    done = [_value(trials[i - 1]) for i in places["COMPLETE"]]
    axes.plot(places["COMPLETE"], done, **_MARKS["COMPLETE"])
    best = np.minimum.accumulate(done) if figure_name == "loss" else np.maximum.accumulate(done)
    axes.step([*places["COMPLETE"], len(trials)], [*best, best[-1]], where="post", color=BLUE, label="best so far")
    pruned = [_value(trials[i - 1]) for i in places["PRUNED"]]
    if pruned:
        axes.plot(places["PRUNED"], pruned, **_MARKS["PRUNED"])
    if places["FAIL"]:
        bottom = [0.02] * len(places["FAIL"])
        axes.plot(places["FAIL"], bottom, transform=axes.get_xaxis_transform(), **_MARKS["FAIL"])
    axes.set_xlabel("trial, in the order they ran")
    axes.set_ylabel(_label(figure_name))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    save(figure, path)


def plot_parameters(path: Path, trials: Sequence[FrozenTrial], space: Space, figure_name: str) -> None:
    """The value of every finished trial against each setting; the best one is marked."""
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    values = np.array([_value(trial) for trial in done])
    best = int(values.argmin() if figure_name == "loss" else values.argmax())
    figure, charts = small_charts(len(space))
    for axes, (name, one) in zip(charts, space.items(), strict=True):
        at = _places(axes, one, [trial.params[name] for trial in done])
        axes.plot(at, values, "o", color=BLUE, markersize=4, alpha=0.7, label="finished trial")
        axes.plot(at[best], values[best], "o", color=VERMILION, markersize=8, markerfacecolor="none", label="best")
        axes.set_title(name, fontsize=10)
        axes.set_ylabel(_label(figure_name), fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    handles, labels = charts[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=8)
    save(figure, path)


def _places(axes: Axes, one: Choices | Range, values: Sequence[Any]) -> NDArray[np.float64]:
    """Where trials lie along the horizontal axis; those of one choice side by side."""
    if isinstance(one, Range):
        axes.set_xlim(one.low, one.high)
        if one.log:
            axes.set_xscale("log")
        return np.array(values, np.float64)
    axes.set_xticks(range(len(one.values)), [str(value) for value in one.values])
    axes.set_xlim(-0.5, len(one.values) - 0.5)
    sideways = np.random.default_rng(0).uniform(-_SPREAD, _SPREAD, len(values))
    return np.array([one.values.index(value) for value in values]) + sideways


def _value(trial: FrozenTrial) -> float:
    return float("nan") if trial.value is None else float(trial.value)


def _label(figure_name: str) -> str:
    return "validation " + figure_name.replace("_", " ")


_MARKS: dict[str, dict[str, Any]] = {
    "COMPLETE": {"color": BLUE, "marker": "o", "linestyle": "", "markersize": 4, "label": "finished"},
    "PRUNED": {"color": ORANGE, "marker": "x", "linestyle": "", "label": "pruned, its last epoch"},
    "FAIL": {"color": VERMILION, "marker": "|", "linestyle": "", "markersize": 12, "label": "failed"},
}
