"""The devices that a model is trained on, and the precision that is fastest there."""

from __future__ import annotations

import copy
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed

from models.network import Network, to_input
from models.training.resume import load_state
from models.training.settings import TrainSettings
from wsi.errors import InputError

_FASTER = 1.1  # a lower precision must earn its place
_TRIAL_STEPS = 3


@dataclass(frozen=True)
class Hardware:
    """devices: GPUs of a node (processes, where it has none) that share each batch; nodes: machines."""

    devices: int = 1
    nodes: int = 1

    @property
    def processes(self) -> int:
        """One a device."""
        return self.devices * self.nodes


ONE_DEVICE = Hardware()


def make_fabric(precision: str, hardware: Hardware = ONE_DEVICE, *, some_frozen: bool = False) -> Fabric:
    """Fabric on the best devices of this machine, several of them in step (DDP).

    some_frozen: weights that do not learn, now or later, which DDP has to be told of. Raises InputError for a
    precision or for devices that are not there.
    """
    if precision == "16-mixed" and not torch.cuda.is_available():
        raise InputError("train.precision is '16-mixed', which needs a GPU; set it to 'auto' or 'bf16-mixed'")
    found = torch.cuda.device_count()
    if 0 < found < hardware.devices:
        raise InputError(f"--devices is {hardware.devices}, but this machine has {found} GPUs")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every precision it is given
    strategy = "auto" if hardware == ONE_DEVICE else "ddp_find_unused_parameters_true" if some_frozen else "ddp"
    return Fabric(
        accelerator="auto",
        strategy=strategy,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        precision=precision,  # type: ignore[arg-type]
        plugins=_environment(hardware),
    )


def leave(fabric: Fabric) -> None:
    """Training is over: the processes need each other no more."""
    if fabric.world_size > 1:
        distributed.destroy_process_group()


def _environment(hardware: Hardware) -> ClusterEnvironment:
    """Who starts the processes: srun or torchrun, where they did so already, else this one.

    Said rather than left to be found out: a Slurm job of one task, such as a workflow's, would otherwise train on one
    of its GPUs only, and one of several tasks would be refused for a training on one device.
    """
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    if hardware == ONE_DEVICE:
        return LightningEnvironment()
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if tasks == hardware.processes:
        return SLURMEnvironment()
    if tasks > 1 or hardware.nodes > 1:
        raise InputError(
            f"--devices {hardware.devices} on --nodes {hardware.nodes} are {hardware.processes} processes, but Slurm "
            f"started {tasks}; start it with srun --nodes={hardware.nodes} --ntasks-per-node={hardware.devices}"
        )
    return LightningEnvironment()


def precision_for(
    settings: TrainSettings, network: Network, folder: Path, key: str, hardware: Hardware = ONE_DEVICE
) -> tuple[str, dict[str, float]]:
    """The precision to train in, and the tiles/s of each that was tried: that of the state in `folder`, if there is."""
    if settings.precision != "auto":
        return settings.precision, {}
    if hardware != ONE_DEVICE:
        return _known_precision(), {}  # no trial: each process might find another one the faster
    state = load_state(folder, key)
    if state is not None:
        return str(state.facts["precision"]), {}
    return choose_precision(network, settings.batch_size, settings.tile.size_px)


def _known_precision() -> str:
    """What GPUs are made for; full precision without one."""
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"


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
