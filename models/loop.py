"""The training loop: one Fit runs epochs on one device and keeps the best one's weights."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from models.loading import Batch, EpochSampler
from models.network import Network, to_input
from models.progress import EpochReport, Reporter
from models.torch_setup import ModelEmaV3
from wsi.errors import InputError

Triple = tuple[float, float, float]
_CLIP_NORM = 1.0
_FASTER = 1.1  # a lower precision must earn its place
_TRIAL_STEPS = 3


@dataclass(frozen=True)
class Schedule:
    """Numbers of the optimiser: AdamW under a cosine with linear warm-up."""

    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    label_smoothing: float
    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by at optimiser step `step`, from 0."""
        warmup = round(self.warmup_fraction * self.steps)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = (step - warmup) / max(1, self.steps - warmup)
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a network says of a loader's tiles: (n, classes) float32 logits, (n,) labels, mean loss."""

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    loss: float

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) index of the largest logit."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)


class Fit:
    """A network in training: optimiser, schedule, moving average of the weights.

    What is evaluated and kept is the moving average: steadier than the last step's weights, so that the best
    epoch is less a matter of luck.
    """

    def __init__(
        self,
        network: Network,
        fabric: Fabric,
        schedule: Schedule,
        mean: Triple,
        std: Triple,
        class_weights: Sequence[float] | None,
    ) -> None:
        self.fabric, self.schedule, self.mean, self.std = fabric, schedule, mean, std
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(_decayed(network, schedule.weight_decay), lr=schedule.learning_rate)
        self.network = network
        self.model, self.optimizer = fabric.setup(network, optimizer)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.factor)
        # The average spans about half an epoch: long against one batch, short against the training.
        decay = 1 - 2 / max(4, schedule.steps_per_epoch)
        self.average = ModelEmaV3(network, decay=decay, use_warmup=True)
        weight = torch.tensor(class_weights) if class_weights is not None else None
        self.loss = fabric.to_device(torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=schedule.label_smoothing))
        self.step = 0

    def train_epoch(self, loader: DataLoader[Batch], on_batch: Callable[[int, float], None]) -> float:
        """One pass over `loader`; the mean loss. Raises InputError where the loss is no number any more."""
        self.model.train()
        total, seen = 0.0, 0
        for tiles, labels in loader:
            tiles, labels = self.fabric.to_device((tiles, labels))
            loss = self.loss(self.model(to_input(tiles, self.mean, self.std)), labels)
            self.fabric.backward(loss)
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=_CLIP_NORM, error_if_nonfinite=False)
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.scheduler.step()
            self.step += 1
            self.average.update(self.network, self.step)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise InputError(
                    f"the loss became {value} at step {self.step} of {self.schedule.steps}; "
                    f"lower train.learning_rate ({self.schedule.learning_rate:g})"
                )
            total, seen = total + value * len(labels), seen + len(labels)
            on_batch(len(labels), value)
        return total / max(1, seen)

    @torch.inference_mode()
    def evaluate(self, loader: DataLoader[Batch], network: Network | None = None) -> Outcome:
        """What `network` (the averaged weights, where None is given) says of every tile of `loader`."""
        network = (self.average.module if network is None else network).eval()
        logits, truth = [], []
        for tiles, labels in loader:
            tiles = self.fabric.to_device(tiles)
            with self.fabric.autocast():
                logits.append(network(to_input(tiles, self.mean, self.std)).float().cpu())
            truth.append(labels)
        scores, labels = torch.cat(logits), torch.cat(truth)
        loss = float(torch.nn.functional.cross_entropy(scores, labels))
        return Outcome(scores.numpy(), labels.numpy(), loss)


@dataclass(frozen=True, eq=False)
class Best:
    """The epoch kept: its weights (on the CPU) and what it says of the validation tiles."""

    epoch: int
    weights: dict[str, torch.Tensor]
    val: Outcome
    rank: tuple[float, float]


