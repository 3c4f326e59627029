"""Pictures of how a model learned, what it confuses, and how far its figures go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from models.progress import EpochReport
from wsi.atomic import writing
from wsi.fonts import fit_fonts, spelled

# Okabe and Ito's colours (2008), which colour-blind people tell apart, without the yellow that white paper swallows.
BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, BLACK = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#000000",
)
_LINES = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, BLACK)
_DASHES = ("-", "--", ":")
_ACROSS = 3  # small charts in a row


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
    save(figure, path)


def plot_confusion(path: Path, confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> None:
    """Count and share of the true class (the row) in each cell, shaded by the share."""
    counts, classes = np.asarray(confusion, np.int64), [spelled(name) for name in classes]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Names of more than a few letters get room of their own, in inches at 10 points: cells would shrink otherwise.
    side, names = 2.4 + 0.62 * len(classes), max(len(name) for name in classes)
    figure = Figure(figsize=(side + 0.8 + 0.07 * names, side + 0.05 * names), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)
    for (row, col), count in np.ndenumerate(counts):
        colour = "white" if share[row, col] > 0.5 else "black" if count else "0.6"
        text = f"{count}\n{100 * share[row, col]:.0f} %" if count else "0"
        axes.text(col, row, text, ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    save(figure, path)


def plot_tiles(path: Path, tiles: Sequence[NDArray[np.uint8]], names: Sequence[str], title: str) -> None:
    """Tiles side by side, eight in a row, each with its class."""
    columns = min(8, len(tiles))
    rows = -(-len(tiles) // columns)
    figure = Figure(figsize=(1.35 * columns, 1.55 * rows + 0.3), layout="constrained")
    for axes in np.ravel(figure.subplots(rows, columns, squeeze=False)):
        axes.set_axis_off()
    for axes, tile, name in zip(figure.axes, tiles, names, strict=False):
        axes.imshow(tile)
        axes.set_title(name, fontsize=8)
    figure.suptitle(title, fontsize=10)
    save(figure, path)


def small_charts(count: int, width: float = 3.4, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """A figure of `count` equal charts, three in a row."""
    columns = min(count, _ACROSS)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    charts: list[Axes] = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for unused in charts[count:]:
        unused.set_axis_off()
    return figure, charts[:count]


def line_style(place: int) -> dict[str, Any]:
    """Colour and dashes of the line of class number `place`: 21 that differ."""
    return {"color": _LINES[place % len(_LINES)], "linestyle": _DASHES[place // len(_LINES) % len(_DASHES)]}


def save(figure: Figure, path: Path) -> None:
    """Write as the ending of `path` says."""
    fit_fonts(figure)
    FigureCanvasAgg(figure)  # drawn without a display, whatever backend the machine prefers
    with writing(path) as temporary:
        figure.savefig(temporary, dpi=120)
