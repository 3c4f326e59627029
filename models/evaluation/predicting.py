"""Logits of a checkpoint's network for tiles in memory or on their way."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.network import Network
from models.orientations import oriented_logits
from wsi.errors import InputError

_BATCH = 64


@torch.inference_mode()
def predict_tiles(network: Network, checkpoint: Checkpoint, tiles: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """(n, classes) float32 logits, before any temperature, in full precision, on the network's device.

    Of a tile's orientations, where the model was made so.

    tiles: (size_px, size_px, 3) uint8 RGB at the model's mpp. Raises InputError where there are none.
    """
    device = next(network.parameters()).device
    network.eval()
    found = []
    waiting = iter(tiles)
    while batch := list(islice(waiting, _BATCH)):
        inputs = checkpoint.inputs(np.stack(batch), device)
        found.append(oriented_logits(network, inputs, checkpoint.tta).cpu().numpy())
    if not found:
        raise InputError("no tiles to score; give a set that holds some")
    return np.concatenate(found)
