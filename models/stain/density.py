"""Optical density of a tile, and which of its pixels are stained: what both ways of normalising measure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Values = NDArray[np.float32]

# Of each grey level, the natural optical density; from 1 to 256, so that black has one and white's is exactly 0.
_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
# What is paler, on the mean of the channels, tells no stain from glass: the threshold of Macenko et al.
_PALE = 0.15
# A pixel whose lightest channel is darker is pen, dirt or a fold; no stain absorbs all light.
_BLACK = 1.6
# H&E takes green out most. A blue or green pen takes out more red; a red pen, blood and grey nearly as much blue.
_MOST_RED, _MOST_BLUE = 1.0, 0.85
# Less of a tile, or less of what is not glass, and there is too little to measure.
_LEAST_OF_TILE, _LEAST_OF_DENSE = 0.05, 0.5
_MEASURED_PX = 4096


def density_of(tile: Pixels) -> Values:
    """(h, w, 3) natural optical density against white, 0 to 5.5."""
    return np.asarray(cv2.LUT(tile, _DENSITY), np.float32)


def tile_of(density: Values) -> Pixels:
    """The tile of an (h, w, 3) density; below 0 is white."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(256 * cv2.exp(-density) - 1, 0)), np.uint8)


def thinned(values: Values) -> Values:
    """Every second, third... row and column, so that about 4,096 px are left: enough to measure colours on."""
    step = max(1, round((values.shape[0] * values.shape[1] / _MEASURED_PX) ** 0.5))
    return values[::step, ::step]


def stained(density: Values) -> NDArray[np.bool_] | None:
    """(h, w) the pixels that H&E may have coloured; None where they are too few, or most of what is there is not."""
    red, green, blue = density[..., 0], density[..., 1], density[..., 2]
    dense = red + green + blue > 3 * _PALE
    found = dense & (red <= _MOST_RED * green) & (blue <= _MOST_BLUE * green) & (np.minimum(red, blue) < _BLACK)
    count = int(np.count_nonzero(found))
    if count < max(_LEAST_OF_TILE * found.size, _LEAST_OF_DENSE * np.count_nonzero(dense), 1):
        return None
    return np.asarray(found)
