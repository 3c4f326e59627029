"""The pictures of an evaluation: curves, reliability, thresholds, robustness."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from models.evaluation.scored import Scored
from models.plots import BLUE, SKY, VERMILION, line_style, plot_confusion, save, small_charts
from models.present import present_of

_DASHES = {"recall": "-.", "youden": ":", "cost": "--"}


def plot_all(folder: Path, scored: Scored, found: dict[str, Any]) -> dict[str, Path]:
    """Write what `found`, of `evaluate`, allows to draw; name → PNG, in the order to show them."""
    paths = {name: folder / f"{name}.png" for name in ("confusion", "roc", "precision_recall", "reliability")}
    title = f"{len(scored)} tiles, balanced accuracy {found['balanced_accuracy']:.3f}{present_of(found)}"
    plot_confusion(paths["confusion"], found["confusion"], scored.classes, title)
    plot_roc(paths["roc"], scored, found)
    plot_precision_recall(paths["precision_recall"], scored, found)
    plot_reliability(paths["reliability"], found["calibration"])
    paths["thresholds"] = folder / "thresholds.png"
    plot_thresholds(paths["thresholds"], found["thresholds"])
    if found["robustness"]:
        paths["robustness"] = folder / "robustness.png"
        plot_robustness(paths["robustness"], found)
    return paths


def plot_roc(path: Path, scored: Scored, found: dict[str, Any]) -> None:
    """Each class against the rest: share found by share of the rest falsely called it."""
    probabilities = scored.probabilities(found["calibration"]["temperature"])
    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="guessing")
    for i, name in enumerate(scored.classes):
        area = found["per_class"][name]["auc"]
        if area is not None:
            false, true, _ = roc_curve(scored.labels == i, probabilities[:, i])
            axes.plot(false, true, linewidth=1.6, label=_legend(name, area), **line_style(i))
    axes.set_xlabel("false positives, share of the rest")
    axes.set_ylabel("recall")
    figure.suptitle("ROC, each class against the rest", fontsize=10)
    figure.legend(fontsize=8, title="area under the curve", title_fontsize=8, loc="outside right upper")
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    save(figure, path)


def plot_precision_recall(path: Path, scored: Scored, found: dict[str, Any]) -> None:
    """Each class against the rest: how pure what is called it is, by share of it found."""
    probabilities = scored.probabilities(found["calibration"]["temperature"])
    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    axes = figure.subplots()
    for i, name in enumerate(scored.classes):
        area = found["per_class"][name]["average_precision"]
        if area is not None:
            precision, recall, _ = precision_recall_curve(scored.labels == i, probabilities[:, i])
            axes.plot(
                recall, precision, linewidth=1.6, drawstyle="steps-post", label=_legend(name, area), **line_style(i)
            )
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    figure.suptitle("Precision and recall, each class against the rest", fontsize=10)
    if axes.lines:  # else all tiles are of one class
        figure.legend(fontsize=8, title="average precision", title_fontsize=8, loc="outside right upper")
    axes.grid(alpha=0.3)
    save(figure, path)


def _legend(name: str, area: float) -> str:
    """In lines: a long name would leave the curve no room."""
    return fill(f"{name}: {area:.3f}", 24)


def plot_reliability(path: Path, calibration: dict[str, Any]) -> None:
    """How often tiles called with a probability were called rightly, before and after temperature scaling."""
    titles = {"before": "before temperature scaling", "after": f"after, temperature {calibration['temperature']:.2f}"}
    if calibration["temperature"] == 1:
        titles = {"before": "no temperature was fitted"}
    figure, charts = small_charts(len(titles), width=4.2, height=4.0)
    for axes, (key, title) in zip(charts, titles.items(), strict=True):
        bins = calibration[key]
        width = 1 / len(bins["count"])
        filled = [i for i, count in enumerate(bins["count"]) if count]
        left = np.array([i * width for i in filled])
        axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1, label="perfect")
        right = [bins["accuracy"][i] for i in filled]
        axes.bar(left, right, width, align="edge", color=SKY, edgecolor=BLUE, label="these tiles")
        for x, y, i in zip(left, right, filled, strict=True):
            axes.text(x + width / 2, min(y + 0.015, 0.96), str(bins["count"][i]), ha="center", fontsize=6, color="0.3")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_xlabel("probability of the class called")
        axes.set_title(f"{title}\nECE {calibration['ece_' + key]:.3f}", fontsize=9)
    charts[0].set_ylabel("share called rightly (small numbers: tiles)")
    charts[0].legend(fontsize=7, loc="upper left")
    save(figure, path)


def plot_thresholds(path: Path, thresholds: dict[str, Any]) -> None:
    """For each class, tiles missed and tiles falsely called it, by threshold; and where each rule would put it."""
    figure, charts = small_charts(len(thresholds))
    for axes, (name, entry) in zip(charts, thresholds.items(), strict=True):
        at = [row["threshold"] for row in entry["table"]]
        axes.plot(at, [row["missed"] for row in entry["table"]], "o-", color=VERMILION, markersize=3, label="missed")
        falsely = [row["false_alarms"] for row in entry["table"]]
        axes.plot(at, falsely, "s--", color=BLUE, markersize=3, label="false alarms")
        for row in entry["chosen_here"]:
            axes.axvline(row["threshold"], color="0.35", linestyle=_DASHES[row["by"]], linewidth=1, label=row["rule"])
        axes.set_title(name, fontsize=10)
        axes.set_xlim(0, 1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("called from this probability on", fontsize=8)
        axes.set_ylabel("tiles", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.3)
    # An absent class has no thresholds to explain.
    handles, labels = max((axes.get_legend_handles_labels() for axes in charts), key=lambda pair: len(pair[1]))
    figure.legend(handles, labels, loc="outside upper center", ncols=2, fontsize=8)
    save(figure, path)


def plot_robustness(path: Path, found: dict[str, Any]) -> None:
    """Balanced accuracy under each change of the pictures, beside that of the pictures as they are."""
    changes = found["robustness"][::-1]
    figure = Figure(figsize=(7, 1.4 + 0.42 * len(changes)), layout="constrained")
    axes = figure.subplots()
    values = [entry["balanced_accuracy"] for entry in changes]
    plain = [entry["balanced_accuracy"] + entry["drop"] for entry in changes]
    axes.barh(range(len(changes)), values, color=BLUE, height=0.62)
    axes.axvline(plain[0], color=VERMILION, linestyle="--", linewidth=1.5)
    axes.set_title(f"dashed: the pictures as they are, {plain[0]:.3f}; whiskers: 95 % of the change", fontsize=9)
    for place, entry in enumerate(changes):
        if entry["drop_interval"]:
            ends = [plain[place] - limit for limit in entry["drop_interval"]]
            axes.plot(ends, [place, place], "|-", color="black", linewidth=1, markersize=6)
        axes.text(
            0.01,
            place,
            f"{values[place]:.3f}  ({0 - round(entry['drop'], 3):+.3f})",
            va="center",
            fontsize=8,
            color="white",
        )
    axes.set_yticks(range(len(changes)), [entry["name"] for entry in changes], fontsize=9)
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"balanced accuracy of {changes[0]['tiles']} tiles")
    save(figure, path)
