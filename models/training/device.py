"""The device that a model is trained on, and the precision that is fastest there."""

from __future__ import annotations

import copy
import logging
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from models.network import Network, to_input
from models.training.resume import load_state
from models.training.settings import TrainSettings
from wsi.errors import InputError

_FASTER = 1.1  # a lower precision must earn its place
_TRIAL_STEPS = 3


def make_fabric(precision: str) -> Fabric:
    """Fabric on the best device of this machine. Raises InputError for a precision it has not."""
    if precision == "16-mixed" and not torch.cuda.is_available():
        raise InputError("train.precision is '16-mixed', which needs a GPU; set it to 'auto' or 'bf16-mixed'")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every precision it is given
    return Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]


def precision_for(settings: TrainSettings, network: Network, folder: Path, key: str) -> tuple[str, dict[str, float]]:
    """The precision to train in, and the tiles/s of each that was tried: that of the state in `folder`, if there is."""
    if settings.precision != "auto":
        return settings.precision, {}
    state = load_state(folder, key)
    if state is not None:
        return str(state.facts["precision"]), {}
    return choose_precision(network, settings.batch_size, settings.tile.size_px)


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
