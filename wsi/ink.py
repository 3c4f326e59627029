"""Pen marks, told from stain by colour alone. Conservative: a doubtful pixel stays tissue."""

from __future__ import annotations

import cv2
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


def ink_mask(rgb: NDArray[np.uint8], mpp: float) -> NDArray[np.bool_]:
    """Pen strokes on a low-power picture at `mpp`: coherent areas of ink colour, grown over their soft edge.

    Single dark or odd pixels (pigment, nuclei) are no stroke and are left alone.
    """
    radius = max(1, round(20 / mpp))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    core = cv2.morphologyEx(ink_pixels(rgb).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    grown = cv2.dilate(core, kernel, iterations=2)
    return np.asarray(grown, bool)
