"""Tissue has no up or down: what a network says of a tile, as the mean over its eight orientations (D4).

A property of the model, as its temperature and thresholds are, which are fitted with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch

from models.network import Network

Tta = Literal["none", "d4"]


def oriented_logits(network: Network, inputs: torch.Tensor, tta: Tta) -> torch.Tensor:
    """(n, classes) float32: logits of (n, 3, size, size) tiles as they lie; with "d4" the mean over all orientations.

    Of logits, not of probabilities, so that one temperature calibrates the mean.
    """
    found = [network(turned).float() for turned in _orientations(inputs, tta)]
    return torch.stack(found).mean(dim=0) if len(found) > 1 else found[0]


def _orientations(inputs: torch.Tensor, tta: Tta) -> Iterator[torch.Tensor]:
    if tta == "none":
        yield inputs
        return
    # Turned tensors are strided otherwise; the network is fast in the layout that it was given.
    layout = torch.channels_last if inputs.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    for mirrored in (inputs, inputs.flip(3)):
        for quarters in range(4):
            yield torch.rot90(mirrored, quarters, dims=(2, 3)).contiguous(memory_format=layout)
