"""Are a slide's reduced levels what level 0 shows? A few patches of each are held against the next finer level.

Files exist whose reduced levels are black, of another slide, shifted or mirrored: tissue found there is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Level
from wsi.readers import Reader

Pixels = NDArray[np.uint8]
# Of a slide's width and height, 0 to 1.
Place = tuple[float, float]

# Patches are this wide on the coarser level, or less where more than so many px of the finer one would be decoded.
_PATCH_PX, _LARGEST_PX = 48, 1024
_PATCHES, _MOST_PATCHES = 4, 16
# A level up to here is looked at whole to find where something is, of a larger one a lattice of patches.
_WHOLE_PX, _LATTICE = 1 << 20, 6
_MIDDLE = (0.5, 0.5)
# Standard deviation in grey levels below which a patch has nothing to be recognised by: glass has 1 to 3.
_CONTRAST = 6.0
# Writers halve by mean, by picking pixels or with sharpening, and differ in where a level's first pixel lies: over the
# real slides and pyramids measured patches lie within 1 px and correlate by 0.85 and more, those of wrong levels by
# 0.4 or less. Noise that was halved by picking pixels correlates by less too, but nowhere else as much.
_SHIFT_PX, _FOUND_PX, _ALIKE, _BETTER = 2, 10, 0.5, 0.1
# Mean colour of a patch, in grey levels: lossy codecs and sharpening change it by 5 at most.
_COLOUR_OFF = 20.0


def unlike_the_finest(reader: Reader) -> tuple[int, ...]:
    """Numbers of the reduced levels that do not show what level 0 shows. Decodes a few native tiles of each level.

    Each is held against the next finer level that is right itself. Where patches lie is chosen on the coarsest level
    that is right: on a wrong one, places may look empty that are not. Raises SlideError where pixels cannot be decoded.
    """
    wrong: set[int] = set()
    count = len(reader.header.levels)
    for guide in reversed(range(count)):
        places = [] if guide in wrong or count == 1 else _places(reader, guide)
        if not places and (guide > 0 or count == 1):
            continue
        places = places or [_MIDDLE]  # of a blank slide the colour is left to compare
        for level in range(1, count):
            finer = max(number for number in range(level) if number not in wrong)
            if level not in wrong and _differs(reader, level, finer, places):
                wrong.add(level)
        if guide not in wrong:
            break
    return tuple(sorted(wrong))


def level_notes(levels: Sequence[Level], unused: Sequence[int]) -> tuple[str, ...]:
    """For people: which levels are not used. levels: all of the file."""
    sizes = {number: f"{levels[number].width} × {levels[number].height} px" for number in unused}
    return tuple(
        f"level {number} ({size}) does not show what level 0 shows: not used" for number, size in sizes.items()
    )


def _places(reader: Reader, guide: int) -> list[Place]:
    """Where a level shows much: an edge, and places within tissue, in different fields of a lattice. Empty: nowhere.

    An edge alone does not tell a round section from its mirror image.
    """
    level = reader.header.levels[guide]
    whole = level.width * level.height <= _WHOLE_PX
    contrasts = _local_contrast(reader.read_level(guide, 0, 0, level.width, level.height)) if whole else None
    fields: list[_Field] = []
    for x, y, width, height in _lattice(level):
        if contrasts is None:
            x, y = x + max(0, width - _PATCH_PX) // 2, y + max(0, height - _PATCH_PX) // 2
            pixels = reader.read_level(guide, x, y, min(width, _PATCH_PX), min(height, _PATCH_PX))
            fields.append(_Field.of(_local_contrast(pixels), x, y))
        else:
            fields.append(_Field.of(contrasts[y : y + height, x : x + width], x, y))
        if contrasts is None and sum(field.throughout >= _CONTRAST for field in fields) >= _PATCHES:
            break
    shown = [field for field in fields if field.most >= _CONTRAST]
    edges = sorted(shown, key=lambda field: -field.most)[:1]
    within = sorted((field for field in shown if field not in edges), key=lambda field: -field.throughout)
    return [((f.x + 0.5) / level.width, (f.y + 0.5) / level.height) for f in (edges + within)[:_MOST_PATCHES]]


class _Field(NamedTuple):
    """The largest local contrast of a field, what all but a fifth of it has, and (x, y) px of the former."""

    most: float
    throughout: float
    x: int
    y: int

    @classmethod
    def of(cls, contrast: NDArray[np.float32], left: int, top: int) -> _Field:
        row, column = np.unravel_index(int(contrast.argmax()), contrast.shape)
        most, throughout = float(contrast[row, column]), float(np.percentile(contrast, 20))
        return cls(most, throughout, left + int(column), top + int(row))


def _lattice(level: Level) -> list[tuple[int, int, int, int]]:
    """(x, y, width, height) px of the fields of a lattice over a level, from its middle outwards."""
    width, height = -(-level.width // _LATTICE), -(-level.height // _LATTICE)
    fields = [
        (x, y, min(width, level.width - x), min(height, level.height - y))
        for y, x in product(range(0, level.height, height), range(0, level.width, width))
    ]
    middle = level.width / 2, level.height / 2
    return sorted(fields, key=lambda f: abs(f[0] + f[2] / 2 - middle[0]) + abs(f[1] + f[3] / 2 - middle[1]))


def _local_contrast(pixels: Pixels) -> NDArray[np.float32]:
    """(h, w) standard deviation around each pixel, in grey levels."""
    grey = _grey(pixels)
    mean, square = cv2.blur(grey, (5, 5)), cv2.blur(grey * grey, (5, 5))
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)), np.float32)


def _differs(reader: Reader, level: int, finer: int, places: Sequence[Place]) -> bool:
    """Whether a patch has another colour, or a third of those with something in them show something else.

    A few patches do where all agree. The rim of a round section agrees with its mirror image, so one that does not is
    reason to look at all places.
    """
    judged: list[bool] = []
    for place in places:
        if len(judged) >= _PATCHES and all(judged):
            break
        fine, coarse = _patches(reader, level, finer, place)
        if np.abs(fine.mean(axis=(0, 1)) - coarse.mean(axis=(0, 1))).max() > _COLOUR_OFF:
            return True
        alike = _alike(_smoothed(fine), _smoothed(coarse))
        judged += [] if alike is None else [alike]
    return bool(judged) and judged.count(False) * 3 >= len(judged)


def _patches(reader: Reader, level: int, finer: int, place: Place) -> tuple[Pixels, Pixels]:
    """(n, n, 3) of the finer level, shrunk to the coarser one's px, and (n, n, 3) of that."""
    coarse, fine = reader.header.levels[level], reader.header.levels[finer]
    scale = coarse.downsample / fine.downsample
    side = max(1, min(_PATCH_PX, coarse.width, coarse.height, int(_LARGEST_PX / scale)))
    x, y = (
        min(max(0, round(at * extent - side / 2)), extent - side)
        for at, extent in zip(place, (coarse.width, coarse.height), strict=True)
    )
    left, top = min(round(x * scale), fine.width - 1), min(round(y * scale), fine.height - 1)
    width, height = min(round(side * scale), fine.width - left), min(round(side * scale), fine.height - top)
    pixels = reader.read_level(finer, left, top, width, height)
    shrunk = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.uint8), reader.read_level(level, x, y, side, side)


def _alike(fine: NDArray[np.float32], coarse: NDArray[np.float32]) -> bool | None:
    """Whether two patches show the same in the same place; None where there is nothing to recognise."""
    margin = min(_FOUND_PX, len(coarse) // 4)
    inside = slice(margin, len(coarse) - margin)
    inner = coarse[inside, inside]
    if fine[inside, inside].std() < _CONTRAST and inner.std() < 2 * _CONTRAST:
        return None
    if inner.std() < 1:
        return False
    scores = cv2.matchTemplate(fine, inner, cv2.TM_CCOEFF_NORMED)
    near = slice(max(0, margin - _SHIFT_PX), margin + _SHIFT_PX + 1)
    best = float(scores[near, near].max())
    scores[near, near] = -1
    elsewhere = float(scores.max())
    return best >= elsewhere + _BETTER or (best >= _ALIKE and best >= elsewhere - _BETTER)


def _smoothed(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(_grey(pixels), (0, 0), 1.0), np.float32)


def _grey(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)
