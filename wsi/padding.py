"""Black padding that programs put around a scan."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# Black padding that a program put around a scan is blacker than ink, reaches the edge, and is no small part of it.
_PADDING_LEVEL, _LEAST_PADDING = 8, 0.02


def without_padding(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) RGB with the black padding that some programs put around a scan made white, as outside of a slide."""
    black = (rgb.max(axis=2) <= _PADDING_LEVEL).astype(np.uint8)
    if black.mean() < _LEAST_PADDING:
        return rgb
    _, labels, stats, _ = cv2.connectedComponentsWithStats(black, connectivity=4)
    at_edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    wanted = np.zeros(len(stats), bool)
    wanted[at_edge] = stats[at_edge, cv2.CC_STAT_AREA] >= _LEAST_PADDING * black.size
    wanted[labels[black == 0]] = False
    # A px at its border is part black, part slide.
    padding = cv2.dilate(wanted[labels].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(padding[..., None], np.uint8(255), rgb)
