"""The learning curve: points, the fitted law with its bands, and where it leads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from models.pilot.curve import FACTORS
from models.pilot.run import Curve, Pilot
from models.plots import BLUE, VERMILION, save

_MARKERS = ("o", "s", "^", "D", "v")


def plot_learning_curve(path: Path, pilot: Pilot) -> None:
    """A chart a reader: balanced error by training tiles, on a logarithmic axis, up to ten times what there is."""
    figure = Figure(figsize=(max(7.6, 6.2 * len(pilot.curves)), 5.4), layout="constrained")
    charts = figure.subplots(1, len(pilot.curves), squeeze=False, sharey=True)[0]
    for axes, curve in zip(charts, pilot.curves, strict=True):
        _draw(axes, curve)
        for colour, style in zip(pilot.colours, (":", (0, (5, 2, 1, 2))), strict=True):
            axes.axhline(colour.error, color="0.45", linestyle=style, linewidth=1, label=colour.name)
    top = max(pilot.curves[0].measured.chance, *(float(curve.measured.errors.max()) for curve in pilot.curves))
    charts[0].set_ylim(0, min(1.0, top * 1.08))
    charts[0].set_ylabel("balanced error (1 - mean recall of the classes)")
    handles, labels = max((axes.get_legend_handles_labels() for axes in charts), key=lambda pair: len(pair[1]))
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    save(figure, path)


def _draw(axes: Axes, curve: Curve) -> None:
    measured, outlook = curve.measured, curve.outlook
    sizes, last = measured.sizes, float(measured.sizes[-1])
    for seed, errors in enumerate(measured.errors.T):
        axes.plot(
            sizes,
            errors,
            _MARKERS[seed % len(_MARKERS)],
            color=BLUE,
            markersize=5,
            alpha=0.75,
            label=f"seed {seed + 1}",
        )
    if outlook.laws is not None:
        first = float(sizes[outlook.fitted][0])
        best = outlook.laws[0]
        ahead = np.geomspace(first, last * FACTORS[-1], 120)
        for share, alpha in ((0.95, 0.15), (0.80, 0.25)):
            low, high = outlook.band(ahead, share)
            axes.fill_between(
                ahead, low, high, color=VERMILION, alpha=alpha, linewidth=0, label=f"{share * 100:.0f} % band"
            )
        seen = np.geomspace(first, last, 60)
        axes.plot(seen, best.at(seen), color=VERMILION, linewidth=1.8, label="fitted law")
        beyond = np.geomspace(last, last * FACTORS[-1], 60)
        axes.plot(beyond, best.at(beyond), "--", color=VERMILION, linewidth=1.8, label="extrapolated")
    else:
        axes.plot(sizes, measured.mean, color=BLUE, linewidth=1, alpha=0.6, label="mean of the seeds")
    axes.axvline(last, color="0.75", linewidth=1)
    guessing = "guessing, or always the largest class"
    axes.axhline(measured.chance, color="black", linestyle="-", linewidth=1, label=guessing)
    axes.set_xscale("log")
    axes.set_xlim(sizes[0] * 0.8, last * FACTORS[-1] * 1.1 if outlook.laws is not None else last * 1.25)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("tiles trained on")
    axes.set_title(curve.name, fontsize=10)
    axes.grid(alpha=0.3)
