"""The two pictures beside a model: how it learned, and what it confuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from models.progress import EpochReport
from wsi.atomic import writing


def plot_curve(path: Path, history: Sequence[EpochReport], best_epoch: int) -> None:
    """Losses and validation figures by epoch; a line marks the epoch that was kept."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, score = figure.subplots(1, 2)
    epochs = [entry.epoch for entry in history]
    loss.plot(epochs, [entry.loss for entry in history], "o-", markersize=3, label="training")
    loss.plot(epochs, [entry.val_loss for entry in history], "o-", markersize=3, label="validation")
    loss.set_ylabel("loss")
    score.plot(epochs, [e.val_balanced_accuracy for e in history], "o-", markersize=3, label="balanced accuracy")
    score.plot(epochs, [e.val_accuracy for e in history], "--", label="accuracy")
    score.set_ylabel("validation")
    score.set_ylim(0, 1)
    for axes in (loss, score):
        axes.axvline(best_epoch, color="0.6", linestyle="--", linewidth=1, label=f"kept: epoch {best_epoch}")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    _save(figure, path)


def plot_confusion(path: Path, confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> None:
    """Counts in each cell, shaded by the share of the true class (the row)."""
    counts = np.asarray(confusion, np.int64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.6 + 0.62 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)
    for (row, col), count in np.ndenumerate(counts):
        colour = "white" if share[row, col] > 0.5 else "black"
        axes.text(col, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)  # drawn without a display, whatever backend the machine prefers
    with writing(path) as temporary:
        figure.savefig(temporary, dpi=120)
