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


def class_colours(classes: Sequence[str]) -> dict[str, RGB]:
    """A colour for each class of a model: named ones have their own, the others take turns by their order."""
    free = (_OTHERS[i % len(_OTHERS)] for i in range(len(classes)))
    return {name: _NAMED[name] if name in _NAMED else next(free) for name in classes}


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
