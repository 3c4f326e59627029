"""All epochs of a training: which one is kept, when it ends, and where it goes on after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.progress import EpochReport, Reporter
from models.torch_setup import seed_everything
from models.training.fit import Fit, Outcome
from models.training.freezing import freeze_all_but, trainable
from models.training.loaders import Loaders
from models.training.resume import State, load_state, save_state
from models.training.settings import TrainSettings
from wsi.errors import InputError

# Figures of an outcome by the names of `ChooseBy`.
Score = Callable[[Outcome], dict[str, float]]


@dataclass(frozen=True, eq=False)
class Best:
    """The epoch kept: its weights (on the CPU), what it says of the validation tiles, and its rank."""

    epoch: int
    weights: dict[str, torch.Tensor]
    val: Outcome
    rank: tuple[float, float]


class Training:
    """Epoch after epoch of a `Fit`."""

    def __init__(self, fit: Fit, settings: TrainSettings, loaders: Loaders, score: Score) -> None:
        self.fit, self.settings, self.loaders, self.score = fit, settings, loaders, score
        self.best: Best | None = None
        self.history: list[EpochReport] = []

    def run(self, reporter: Reporter, folder: Path, key: str, precision: str) -> tuple[Best, list[EpochReport]]:
        """Train all epochs that are left, and write the state to `folder` after each.

        key: of this training, see `resume`. Returns the best epoch, and every epoch's report.
        """
        self._go_on(folder, key)
        if self.history:
            reporter.resumed(len(self.history), self.settings.epochs)
        while not self._over():
            epoch = len(self.history) + 1
            report = self._epoch(epoch, reporter)
            self.history.append(report)
            if self.fit.fabric.is_global_zero:
                save_state(folder, key, self._state(precision))
            reporter.epoch(report)
        assert self.best is not None  # there is at least one epoch
        return self.best, self.history

    def _over(self) -> bool:
        done, patience = len(self.history), self.settings.patience
        waited = done - self.best.epoch if self.best is not None else 0
        return done >= self.settings.epochs or (patience is not None and waited >= patience)

    def _epoch(self, epoch: int, reporter: Reporter) -> EpochReport:
        settings, fit = self.settings, self.fit
        # Dropout and the like start anew in every epoch, so that a training that goes on sees the same numbers.
        seed_everything(int(np.random.SeedSequence(self._seeds(epoch)).generate_state(1)[0]))
        blocks = 0 if epoch <= settings.freeze_epochs else settings.train_blocks
        freeze_all_but(fit.network, trainable(fit.network, blocks))
        self.loaders.sampler.set_epoch(epoch)
        began, learning_rate = time.perf_counter(), fit.learning_rate
        world = fit.fabric.world_size
        loss = fit.train_epoch(self.loaders.train, lambda n, value: reporter.batch(epoch, n * world, value))
        trained = time.perf_counter() - began
        val = fit.validate(self.loaders.val)
        if not math.isfinite(val.loss):  # the last step of an epoch is not followed by a loss of its own
            raise InputError(
                f"the validation loss became {val.loss} in epoch {epoch}; "
                f"lower train.learning_rate ({settings.learning_rate:g})"
            )
        figures = self.score(val)
        rank = (-val.loss if settings.choose_by == "loss" else figures[settings.choose_by], -val.loss)
        better = self.best is None or rank > self.best.rank
        if better:
            self.best = Best(epoch, fit.averaged(), val, rank)
        return EpochReport(
            epoch=epoch,
            epochs=settings.epochs,
            loss=loss,
            val_loss=val.loss,
            val_accuracy=figures["accuracy"],
            val_balanced_accuracy=figures["balanced_accuracy"],
            learning_rate=learning_rate,
            tiles_per_s=self.loaders.epoch_tiles / trained,
            seconds=time.perf_counter() - began,
            best=better,
        )

    def _seeds(self, epoch: int) -> tuple[int, ...]:
        """Each process drops out other units."""
        process = self.fit.fabric.global_rank
        return (self.settings.seed, epoch) if process == 0 else (self.settings.seed, epoch, process)

    def _state(self, precision: str) -> State:
        best = self.best
        assert best is not None
        tensors = {**self.fit.state(), **{f"best.{name}": tensor for name, tensor in best.weights.items()}}
        tensors |= {"val.logits": torch.from_numpy(best.val.logits), "val.labels": torch.from_numpy(best.val.labels)}
        facts: dict[str, Any] = {"precision": precision, "best_epoch": best.epoch, "rank": best.rank}
        return State(len(self.history), tensors, {**facts, "history": [asdict(entry) for entry in self.history]})

    def _go_on(self, folder: Path, key: str) -> None:
        state = load_state(folder, key)
        if state is None:
            return
        self.fit.restore(state.tensors)
        self.history = [EpochReport(**entry) for entry in state.facts["history"]]
        weights = {name.removeprefix("best."): t for name, t in state.tensors.items() if name.startswith("best.")}
        val = Outcome.of(state.tensors["val.logits"], state.tensors["val.labels"])
        first, second = state.facts["rank"]
        self.best = Best(state.facts["best_epoch"], weights, val, (first, second))
