"""Are a slide's reduced levels what level 0 shows? A few patches of each are held against the next finer level.

Files exist whose reduced levels are black, of another slide, shifted or mirrored: tissue found on such a level is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Level
from wsi.readers import Reader

Pixels = NDArray[np.uint8]
# Of a slide's width and height, 0 to 1.
Place = tuple[float, float]

# Patches are this wide on the coarser level, or less where more than so many px of the finer one would be decoded.
_PATCH_PX, _LARGEST_PX = 64, 1024
_PATCHES = 4
# A level up to here is looked at whole to find where something is, of a larger one a lattice of patches.
_WHOLE_PX, _LATTICE = 1 << 21, 8
# Standard deviation in grey levels below which a patch has nothing to be recognised by: glass has 1 to 3.
_CONTRAST = 6.0
# Writers halve by mean, by picking pixels or with sharpening, and differ in where a level's first pixel lies: over the
# real slides and pyramids measured patches lie within 1 px and correlate by 0.85 and more, those of wrong levels by
# 0.4 or less.
_SHIFT_PX, _FOUND_PX, _ALIKE, _BETTER = 2, 10, 0.5, 0.1
# Mean colour of a patch, in grey levels: lossy codecs and sharpening change it by 5 at most.
_COLOUR_OFF = 40.0


def unlike_the_finest(reader: Reader) -> tuple[int, ...]:
    """Numbers of the reduced levels that do not show what level 0 shows. Decodes a few native tiles of each level.

    Each is held against the next finer level that is right itself. Where patches lie is chosen on the coarsest level
    that is right: on a wrong one, places may look empty that are not. Raises SlideError where pixels cannot be decoded.
    """
    wrong: set[int] = set()
    count = len(reader.header.levels)
    for guide in reversed(range(1, count)):
        if guide in wrong:
            continue
        places = _places(reader, guide)
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
    """Where a level has most contrast: tissue's edges, nuclei, pen."""
    level = reader.header.levels[guide]
    found: list[tuple[float, Place]] = []
    for x, y, width, height in _looked_at(level):
        contrast = _local_contrast(_grey(reader.read_level(guide, x, y, width, height)))
        row, column = np.unravel_index(int(contrast.argmax()), contrast.shape)
        place = ((x + int(column) + 0.5) / level.width, (y + int(row) + 0.5) / level.height)
        found.append((float(contrast.max()), place))
    return [place for _, place in sorted(found, reverse=True)[:_PATCHES]]


def _looked_at(level: Level) -> Iterator[tuple[int, int, int, int]]:
    """(x, y, width, height) px of the fields of a lattice: side by side on a small level, patches of a large one."""
    small = level.width * level.height <= _WHOLE_PX
    width, height = -(-level.width // _LATTICE), -(-level.height // _LATTICE)
    for row, column in product(range(_LATTICE), range(_LATTICE)):
        x, y = column * width, row * height
        if small:
            field = x, y, min(width, level.width - x), min(height, level.height - y)
        else:
            field = x + (width - _PATCH_PX) // 2, y + (height - _PATCH_PX) // 2, _PATCH_PX, _PATCH_PX
        if min(field[2:]) > 0 and x + field[2] <= level.width and field[1] + field[3] <= level.height:
            yield field


def _local_contrast(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w) standard deviation around each pixel."""
    mean, square = cv2.blur(grey, (5, 5)), cv2.blur(grey * grey, (5, 5))
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0)), np.float32)


def _differs(reader: Reader, level: int, finer: int, places: Sequence[Place]) -> bool:
    """Whether a patch has another colour, or half of those with something in them show something else."""
    judged = []
    for place in places:
        fine, coarse = _patches(reader, level, finer, place)
        if np.abs(fine.mean(axis=(0, 1)) - coarse.mean(axis=(0, 1))).max() > _COLOUR_OFF:
            return True
        alike = _alike(_smoothed(fine), _smoothed(coarse))
        judged += [] if alike is None else [alike]
    return bool(judged) and judged.count(False) * 2 >= len(judged)


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
    if fine.std() < _CONTRAST and coarse.std() < 2 * _CONTRAST:
        return None
    margin = min(_FOUND_PX, len(coarse) // 4)
    inner = coarse[margin : len(coarse) - margin, margin : len(coarse) - margin]
    if inner.std() < 1:
        return False
    scores = cv2.matchTemplate(fine, inner, cv2.TM_CCOEFF_NORMED)
    near = slice(max(0, margin - _SHIFT_PX), margin + _SHIFT_PX + 1)
    best = float(scores[near, near].max())
    return best >= _ALIKE and best >= float(scores.max()) - _BETTER


def _smoothed(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(_grey(pixels), (0, 0), 1.0), np.float32)


def _grey(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)
