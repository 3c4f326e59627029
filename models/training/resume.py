"""Going on after a kill: the state of a training, written whole after every epoch.

One safetensors file (no pickle): network, moving average, optimiser moments and the best weights so far as tensors,
and all else as JSON in its metadata. What is random starts anew from (seed, epoch) in every epoch, so that no state of
a random generator need be kept, and a training that was killed and went on ends as an unbroken one does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from models.tensors import save_tensors

FILE = "resume.safetensors"
_FORMAT = "tesela-resume/2"  # 1: a last batch that was not full was left out, so epochs had other steps


@dataclass(frozen=True, eq=False)
class State:
    """After `epoch` epochs: tensors by name, and what JSON holds."""

    epoch: int
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any]


def key_of(*parts: Any) -> str:
    """SHA-256 of what a training depends on: a state of another training must not be gone on with."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=asdict).encode()).hexdigest()


def save_state(folder: Path, key: str, state: State) -> None:
    """Write `folder`/resume.safetensors. Raises InputError where it cannot be."""
    facts = {"format": _FORMAT, "key": key, "epoch": state.epoch, **state.facts}
    save_tensors(folder / FILE, state.tensors, {"state": json.dumps(facts)})


def load_state(folder: Path, key: str) -> State | None:
    """The state in `folder`; None where there is none, or it is of another training or damaged."""
    try:
        with safe_open(folder / FILE, framework="pt") as opened:
            facts = json.loads((opened.metadata() or {}).get("state", "{}"))
            if (facts.get("format"), facts.get("key")) != (_FORMAT, key):
                return None
            return State(facts["epoch"], {name: opened.get_tensor(name) for name in opened.keys()}, facts)  # noqa: SIM118  (not a dict)
    except (FileNotFoundError, SafetensorError, ValueError):
        return None


def forget_state(folder: Path) -> None:
    """The training is over: take its state away."""
    (folder / FILE).unlink(missing_ok=True)
