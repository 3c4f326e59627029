"""How sharp tiles are: one number a tile, from how much of their structure is fine detail.

The density of stained tissue changes over short distances (edges of nuclei, fibres) and over longer ones. Blur takes
the short ones away and leaves the longer ones. So the mean squared difference between points 1 µm apart is compared
with that between points 4 µm apart: for sharp edges it grows in proportion to the distance, in blurred pictures with
its square. Neither the strength of the stain nor the size of the tile matters.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Fine and coarse distance: the optics of a scanner resolve the one, and nuclei and fibres are as wide as the other.
FINE_UM, COARSE_TO_FINE = 1.0, 4
# Below this a tile is out of focus. Measured on generated tiles and on 240 real ones (docs/quality.md), medians of each
# class: sharp 0.75 to 1.6, blurred by 1 µm (sigma) 0.1 to 0.55, by 1.5 µm 0.1 to 0.35.
OUT_OF_FOCUS = 0.4
# Every sixth line of px along either axis is enough: the number changes by less than 0.05 (0.14 in mucus) in 95 of
# 100 generated tiles of 128 px, and takes 15 µs instead of 90.
_LINE_STEP = 6
# Grey levels of sensor and JPEG noise, which is detail of its own and is taken off.
_NOISE = 1.0
# Mean squared difference of optical density, in the coarse distance, below which there is nothing to be sharp.
_LEAST_STRUCTURE = 1e-4
_DENSITY = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)


def focus(pixels: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
    """(N,) sharpness of (N, h, w, 3) RGB tiles at `mpp` µm/px: about 1 and more in focus, near 0 when blurred.

    2 minus the exponent with which squared differences of optical density (green) grow from 1 to 4 µm, at least 0.
    Above 1 mpp the distances are 1 and 4 px: numbers of such tiles compare with each other, not with finer ones.
    NaN where it cannot be told: too little structure (glass, some mucus, strongly blurred fat), or tiles of less
    than 8 µm (8 px above 1 mpp). It does not tell tissue from dust, nor fine pale texture from noise.
    """
    fine_px = max(1, round(FINE_UM / mpp))
    coarse_px = fine_px * COARSE_TO_FINE
    green = pixels[..., 1]
    if len(pixels) == 0 or min(green.shape[1:]) < 2 * coarse_px:
        return np.full(len(pixels), np.nan, np.float32)
    along_x = np.take(_DENSITY, green[:, ::_LINE_STEP])
    along_y = np.take(_DENSITY, green[:, :, ::_LINE_STEP].transpose(0, 2, 1))
    noise = _noise(along_x)
    detail = _difference(along_x, fine_px) + _difference(along_y, fine_px) - noise
    structure = _difference(along_x, coarse_px) + _difference(along_y, coarse_px) - noise
    told = structure > 2 * _LEAST_STRUCTURE
    ratio = np.maximum(detail, 1e-9) / np.where(told, structure, 1)
    sharpness = np.maximum(2 + np.log(ratio) / np.log(COARSE_TO_FINE), 0)
    return np.where(told, sharpness, np.nan).astype(np.float32)


def _difference(lines: NDArray[np.float32], distance_px: int) -> NDArray[np.float32]:
    """(N,) mean squared difference between values `distance_px` apart along the lines of (N, lines, px)."""
    steps = lines[:, :, distance_px:] - lines[:, :, :-distance_px]
    return np.asarray(np.einsum("nij,nij->n", steps, steps) / steps[0].size, np.float32)


def _noise(density: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N,) what noise of `_NOISE` grey levels adds to two mean squared differences at a tile's mean density."""
    grey = 256 * 10 ** -density.mean(axis=(1, 2))
    return np.asarray(4 * (_NOISE / np.log(10) / grey) ** 2, np.float32)
