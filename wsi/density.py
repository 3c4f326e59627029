"""How much light a slide takes away: optical density, -log10(I / background), by Beer and Lambert."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def background_rgb(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(3,) the most frequent bright, colourless shade; white where there is none."""
    bright = rgb[(rgb.min(axis=2) > 190) & (np.ptp(rgb, axis=2) < 25)]
    if len(bright) < 0.001 * rgb.shape[0] * rgb.shape[1]:
        return np.full(3, 255, np.uint8)
    level = bright.astype(np.int32).sum(axis=1) // 3
    mode = int(np.argmax(np.bincount(level)))
    return np.asarray(np.median(bright[np.abs(level - mode) <= 2], axis=0)).astype(np.uint8)


def optical_density(rgb: NDArray[np.uint8], background: NDArray[np.uint8], blur_px: float) -> NDArray[np.float32]:
    """(h, w, 3) optical density of each channel, at least 0; smoothed by a Gaussian of `blur_px`."""
    ratio = (rgb.astype(np.float32) + 1) / (background.astype(np.float32) + 1)
    density = -np.log10(np.minimum(ratio, 1.0))
    return np.asarray(cv2.GaussianBlur(density, (0, 0), blur_px), np.float32)


def stain_density(rgb: NDArray[np.uint8], background: NDArray[np.uint8], blur_px: float) -> NDArray[np.float32]:
    """(h, w) how coloured each pixel is: largest minus smallest optical density over the three channels.

    Grey absorbers cancel out, stains do not.
    """
    smooth = optical_density(rgb, background, blur_px)
    return np.asarray(smooth.max(axis=2) - smooth.min(axis=2), np.float32)
