"""Networks by name, from timm, with a head of our size; and pixels turned into what they take."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from models.torch_setup import timm
from wsi.errors import InputError

_log = logging.getLogger(__name__)

# What timm calls the layer that gives a network its classes: that of a file may be called otherwise than ours.
_HEADS = ("classifier", "fc", "head", "head.fc", "head_dist")
# timm's modules carry dozens of attributes that no type describes.
Network = torch.nn.Module


def build(architecture: str, classes: int, pretrained: bool | Path = False, size_px: int | None = None) -> Network:
    """A timm network with `classes` outputs, on the CPU, in train mode.

    pretrained: True takes timm's own weights from its hub; a path, a safetensors file of a state dict of this
    architecture, tensor by tensor but for the head; False starts from random weights, and is the only way to get
    them. size_px: the side of the tiles, needed by networks built for one size. Raises InputError for a name timm
    does not know, weights that cannot be fetched, and files that do not fit.
    """
    name = architecture.split(".", 1)[0]
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see timm.list_models()"
        raise InputError(f"train.architecture: timm has no network {architecture!r}; {hint}")
    options = _size_options(name, size_px)
    if isinstance(pretrained, Path):
        return _from_file(architecture, classes, pretrained, options)
    if pretrained:
        return _from_hub(architecture, classes, options)
    return _create(architecture, classes, options, pretrained=False)


def normalisation(network: Network) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The (mean, std) a timm network was made for: RGB, of pixels scaled to 0..1."""
    config: Any = network.pretrained_cfg
    mean, std = ([float(value) for value in config[key]] for key in ("mean", "std"))
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])


def to_input(tiles: torch.Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> torch.Tensor:
    """(n, h, w, 3) uint8 RGB → (n, 3, h, w) float32, normalised, channels_last in memory, same device."""
    count, height, width, _ = tiles.shape
    # Per px, three numbers wide, both operations take eight times as long as per row of the tile (2 cores).
    scale = (torch.tensor(std, device=tiles.device) * 255).repeat(width)
    shift = (torch.tensor(mean, device=tiles.device) / torch.tensor(std, device=tiles.device)).repeat(width)
    rows = tiles.reshape(count, height, width * 3).float().div_(scale).sub_(shift)
    # (n, h, w, 3) seen as (n, 3, h, w) is channels_last already: no copy beyond the conversion to float.
    return rows.view(count, height, width, 3).permute(0, 3, 1, 2)


def head_size(network: Network, weights: Mapping[str, torch.Tensor]) -> int | None:
    """How many classes the head in `weights` has; None where they hold no head."""
    for name in heads_of(network):
        tensor = weights.get(f"{name}.weight")
        if tensor is not None:
            return int(tensor.shape[0])
    return None


def heads_of(network: Network) -> tuple[str, ...]:
    """Names of the modules that give a network its outputs."""
    config: Any = network.pretrained_cfg
    names = config.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _size_options(name: str, size_px: int | None) -> dict[str, Any]:
    config = timm.get_pretrained_cfg(name)
    fixed = config is not None and config.fixed_input_size
    return {"img_size": size_px} if fixed and size_px is not None else {}


def _create(architecture: str, classes: int, options: dict[str, Any], **more: Any) -> Network:
    try:
        network: Network = timm.create_model(architecture, num_classes=classes, **options, **more)
    except RuntimeError as error:  # an unknown tag behind the dot, or a size the network cannot take
        raise InputError(f"train.architecture: {architecture!r} cannot be built ({one_line(error)})") from error
    except (AssertionError, ValueError, TypeError) as error:
        raise InputError(
            f"train.architecture: {architecture!r} cannot be built with {options or 'these settings'} "
            f"({one_line(error)}); choose a convolutional network, or another tile.size_px"
        ) from error
    return network


def _from_hub(architecture: str, classes: int, options: dict[str, Any]) -> Network:
    config = timm.get_pretrained_cfg(architecture)
    remedy = (
        f"give a safetensors file of {architecture} in train.pretrained: path, "
        "or set train.pretrained: false to start from random weights"
    )
    if config is None or not (config.hf_hub_id or config.url):
        raise InputError(f"train.pretrained: timm has no weights for {architecture}; {remedy}")
    try:
        network: Network = timm.create_model(architecture, num_classes=classes, pretrained=True, **options)
    except Exception as error:  # every layer below (hub, HTTP, TLS, disk) has errors of its own
        raise InputError(
            f"train.pretrained: the weights of {architecture} could not be fetched from timm's hub "
            f"({type(error).__name__}: {one_line(error)}); {remedy}"
        ) from error
    return network


def _from_file(architecture: str, classes: int, path: Path, options: dict[str, Any]) -> Network:
    if not path.is_file():
        raise InputError(f"train.pretrained: {path}: no such file; give a safetensors file of {architecture}")
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"train.pretrained: {path}: not a safetensors file ({one_line(error)})") from error
    plain = _create(architecture, classes, options, pretrained=False)
    weights = _fitting(plain, weights, f"train.pretrained: {path}: not weights of {architecture}")
    found = head_size(plain, weights)
    if found != classes:
        _log.warning("%s: its head has %s outputs, %d are needed: a new head is trained", path, found, classes)
    # timm drops a head of another size and fits position embeddings to the tile size.
    overlay = {"state_dict": weights, "num_classes": found or -1, "label_offset": 0, "custom_load": False}
    try:
        network: Network = timm.create_model(
            architecture, num_classes=classes, pretrained=True, pretrained_cfg_overlay=overlay, **options
        )
    except RuntimeError as error:
        raise InputError(f"train.pretrained: {path}: not weights of {architecture} ({one_line(error)})") from error
    network.pretrained_cfg.pop("state_dict", None)  # type: ignore[union-attr,operator]  # frees the copy
    return network


def _fitting(network: Network, weights: Mapping[str, torch.Tensor], refusal: str) -> dict[str, torch.Tensor]:
    """`weights` without the heads that `network` has not.

    Raises InputError naming the tensors that are missing in them, and those that the network has no place for: timm
    loads what fits and logs the rest. Of a transformer without the scales of layers that its file has, embeddings had a
    cosine of 0.6 to the true ones. Heads may differ, and buffers that the network makes itself.
    """
    own, heads = network.state_dict(), heads_of(network)
    missing = [name for name in own if name not in weights and not name.startswith(tuple(f"{h}." for h in heads))]
    placed = {*own, *(name for name, _ in network.named_buffers())}
    other_heads = {f"{head}.{part}" for head in (*heads, *_HEADS) for part in ("weight", "bias")} - placed
    extra = [name for name in weights if name not in placed | other_heads]
    kinds = ((missing, len(own), "missing"), (extra, len(weights), "without a place in it"))
    if faults := [f"{len(names)} of {of} tensors are {how} ({_some(names)})" for names, of, how in kinds if names]:
        raise InputError(f"{refusal}: {'; '.join(faults)}")
    return {name: tensor for name, tensor in weights.items() if name not in other_heads}


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: NumPy, torch on a processor and torch on a GPU raise an error of their own each."""
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in said or "out of memory" in said)
    )


def one_line(error: BaseException) -> str:
    """The first 160 characters of an error, on one line."""
    return " ".join(str(error).split())[:160]
