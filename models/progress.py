"""What a person sees while a model trains: a bar on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@dataclass(frozen=True)
class EpochReport:
    """One epoch: mean training loss, figures on the validation tiles, training speed."""

    epoch: int
    epochs: int
    loss: float
    val_loss: float
    val_accuracy: float
    val_balanced_accuracy: float
    learning_rate: float
    tiles_per_s: float
    seconds: float
    best: bool

    def line(self) -> str:
        """The epoch in one line."""
        return (
            f"epoch {self.epoch}/{self.epochs}  loss {self.loss:.4f}  val loss {self.val_loss:.4f}  "
            f"val balanced accuracy {self.val_balanced_accuracy:.4f}  {self.tiles_per_s:.0f} tiles/s"
            f"{'  best' if self.best else ''}"
        )


class Stopped(Exception):  # noqa: N818  (no error: somebody decided)
    """Raised by a reporter that was told of an epoch: the training is not worth going on with."""


class Reporter(Protocol):
    """Told of every batch and every epoch; `stop` is called however the training ends."""

    def start(self, epochs: int, tiles_per_epoch: int) -> None:
        """Training begins."""

    def said(self, line: str) -> None:
        """What comes next, in a line."""

    def resumed(self, done: int, epochs: int) -> None:
        """A training that was stopped goes on: `done` of `epochs` are there already."""

    def batch(self, epoch: int, tiles: int, loss: float) -> None:
        """A batch of `tiles` was learned from; epochs count from 1."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch was trained and validated."""

    def warned(self, warnings: Sequence[str]) -> None:
        """What a person should know of the model before believing its figures."""

    def stop(self) -> None:
        """Training is over, or failed."""

    def finished(self, out: Path, provenance: Mapping[str, Any]) -> None:
        """The model is written to `out`, with all that belongs to it."""


class SilentReporter:
    """Says nothing."""

    def start(self, epochs: int, tiles_per_epoch: int) -> None:
        """Nothing."""

    def said(self, line: str) -> None:
        """Nothing."""

    def resumed(self, done: int, epochs: int) -> None:
        """Nothing."""

    def batch(self, epoch: int, tiles: int, loss: float) -> None:
        """Nothing."""

    def epoch(self, report: EpochReport) -> None:
        """Nothing."""

    def warned(self, warnings: Sequence[str]) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""

    def finished(self, out: Path, provenance: Mapping[str, Any]) -> None:
        """Nothing."""


class ConsoleReporter:
    """A Rich bar where stderr is a terminal; else plain lines that a log file can hold."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, markup=False, emoji=False)
        self._progress: Progress | None = None
        self._val = "-"
        self._epochs, self._tiles_per_epoch = 0, 0
        self._epoch_began = (0, 0.0)
        self._done_in_epoch = 0

    def start(self, epochs: int, tiles_per_epoch: int) -> None:
        """Show the bar, empty."""
        self._epochs, self._tiles_per_epoch = epochs, tiles_per_epoch
        if not self._console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=20),
            TextColumn("loss {task.fields[loss]}  val {task.fields[val]}  {task.fields[speed]} tiles/s"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._progress.add_task(
            "train", total=epochs * tiles_per_epoch, epoch=1, epochs=epochs, loss="-", val="-", speed="-"
        )
        self._progress.start()

    def resumed(self, done: int, epochs: int) -> None:
        """Say so, and move the bar to there."""
        self.said(f"going on after epoch {done}/{epochs}, where this training was stopped")
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], advance=done * self._tiles_per_epoch)

    def batch(self, epoch: int, tiles: int, loss: float) -> None:
        """Move the bar by `tiles`."""
        if self._progress is None:
            return
        now = time.perf_counter()
        if self._epoch_began[0] != epoch:
            self._epoch_began, self._done_in_epoch = (epoch, now), 0
        else:  # the first batch of an epoch only starts the clock
            self._done_in_epoch += tiles
        elapsed = now - self._epoch_began[1]
        speed = f"{self._done_in_epoch / elapsed:.0f}" if self._done_in_epoch else "-"
        task = self._progress.task_ids[0]
        self._progress.update(task, advance=tiles, epoch=epoch, loss=f"{loss:.3f}", val=self._val, speed=speed)

    def epoch(self, report: EpochReport) -> None:
        """Print the epoch's line, above the bar where there is one."""
        self._val = f"{report.val_balanced_accuracy:.3f}"
        self.said(report.line())

    def warned(self, warnings: Sequence[str]) -> None:
        """One line each."""
        for warning in warnings:
            self.said(f"warning: {warning}")

    def said(self, line: str) -> None:
        """Print it, above the bar where there is one."""
        if self._progress is not None:
            self._progress.console.print(line, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201  (a log line, not a leftover)

    def stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()

    def finished(self, out: Path, provenance: Mapping[str, Any]) -> None:
        """Say where the model is, and how it did."""
        figures = {"test": provenance["test"], "validation": provenance["val"]}
        classes = len(provenance["data"]["train_tiles"])
        told = [_worth(of, part, classes) for part, of in figures.items() if of]
        self.said(f"{out}: balanced accuracy {', '.join(told)}; kept epoch {provenance['best_epoch']}")


def _worth(figures: Mapping[str, Any], part: str, classes: int) -> str:
    present = figures.get("classes_present", classes)
    of_classes = "" if present == classes else f" of {present} of {classes} classes"
    return f"{figures['balanced_accuracy']:.4f} on {figures['tiles']} {part} tiles{of_classes}"
