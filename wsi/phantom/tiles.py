"""Labelled tiles of one class, as in class-folder data sets."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.errors import InputError
from wsi.phantom.render import draw_grain
from wsi.phantom.spec import CLASSES, check_mpp
from wsi.phantom.stain import Stain
from wsi.phantom.textures import Swatch

_SIZE_RANGE_PX = (16, 512)
_MOST_SHEETS = 6
_STAINS_PER_SHEET = 3


def class_tiles(seed: int, name: str, count: int, size_px: int, mpp: float = 0.5) -> NDArray[np.uint8]:
    """(count, size_px, size_px, 3) uint8 RGB tiles of class `name` at `mpp` µm/px.

    Tiles come from several sheets of tissue in several stains, at random places, rotations and brightness.
    Raises InputError for an unknown class, a count below 1, or a size or mpp that cannot be drawn.
    """
    _check(name, count, size_px, mpp)
    rng = np.random.default_rng([seed, CLASSES.index(name), size_px])
    sheets = int(np.clip(count * size_px**2 / 1024**2, 1, _MOST_SHEETS))
    grain = draw_grain(rng)
    tiles = np.empty((count, size_px, size_px, 3), dtype=np.uint8)
    for number in range(sheets):
        # Slides draw their textures from small seeds, tile sets from large ones: else a slide's tiles could
        # be the very ones that a model was trained on.
        sheet = Swatch.drawn(name, int(rng.integers(2**32, 2**40)), mpp)
        for turn in range(_STAINS_PER_SHEET):
            colours = sheet.rgb(Stain.drawn(rng))
            for index in range(number * _STAINS_PER_SHEET + turn, count, sheets * _STAINS_PER_SHEET):
                tiles[index] = _cut(colours, size_px, grain, rng)
    return tiles


def _check(name: str, count: int, size_px: int, mpp: float) -> None:
    if name not in CLASSES:
        raise InputError(f"class {name!r} unknown; give any of {', '.join(CLASSES)}")
    if count < 1:
        raise InputError(f"count is {count}; give 1 or more")
    low, high = _SIZE_RANGE_PX
    if not low <= size_px <= high:
        raise InputError(f"size_px is {size_px}; give {low} to {high}")
    check_mpp(mpp)


def _cut(
    colours: NDArray[np.uint8], size_px: int, grain: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.uint8]:
    turn = rng.uniform(0, 2 * np.pi)
    x, y = rng.uniform(0, colours.shape[0], 2)
    flip = 1.0 if rng.random() < 0.5 else -1.0
    across = np.array([[np.cos(turn), -np.sin(turn), x], [flip * np.sin(turn), flip * np.cos(turn), y]])
    mode = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    tile = cv2.warpAffine(colours, across, (size_px, size_px), flags=mode, borderMode=cv2.BORDER_WRAP)
    white = rng.uniform(238, 249) + rng.normal(0, 1.2, 3)
    left, top = rng.integers(grain.shape[0] - size_px + 1, size=2)
    lit = tile * (np.minimum(white, 252) / 255) + grain[top : top + size_px, left : left + size_px]
    return np.asarray(np.clip(lit + 0.5, 0, 255).astype(np.uint8))
