"""mixup (Zhang et al. 2018): tiles of a batch are blended in pairs, and their labels as much."""

from __future__ import annotations

from collections.abc import Callable

import torch

from models.torch_setup import Mixup

# Normalised tiles (n, 3, h, w) and labels (n,) → the same; or blended, with labels as shares (n, classes).
Mix = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def unmixed(inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both as they are."""
    return inputs, labels


def mixed(alpha: float, classes: int) -> Mix:
    """Draws the share of every batch from Beta(alpha, alpha), by NumPy's global generator; 0 mixes nothing.

    Batches must be even. Labels are not smoothed here: the loss does that.
    """
    if alpha == 0:
        return unmixed
    mix: Mix = Mixup(mixup_alpha=alpha, label_smoothing=0.0, num_classes=classes)  # type: ignore[no-untyped-call]
    return mix
