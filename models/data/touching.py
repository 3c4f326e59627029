"""Tiles that touch: where one ends the other goes on. Such tiles are of one slide, whatever their names say.

Public sets of tiles seldom name patients, but are often cut edge to edge, so that the last column of one tile and the
first of its neighbour show the same cells. How alike two borders are by chance is measured on the set itself: each
border is also held against others that are shifted by half their length, where no picture can go on.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

SAMPLES = 112  # of a border, whatever its length
_RIGHT, _LEFT, _BOTTOM, _TOP = range(4)
_SIDES = ((_RIGHT, _LEFT), (_BOTTOM, _TOP))
_FALSE = 0.02  # share of the pairs found that may be chance
_BLUR = 4.0  # samples; what is coarser than that many is alike in all tiles of one stain, and is left out
_LEAST_DETAIL = 2.0  # grey levels; a border with less, such as glass, is like no other
_MOST_STEP = 15.0  # grey levels between the mean colours of two borders
_VALUES_AT_ONCE = 16_000_000  # likenesses held at a time: 64 MB


def borders_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) RGB → (4, SAMPLES, 3): its right and left from top to bottom, its bottom and top from left to right."""
    sides = (pixels[:, -1], pixels[:, 0], pixels[-1], pixels[0])
    drawn = [cv2.resize(np.ascontiguousarray(side)[None], (SAMPLES, 1), interpolation=cv2.INTER_AREA) for side in sides]
    return np.concatenate(drawn).astype(np.uint8)


def find_touching(
    borders: NDArray[np.uint8], labels: NDArray[np.int64], progress: Callable[[float], None] = lambda _: None
) -> NDArray[np.int64]:
    """(k, 2) indices of tiles that touch, the left or upper one first; of 100 pairs, 2 at most should be chance.

    borders: (n, 4, SAMPLES, 3), see `borders_of`. labels: (n,) classes; tiles of two are not held against each other,
    since time goes with the square of their number. Two borders make a pair where each is the other's best. A mirrored
    copy touches what it is a copy of. Tiles that overlap are not found, and less than 50 pairs cannot be told from
    chance: there are none then. progress: told the share done.
    """
    pairs, likeness, chance = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    classes = np.unique(labels)
    for number, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        for one, other in _SIDES:
            first, second = borders[members, one], borders[members, other]
            found, alike = _mutual(first, second)
            pairs.append(members[found])
            likeness.append(alike)
            chance.append(_mutual(first, np.roll(second, SAMPLES // 2, axis=1))[1])
        progress((number + 1) / len(classes))
    every = np.concatenate(likeness)
    return np.concatenate(pairs)[every >= _least_likeness(every, np.concatenate(chance))]


def _least_likeness(found: NDArray[np.float32], chance: NDArray[np.float32]) -> float:
    """From which likeness on at most the share `_FALSE` is expected to be chance; infinite where there is no such.

    Counted against what cannot be true, one more than was seen (Elias and Gygi 2007, target-decoy search).
    """
    ordered = np.sort(found)[::-1]
    false = len(chance) - np.searchsorted(np.sort(chance), ordered, side="left")
    good = np.flatnonzero((false + 1) / np.arange(1, len(ordered) + 1) <= _FALSE)
    return float(ordered[good[-1]]) if len(good) else float("inf")


def _mutual(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(k, 2) tiles of which the first's border and the second's like each other best, and (k,) how much: above 0, to 1.

    first, second: (n, SAMPLES, 3). In blocks of rows, so that memory does not go with the square of the tiles.
    """
    count, rows, columns = len(first), _detail(first), _detail(second)
    of_first = np.zeros(count, np.int64)
    of_second, alike = np.zeros(count, np.int64), np.zeros(count, np.float32)
    step = max(1, _VALUES_AT_ONCE // count)
    for start in range(0, count, step):
        block = rows[start : start + step] @ columns.T
        here = np.arange(len(block))
        block[here, here + start] = 0  # a tile does not touch itself
        of_first[start : start + step] = block.argmax(axis=1)
        best = block.argmax(axis=0)
        values = block[best, np.arange(count)]
        better = values > alike
        of_second[better], alike[better] = best[better] + start, values[better]
    mutual = (of_first[of_second] == np.arange(count)) & (alike > 0)
    colours = first.mean(axis=1)[of_second] - second.mean(axis=1)
    places = np.flatnonzero(mutual & (np.abs(colours).max(axis=1) <= _MOST_STEP))
    return np.column_stack([of_second[places], places]), alike[places]


def _detail(borders: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, SAMPLES * 3) what is fine in each border, of unit length; shorter where there is little of it."""
    values = borders.astype(np.float32)
    detail = (values - gaussian_filter1d(values, _BLUR, axis=1)).reshape(len(values), -1)
    detail -= detail.mean(axis=1, keepdims=True)
    least = _LEAST_DETAIL * np.sqrt(detail.shape[1])
    return np.asarray(detail / np.maximum(np.linalg.norm(detail, axis=1, keepdims=True), least), np.float32)
