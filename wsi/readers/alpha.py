"""Transparent pixels over white, as glass shows them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) RGB of (h, w, 4) straight-alpha RGBA laid over white."""
    alpha = rgba[..., 3]
    if (alpha == 255).all():
        return np.ascontiguousarray(rgba[..., :3])
    weight = alpha[..., None].astype(np.uint16)
    mixed = rgba[..., :3] * weight + np.uint16(255) * (255 - weight)
    return ((mixed + 127) // 255).astype(np.uint8)
