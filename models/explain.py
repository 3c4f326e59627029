"""Where in a tile the evidence for a class lies: Grad-CAM (Selvaraju et al., ICCV 2017), and pictures of it.

Our own, since timm's networks part into `forward_features` and `forward_head` and leave nothing for a library to do.
A map is as coarse as the network's last feature map: 4 × 4 for tiles of 128 px and a network of stride 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.network import Network
from models.plots import save
from wsi.errors import InputError

_ACROSS = 4  # pairs of pictures in a row of the gallery
_DARK = 0.2  # what is left of a pixel that speaks for nothing


def cam(network: Network, inputs: torch.Tensor, classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, h, w) in 0..1: what speaks for a class in each tile. 1 where most does; 0 everywhere where nothing does.

    inputs: (n, 3, h, w) as `to_input` makes them, on the network's device. classes: (n,) a class for each tile.
    Raises InputError for a network without feature maps (n, channels, rows, cols), such as a transformer.
    """
    parts: Any = network.eval()
    # Not the weights' gradients: those of the feature maps are all that is needed.
    with torch.no_grad():
        features = parts.forward_features(inputs)
    channels = getattr(parts, "num_features", None)
    if features.ndim != 4 or features.shape[1] != channels:
        raise InputError(
            f"no activation maps for {type(network).__name__}: its features are {tuple(features.shape)}, "
            f"not (tiles, {channels}, rows, cols); choose a convolutional network"
        )
    with torch.enable_grad():
        features = features.detach().requires_grad_()
        logits = parts.forward_head(features)
        chosen = logits.gather(1, torch.from_numpy(classes).to(logits.device)[:, None]).sum()
        (slopes,) = torch.autograd.grad(chosen, features)
    maps = torch.relu((slopes.mean(dim=(2, 3), keepdim=True) * features.detach()).sum(dim=1, keepdim=True))
    whole = torch.nn.functional.interpolate(maps.float(), inputs.shape[2:], mode="bilinear", align_corners=False)
    highest = whole.amax(dim=(1, 2, 3), keepdim=True)
    scaled = torch.where(highest > 0, whole / highest.clamp_min(torch.finfo(torch.float32).tiny), whole)
    return np.asarray(scaled[:, 0].cpu().numpy(), np.float32)


def overlay(tile: NDArray[np.uint8], heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(h, w, 3) RGB tile in the light of a (h, w) map in 0..1: dark where there is no evidence.

    Not a coat of colour, which would hide the tissue that the evidence is.
    """
    return np.asarray(np.rint(tile * (_DARK + (1 - _DARK) * heat[:, :, None])), np.uint8)


def confident_errors(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], count: int = 12
) -> NDArray[np.int64]:
    """Indices of at most `count` tiles that are called wrongly, the most probable mistakes first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return np.asarray(wrong[order][:count], np.int64)


@dataclass(frozen=True, eq=False)
class Example:
    """One picture of the gallery: an (h, w, 3) RGB tile, its map (None: none can be had), and what was said of it."""

    tile: NDArray[np.uint8]
    heat: NDArray[np.float32] | None
    truth: str
    called: str
    probability: float


def gallery(path: Path, examples: Sequence[Example]) -> None:
    """Write PNG: each tile, its map beside it, and above them what it is, what it was called and how surely."""
    shown = 2 if any(example.heat is not None for example in examples) else 1
    rows = -(-len(examples) // _ACROSS)
    figure = Figure(figsize=(1.55 * _ACROSS * shown, 2.0 * rows), layout="constrained")
    for place, cell in enumerate(np.ravel(figure.subfigures(rows, _ACROSS, squeeze=False))):
        if place >= len(examples):
            break
        example = examples[place]
        pictures = [example.tile] + ([overlay(example.tile, example.heat)] if example.heat is not None else [])
        for axes, picture in zip(cell.subplots(1, shown, squeeze=False)[0], pictures, strict=False):
            axes.imshow(picture)
            axes.set_axis_off()
        cell.suptitle(
            f"true: {example.truth}\ncalled: {example.called}, {example.probability:.2f}", fontsize=8, linespacing=1.2
        )
    save(figure, path)
