"""Ink told from stain by a pixel's colour alone, for tiles, which show no stroke. A doubtful pixel is not ink."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ink_pixels(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(h, w) bool: pixels of (h, w, 3) RGB whose colour H&E does not make: green, strong blue, red, black."""
    red, green, blue = (rgb[..., channel].astype(np.int16) for channel in range(3))
    greenish = (green > red + 20) & (green >= blue - 25) & (red < 170)
    # Hematoxylin keeps red above green; a blue pen has it well below both.
    bluish = (blue > red + 60) & (green > red + 10) & (red < 130)
    # Eosin keeps blue close to red; a red pen has little of it.
    reddish = (red > 130) & (red > blue + 90) & (red > green + 90)
    blackish = (np.maximum(np.maximum(red, green), blue) < 60) & (np.abs(red - blue) < 20)
    found: NDArray[np.bool_] = greenish | bluish | reddish | blackish
    return found