def run(
    fit: Fit,
    train_loader: DataLoader[Batch],
    sampler: EpochSampler,
    val_loader: DataLoader[Batch],
    score: Callable[[Outcome], tuple[float, float]],
    reporter: Reporter,
) -> tuple[Best, list[EpochReport]]:
    """Train all epochs; keep the one with the best balanced accuracy on `val_loader`, of equals the lower loss.

    score: (accuracy, balanced accuracy) of an outcome.
    """
    best: Best | None = None
    history: list[EpochReport] = []
    for epoch in range(1, fit.schedule.epochs + 1):
        sampler.set_epoch(epoch)
        began = time.perf_counter()
        done = fit.step
        loss = fit.train_epoch(train_loader, lambda n, value, e=epoch: reporter.batch(e, n, value))  # type: ignore[misc]
        trained = time.perf_counter() - began
        val = fit.evaluate(val_loader)
        accuracy, balanced = score(val)
        rank = (balanced, -val.loss)
        better = best is None or rank > best.rank
        if better:
            weights = {k: v.detach().cpu().clone() for k, v in fit.average.module.state_dict().items()}
            best = Best(epoch, weights, val, rank)
        tiles = (fit.step - done) * (train_loader.batch_size or 1)
        report = EpochReport(
            epoch=epoch,
            epochs=fit.schedule.epochs,
            loss=loss,
            val_loss=val.loss,
            val_accuracy=accuracy,
            val_balanced_accuracy=balanced,
            learning_rate=float(fit.scheduler.get_last_lr()[0]),
            tiles_per_s=tiles / trained,
            seconds=time.perf_counter() - began,
            best=better,
        )
        history.append(report)
        reporter.epoch(report)
    if best is None:
        raise InputError(f"train.epochs is {fit.schedule.epochs}; give 1 or more")
    return best, history


def make_fabric(precision: str) -> Fabric:
    """Fabric on the best device of this machine. Raises InputError for a precision it has not."""
    if precision == "16-mixed" and not torch.cuda.is_available():
        raise InputError("train.precision is '16-mixed', which needs a GPU; set it to 'auto' or 'bf16-mixed'")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every precision it is given
    return Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]


def choose_precision(network: Network, batch_size: int, size_px: int) -> tuple[str, dict[str, float]]:
    """The precision whose training step is fastest here, and the tiles/s of each that was tried.

    Measured, because it depends: bfloat16 is several times faster where the processor has instructions for
    it, and slower where it has not. The network and the random state are left as they were.
    """
    device = make_fabric("32-true").device.type
    if device == "cuda":
        candidates = ["32-true", "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"]
    else:
        candidates = ["32-true", "bf16-mixed"] if device == "cpu" else ["32-true"]
    if len(candidates) == 1:
        return candidates[0], {}
    speeds = {name: _trial(network, name, batch_size, size_px) for name in candidates}
    plain, low = candidates
    return (low if speeds[low] > _FASTER * speeds[plain] else plain), speeds


def _trial(network: Network, precision: str, batch_size: int, size_px: int) -> float:
    """Tiles/s of forward and backward; the best of three steps, so that a busy moment does not decide."""
    fabric = make_fabric(precision)
    with torch.random.fork_rng():
        replica: Any = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model = fabric.setup(replica).train()
        tiles = torch.randint(0, 256, (batch_size, size_px, size_px, 3), dtype=torch.uint8)
        pixels = to_input(fabric.to_device(tiles), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        seconds = []
        for step in range(_TRIAL_STEPS + 1):
            began = time.perf_counter()
            fabric.backward(model(pixels).float().logsumexp(dim=1).mean())
            model.zero_grad()
            if fabric.device.type == "cuda":
                torch.cuda.synchronize()
            if step:  # the first one plans and allocates
                seconds.append(time.perf_counter() - began)
    return batch_size / min(seconds)


def _decayed(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only: biases and norm scales have no reason to be small."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
