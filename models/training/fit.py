"""A network in training: optimiser, schedule, moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import DataLoader

from models.loading import Batch
from models.network import Network, to_input
from models.orientations import Tta, oriented_logits
from models.torch_setup import ModelEmaV3, keep_activations
from models.training.freezing import train_mode
from models.training.mixing import Mix, unmixed
from wsi.errors import InputError

Triple = tuple[float, float, float]
_CLIP_NORM = 1.0


@dataclass(frozen=True)
class Schedule:
    """Numbers of the optimiser: AdamW under a cosine with linear warm-up.

    batches_per_epoch, accumulate: batches of an epoch, and how many of them make one optimiser step.
    """

    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    label_smoothing: float
    epochs: int
    batches_per_epoch: int
    accumulate: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; the last one may be of fewer batches."""
        return -(-self.batches_per_epoch // self.accumulate)

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

    @classmethod
    def of(cls, logits: torch.Tensor, labels: torch.Tensor) -> Outcome:
        """With the loss that these logits have; no class weighs more than another."""
        loss = float(torch.nn.functional.cross_entropy(logits, labels))
        return cls(logits.numpy(), labels.numpy(), loss)


class Fit:
    """A network in training.

    What is evaluated and kept is the moving average of the weights: steadier than the last step's, so that the best
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
        mix: Mix = unmixed,
    ) -> None:
        self.fabric, self.schedule, self.mean, self.std, self.mix = fabric, schedule, mean, std, mix
        keep_activations()
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(_decayed(network, schedule.weight_decay), lr=schedule.learning_rate)
        self.network = network
        self.model, self.optimizer = fabric.setup(network, optimizer)
        # The average spans about half an epoch: long against one batch, short against the training.
        decay = 1 - 2 / max(4, schedule.steps_per_epoch)
        self.average = ModelEmaV3(network, decay=decay, use_warmup=True)
        weight = torch.tensor(class_weights) if class_weights is not None else None
        self.loss = fabric.to_device(torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=schedule.label_smoothing))
        self.step = 0

    @property
    def alone(self) -> bool:
        """One process trains; else several, each on its share of every batch."""
        return int(self.fabric.world_size) == 1

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self.schedule.learning_rate * self.schedule.factor(self.step)

    def train_epoch(self, loader: DataLoader[Batch], on_batch: Callable[[int, float], None]) -> float:
        """One pass over `loader`; the mean loss. Raises InputError where the loss is no number any more."""
        train_mode(self.model)
        total, seen = 0.0, 0
        for number, (tiles, labels) in enumerate(loader, start=1):
            tiles, labels = self.fabric.to_device((tiles, labels))
            steps = number % self.schedule.accumulate == 0 or number == len(loader)
            with self.fabric.no_backward_sync(self.model, enabled=not steps):
                inputs, targets = self.mix(to_input(tiles, self.mean, self.std), labels)
                loss = self.loss(self.model(inputs), targets)
                self.fabric.backward(loss / self._batches_of_step(number))
            if steps:
                self._step()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise InputError(
                    f"the loss became {value} at step {self.step} of {self.schedule.steps}; "
                    f"lower train.learning_rate ({self.schedule.learning_rate:g})"
                )
            total, seen = total + value * len(labels), seen + len(labels)
            on_batch(len(labels), value)
        return total / max(1, seen)

    def _batches_of_step(self, number: int) -> int:
        """Of how many batches the step consists that batch `number` (from 1) is part of: the last may have fewer."""
        accumulate, batches = self.schedule.accumulate, self.schedule.batches_per_epoch
        left = batches % accumulate
        return left if left and number > batches - left else accumulate

    def _step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=_CLIP_NORM, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.average.update(self.network, self.step)

    def validate(self, loader: DataLoader[Batch]) -> Outcome:
        """What the averaged weights say of the tiles of `loader`; of several processes, each has its part of them."""
        if not self.alone:
            # Batch norm's running figures are of each process's own tiles; those of the first are kept.
            for buffer in self.average.module.buffers():
                distributed.broadcast(buffer, src=0)
        return self.of_all(self.evaluate(loader, self.average.module))

    def of_all(self, own: Outcome) -> Outcome:
        """What all processes found, each of its part of the tiles, in their order."""
        if self.alone:
            return own
        found: list[Any] = [None] * self.fabric.world_size
        distributed.all_gather_object(found, (own.logits, own.labels))
        logits, labels = (torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True))
        return Outcome.of(logits, labels)

    @torch.inference_mode()
    def evaluate(self, loader: DataLoader[Batch], network: Network, tta: Tta = "none") -> Outcome:
        """What `network` says of every tile of `loader`, as it lies or in all its orientations."""
        network = network.eval()
        logits, truth = [], []
        for tiles, labels in loader:
            tiles = self.fabric.to_device(tiles)
            with self.fabric.autocast():
                logits.append(oriented_logits(network, to_input(tiles, self.mean, self.std), tta).cpu())
            truth.append(labels)
        return Outcome.of(torch.cat(logits), torch.cat(truth))

    def averaged(self) -> dict[str, torch.Tensor]:
        """A copy of the averaged weights, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.average.module.state_dict().items()}

    def state(self) -> dict[str, torch.Tensor]:
        """All that the next step depends on, as tensors by name."""
        found = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        found |= {f"average.{name}": tensor for name, tensor in self.average.module.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
        return {**found, "step": torch.tensor(self.step)}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go back to a `state`."""
        self.network.load_state_dict(_under("network.", tensors))
        self.average.module.load_state_dict(_under("average.", tensors))
        moments: dict[int, dict[str, Any]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            number, _, part = name.partition(".")
            moments.setdefault(int(number), {})[part] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.step = int(tensors["step"])


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _decayed(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices and kernels only: biases and norm scales have no reason to be small."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
