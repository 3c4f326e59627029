"""The same colour for the same class, everywhere."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]

# The nine NCT-CRC classes, told apart on pink and purple tissue: greens, yellows and blues for what is not tumour.
_NAMED: dict[str, RGB] = {
    "ADI": (250, 200, 60),
    "BACK": (200, 200, 200),
    "DEB": (110, 80, 50),
    "LYM": (30, 60, 200),
    "MUC": (70, 190, 230),
    "MUS": (150, 90, 190),
    "NORM": (40, 160, 70),
    "STR": (240, 130, 60),
    "TUM": (215, 30, 40),
}
# Okabe and Ito's palette (2008), safe for colour vision deficiency; black left out, since it hides tissue.
_OTHERS: tuple[RGB, ...] = (
    (213, 94, 0),
    (0, 158, 115),
    (0, 114, 178),
    (240, 228, 66),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
)
# Lightness (0-100) of colours: darker ones hide tissue, brighter ones are glass.
_DARKEST, _BRIGHTEST = 25, 90


def class_colours(classes: Sequence[str]) -> dict[str, RGB]:
    """A colour for each class of a model, no two alike: named ones have their own, the others theirs by their order.

    From the eighth of these on it is the colour farthest from all before (CIELAB), on what is neither glass nor black.
    """
    return dict(_colours(tuple(classes)))


@functools.cache
def _colours(classes: tuple[str, ...]) -> dict[str, RGB]:
    found = {name: _NAMED[name] for name in classes if name in _NAMED}
    free = iter(_OTHERS)
    for name in classes:
        if name not in found:
            found[name] = next(free, None) or _farthest(tuple(found.values()))
    return {name: found[name] for name in classes}


def _farthest(taken: tuple[RGB, ...]) -> RGB:
    """Of 4,096 colours the one that differs most from the nearest of `taken`."""
    from skimage.color.colorconv import rgb2lab  # as slow to import, and few models have so many classes

    levels = np.arange(8, 256, 16)
    every = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    lab = rgb2lab(every / 255)
    painted = (lab[:, 0] > _DARKEST) & (lab[:, 0] < _BRIGHTEST)
    away = np.linalg.norm(lab[painted, None] - rgb2lab(np.array(taken) / 255)[None], axis=2).min(axis=1)
    red, green, blue = every[painted][away.argmax()].tolist()
    return red, green, blue


def hex_of(colour: RGB) -> str:
    """`#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


@functools.cache
def heat_colours() -> NDArray[np.uint8]:
    """(256, 3) RGB of probabilities 0, 1/255 … 1: cividis, even to the eye, also with a colour vision deficiency."""
    from matplotlib import colormaps  # takes a while to import, and many who need class colours do not need it

    table: NDArray[np.uint8] = np.rint(colormaps["cividis"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    table.setflags(write=False)
    return table


def heat_rgb(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(…, 3) RGB of (…) probabilities, on the fixed scale from 0 to 1."""
    rgb: NDArray[np.uint8] = heat_colours().take(np.rint(np.clip(probability, 0, 1) * 255).astype(np.intp), axis=0)
    return rgb
