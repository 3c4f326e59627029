"""A checkpoint: weights as safetensors, and beside them everything they need to be used rightly, as JSON.

<folder>/model.safetensors   weights; no pickle, so that a file from a stranger cannot run code
<folder>/model.json          architecture, classes, tile specification, normalisation, stain, provenance, SHA-256 of the
                             weights, and the digest of what the model means (`models.description`)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.description import DESCRIPTION, FORMAT, WEIGHTS, altered_parts, read_description, refuse_altered, sealed
from models.naming import is_registered
from models.network import build, head_size, one_line, to_input
from models.orientations import Tta
from models.stain import Normaliser, normaliser_from_json
from models.tensors import save_tensors
from wsi.atomic import write_json
from wsi.digest import sha256_of
from wsi.errors import InputError, MismatchError
from wsi.geometry import MPP_TOLERANCE, TileGrid, TileSpec


@dataclass(frozen=True)
class Checkpoint:
    """What a model was trained on and how its inputs are made; the weights lie beside it.

    mean, std: (3,) RGB, of pixels scaled to 0..1. classes: in the order of the head's outputs.
    temperature: logits are divided by it before the softmax. thresholds: class → probability, None where unset.
    stain: what every tile goes through first, with its target; None where tiles keep their own stain.
    tta: the orientations of a tile whose mean logits temperature and thresholds were fitted to.
    weights_sha256, digest: of the weights' file, and of both together, see `models.description`; known once written.
    digest is None of models that were written before there were digests.
    """

    architecture: str
    classes: tuple[str, ...]
    tile: TileSpec
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    temperature: float = 1.0
    thresholds: dict[str, float] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    stain: Normaliser | None = None
    tta: Tta = "none"
    weights_sha256: str = field(default="", compare=False)
    digest: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes) or len(self.classes) < 2:
            raise InputError(f"a model needs two or more different classes, not {list(self.classes)}")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature is {self.temperature}; it must be a number above 0")
        if not all(math.isfinite(value) for value in self.mean) or not all(0 < value < math.inf for value in self.std):
            raise InputError(f"mean is {self.mean} and std is {self.std}; they must be numbers, std above 0")
        if self.tta not in get_args(Tta):
            raise InputError(f"tta is {self.tta!r}; it must be one of {', '.join(get_args(Tta))}")
        unknown = sorted(set(self.thresholds or ()) - set(self.classes))
        if unknown:
            raise InputError(f"thresholds name {unknown}, but the classes are {list(self.classes)}")
        if not all(0 <= value <= 1 for value in (self.thresholds or {}).values()):
            raise InputError(f"thresholds are {self.thresholds}; they must be probabilities, 0 to 1")

    def inputs(self, tiles: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
        """(n, 3, h, w) float32 on `device`: what the network takes for (n, h, w, 3) uint8 RGB tiles."""
        if self.stain is not None:
            tiles = np.stack([self.stain(tile) for tile in tiles])
        return to_input(torch.from_numpy(tiles).to(device), self.mean, self.std)

    def check_grid(self, grid: TileGrid, name: str) -> None:
        """Raise MismatchError where the tiles of slide `name` are not what the model was trained on."""
        own, other = self.tile, grid.spec
        if own.size_px != other.size_px or abs(other.mpp / own.mpp - 1) > MPP_TOLERANCE:
            raise MismatchError(
                f"{name}: the tiles are {other.size_px} px at {other.mpp:g} mpp, but the model was trained on "
                f"{own.size_px} px at {own.mpp:g} mpp; tile the slide with --size {own.size_px} "
                f"--mpp {own.mpp:g}, or use another model"
            )


@dataclass(frozen=True)
class Seal:
    """The digest that a model had (None: none), the one that it has now, and the keys of model.json that differ."""

    before: str | None
    now: str
    changed: tuple[str, ...]

    @property
    def text(self) -> str:
        """For a person."""
        if self.before is None:
            return f"had no digest, and has now {self.now}"
        if not self.changed:
            return f"nothing was altered, its digest stays {self.now}"
        return f"changed: {', '.join(self.changed)}; its digest was {self.before}, and is now {self.now}"


def save_checkpoint(folder: Path, checkpoint: Checkpoint, state_dict: Mapping[str, torch.Tensor]) -> Checkpoint:
    """Write `folder`/model.safetensors, then model.json; returns the checkpoint with both digests.

    A run killed between the two leaves a pair that `load_checkpoint` refuses by its hash. Raises InputError where the
    weights cannot be written.
    """
    save_tensors(folder / WEIGHTS, state_dict, {"format": "pt"})
    weights = sha256_of(folder / WEIGHTS)
    description = sealed({"format": FORMAT, **asdict(checkpoint), "weights_sha256": weights})
    write_json(folder / DESCRIPTION, description)
    return replace(checkpoint, weights_sha256=weights, digest=description["digest"])


def read_checkpoint(folder: Path) -> Checkpoint:
    """What model.json says, without the weights. Raises InputError where there is no valid one, or it was altered."""
    description = read_description(folder)
    checkpoint = _parsed(folder, description)
    refuse_altered(folder / DESCRIPTION, description)
    return checkpoint


def load_checkpoint(folder: Path) -> tuple[Checkpoint, torch.nn.Module]:
    """The checkpoint and its network, on the CPU, in eval mode.

    Raises InputError, in one line, where a file is missing, damaged or altered, or the two do not belong together.
    """
    description = read_description(folder)
    loaded = _load(folder, description)
    refuse_altered(folder / DESCRIPTION, description)
    return loaded


def seal_checkpoint(folder: Path) -> Seal:
    """Accept what model.json says now as a model of its own: write its digest anew, and into provenance what changed.

    Raises InputError for whatever `load_checkpoint` refuses, but for an altered model.json; and then writes nothing.
    """
    description = read_description(folder)
    _load(folder, description)
    if is_registered(folder):
        raise InputError(f"{folder}: a registered version never changes; seal a copy of it, and add that")
    before, changed = description.get("digest"), altered_parts(description)
    if before is None or changed:
        of_before = description["provenance"].get("sealed", [])
        entry = {"digest_before": before, "changed": list(changed)}
        description["provenance"] = {**description["provenance"], "sealed": [*of_before, entry]}
        description = sealed(description)
        write_json(folder / DESCRIPTION, description)
    return Seal(before, str(description["digest"]), changed)


def _load(folder: Path, description: dict[str, Any]) -> tuple[Checkpoint, torch.nn.Module]:
    """The two of a description whose digest is not looked at."""
    checkpoint = _parsed(folder, description)
    weights = _weights(folder, checkpoint.weights_sha256)
    try:
        network = build(checkpoint.architecture, len(checkpoint.classes), False, checkpoint.tile.size_px)
    except InputError as error:
        raise InputError(f"{folder / DESCRIPTION}: {error}") from error
    outputs = head_size(network, weights)
    if outputs is not None and outputs != len(checkpoint.classes):
        raise InputError(
            f"{folder}: the weights have {outputs} outputs, but {DESCRIPTION} names "
            f"{len(checkpoint.classes)} classes: {', '.join(checkpoint.classes)}"
        )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{folder / WEIGHTS}: not weights of {checkpoint.architecture} ({one_line(error)})") from error
    return checkpoint, network.eval()


def _weights(folder: Path, expected: str) -> dict[str, torch.Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{folder}: {DESCRIPTION} is there, but {WEIGHTS} is missing; copy both files")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a safetensors file ({one_line(error)}); copy or train it again") from error
    found = sha256_of(path)
    if found != expected:
        raise InputError(
            f"{path}: SHA-256 is {found[:12]}…, {DESCRIPTION} expects {expected[:12]}…; "
            "the two files are of different trainings, or one is damaged: copy both again"
        )
    return weights


def _parsed(folder: Path, description: dict[str, Any]) -> Checkpoint:
    path = folder / DESCRIPTION
    try:
        return _from_json(description)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]!r} is missing; copy the model again") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: not what `tesela train` writes ({one_line(error)})") from error


def _from_json(raw: dict[str, Any]) -> Checkpoint:
    known = {"format", "digest_parts", *Checkpoint.__dataclass_fields__}
    unknown = sorted(set(raw) - known)
    if unknown:
        raise InputError(f"unknown keys {unknown}; a newer Tesela may have written it")
    tile, thresholds, classes, digest = raw["tile"], raw["thresholds"], raw["classes"], raw.get("digest")
    if not isinstance(classes, list):
        raise TypeError(f"classes is {classes!r}, no list")  # a text would be taken letter by letter
    return Checkpoint(
        architecture=str(raw["architecture"]),
        classes=tuple(str(name) for name in classes),
        tile=TileSpec(int(tile["size_px"]), float(tile["mpp"]), int(tile["stride_px"])),
        mean=_triple(raw["mean"]),
        std=_triple(raw["std"]),
        temperature=float(raw["temperature"]),
        thresholds=None if thresholds is None else {str(k): float(v) for k, v in thresholds.items()},
        provenance=dict(raw["provenance"]),
        stain=normaliser_from_json(raw.get("stain")),
        tta=raw.get("tta", "none"),
        weights_sha256=str(raw["weights_sha256"]),
        digest=None if digest is None else str(digest),
    )


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
