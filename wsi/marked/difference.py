"""What the copy has and the clean slide has not: colour compensated, and forgiving of edges that moved a little."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.ink.strokes import PENS, Mask, connected, opened
from wsi.stain import background_rgb, optical_density

Pixels = NDArray[np.uint8]
Density = NDArray[np.float32]

_BLACK, _BLUE, _GREEN, _RED = range(1, 5)
# Both pictures are smoothed by this, and a px of the copy may have any shade within this reach on the clean slide:
# recompression, and registration that is off by a px, make no ink.
_SMOOTH_PX, _REACH_PX = 1.0, 2
# Optical density that ink adds at least, to be sure and where it continues; and in units of what the pair differs by.
_SURE, _POSSIBLE, _SURE_NOISE, _POSSIBLE_NOISE = 0.15, 0.08, 8.0, 4.0
# Marks of fewer px are dust that fell on the slide between the scans.
_LEAST_MARK_PX = 60
# The copy's colours are fitted again without what they fitted badly: twice is enough.
_FITS, _FITTED_PX = 2, 200_000


def find_marks(clean: Pixels, copy: Pixels, seen: Mask) -> NDArray[np.uint8]:
    """(h, w) 0 where there is no mark, else 1 + index into PENS; of two RGB pictures (h, w, 3) that lie on each other.

    Ink takes light away: what is brighter on the copy, in all channels, is none. seen: (h, w) where the copy has px.
    """
    first, second = _smooth_density(clean), _smooth_density(copy)
    first = _in_colours_of(first, second, seen)
    kernel = np.ones((2 * _REACH_PX + 1, 2 * _REACH_PX + 1), np.uint8)
    added = second - np.asarray(cv2.dilate(first, kernel), np.float32)
    most = np.where(seen, added.max(axis=2), 0)
    noise = _noise(most[seen])
    sure = opened(most > max(_SURE, _SURE_NOISE * noise), 1)
    marks = connected(sure, most > max(_POSSIBLE, _POSSIBLE_NOISE * noise))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(marks.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= _LEAST_MARK_PX
    large[0] = False
    return np.where(large[labels], _pens(second - first), 0).astype(np.uint8)


def _smooth_density(rgb: Pixels) -> Density:
    density = optical_density(rgb, background_rgb(rgb))
    return np.asarray(cv2.GaussianBlur(density, (0, 0), _SMOOTH_PX), np.float32)


def _in_colours_of(first: Density, second: Density, seen: Mask) -> Density:
    """`first`, each channel a mix of all, as close to `second` as it gets where the two differ least."""
    step = max(1, int(seen.sum()) // _FITTED_PX)
    x = np.concatenate([first[seen][::step], np.ones((len(first[seen][::step]), 1), np.float32)], axis=1)
    y = second[seen][::step]
    used = np.ones(len(x), bool)
    for _ in range(_FITS):
        mix = np.linalg.lstsq(x[used], y[used], rcond=None)[0]
        off = np.abs(y - x @ mix).max(axis=1)
        used = off <= np.quantile(off, 0.7)
    mix = np.linalg.lstsq(x[used], y[used], rcond=None)[0]
    return np.asarray(first @ mix[:3] + mix[3], np.float32)


def _noise(values: NDArray[np.float32]) -> float:
    """Standard deviation of what is no ink, from the middle half of the values: ink lies outside of it."""
    low, high = np.quantile(values, (0.25, 0.75))
    return float(high - low) / 1.35


def _pens(added: Density) -> NDArray[np.uint8]:
    """1 + index into PENS by what ink takes from each channel; stain is taken off already, so the dye is plain."""
    red, green, blue = np.moveaxis(added, 2, 0)
    most = np.maximum(added.max(axis=2), 1e-6)
    even = (most - added.min(axis=2)) < 0.35 * most
    return np.select(
        [even, (green >= red) | (blue >= 1.3 * red), blue > 0.9 * green],
        [_BLACK, _RED, _GREEN],
        default=_BLUE,
    ).astype(np.uint8)


def pen_name(pens: NDArray[np.uint8]) -> str:
    """The pen of most of the marked px among (N,); black, where there is none."""
    return PENS[int(np.bincount(pens, minlength=len(PENS) + 1)[1:].argmax())]
