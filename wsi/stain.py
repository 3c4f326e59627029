"""Stain told from glass: the slide's background, optical density of colour, local contrast. All at low power."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Values = NDArray[np.float32]

# Grey levels added before taking a logarithm: near black, a level of noise would otherwise look like colour.
_OFFSET = 8.0
# Rows worked on at once: memory does not grow with the slide, but for the masks.
_BAND_ROWS = 512
# Glass is at least this bright and at most this coloured, in grey levels.
_GLASS_MIN, _GLASS_SPREAD = 150, 25
_LEAST_GLASS = 0.001


def background_rgb(rgb: Pixels) -> Pixels:
    """(3,) the most frequent bright, colourless shade of (h, w, 3); white where there is none."""
    glass = is_glass(rgb)
    if glass.mean() < _LEAST_GLASS:
        return np.full(3, 255, np.uint8)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    counts = np.bincount(grey[glass], minlength=256)
    # Three levels together: a background's noise spreads over several.
    mode = int(np.convolve(counts, np.ones(3), "same").argmax())
    near = glass & (cv2.absdiff(grey, np.full_like(grey, mode)) <= 2)
    return np.asarray(np.median(rgb[near], axis=0)).astype(np.uint8)


def is_glass(rgb: Pixels) -> NDArray[np.bool_]:
    """(h, w) px so bright and of so little colour that they may be glass."""
    darkest, spread = darkest_and_spread(rgb)
    return np.asarray((darkest > _GLASS_MIN) & (spread < _GLASS_SPREAD))


def darkest_and_spread(rgb: Pixels) -> tuple[Pixels, Pixels]:
    """Smallest channel, and largest minus smallest, each (h, w) uint8."""
    red, green, blue = cv2.split(rgb)
    low = cv2.min(cv2.min(red, green), blue)
    high = cv2.max(cv2.max(red, green), blue)
    return np.asarray(low, np.uint8), np.asarray(cv2.subtract(high, low), np.uint8)


def colour_density(rgb: Pixels, background: Pixels) -> Values:
    """(h, w) how coloured each pixel is: largest minus smallest optical density of its channels, 0 on glass.

    Optical density, -log10(I / background), by Beer and Lambert: grey absorbers (dust, shading, steps of a stitched
    background, coverslip lines, bubbles) cancel out, stains do not.
    """
    planes = [cv2.GaussianBlur(plane, (0, 0), 0.6) for plane in _densities(rgb, background)]
    high = cv2.max(cv2.max(planes[0], planes[1]), planes[2])
    low = cv2.min(cv2.min(planes[0], planes[1]), planes[2])
    return np.asarray(cv2.subtract(high, low), np.float32)


def optical_density(rgb: Pixels, background: Pixels, offset: float = _OFFSET) -> Values:
    """(h, w, 3) optical density, -log10(I / background), of each channel; at least 0, and about 1.5 for black.

    offset: grey levels added to both; with less, black is told better from dark, and noise counts for more.
    """
    return np.asarray(cv2.merge(_densities(rgb, background, offset)), np.float32)


def contrast(rgb: Pixels, px_um: float) -> tuple[Values, Values]:
    """Standard deviation of optical density in a window of 24 µm (3 px at least), each (h, w).

    Of luminance; and of colour (green against red or blue, the larger): near 0 where something grey makes it.
    """
    side = 2 * max(1, round(12 / px_um)) + 1
    table = _density_table(255.0)
    red, green, blue = (np.asarray(cv2.LUT(plane, table), np.float32) for plane in cv2.split(rgb))
    grey = np.asarray(cv2.LUT(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), table), np.float32)
    colour = cv2.max(_deviation(green - red, side), _deviation(green - blue, side))
    return _deviation(grey, side), np.asarray(colour, np.float32)


def by_bands(shape: tuple[int, ...], halo: int, work: Callable[[slice], NDArray[Any]]) -> Pixels:
    """(h, w) uint8 of `work` done on bands of rows: it is given a slice of rows, and returns (rows, w).

    `halo` rows are added above and below, for what looks around each px; their results are thrown away.
    """
    out = np.empty(shape[:2], np.uint8)
    for top in range(0, shape[0], _BAND_ROWS):
        first = max(0, top - halo)
        done = work(slice(first, min(shape[0], top + _BAND_ROWS + halo)))
        out[top : top + _BAND_ROWS] = done[top - first : top - first + _BAND_ROWS]
    return out


def _densities(rgb: Pixels, background: Pixels, offset: float = _OFFSET) -> list[Values]:
    """Each channel's (h, w) optical density."""
    return [
        np.asarray(cv2.LUT(plane, _density_table(float(white), offset)), np.float32)
        for plane, white in zip(cv2.split(rgb), background, strict=True)
    ]


def _density_table(white: float, offset: float = _OFFSET) -> Values:
    """(256,) optical density of each grey level against `white`, at least 0."""
    ratio = (np.arange(256) + offset) / (white + offset)
    return np.asarray(-np.log10(np.minimum(ratio, 1)), np.float32)


def _deviation(values: Values, side: int) -> Values:
    mean = cv2.blur(values, (side, side))
    variance = cv2.blur(values * values, (side, side)) - mean * mean
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float32)
