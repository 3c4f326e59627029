"""Tiles that touch: where one ends the other goes on. Such tiles are of one slide, whatever their names say.

Public sets of tiles seldom name patients, but are often cut edge to edge, so that the last column of one tile and the
first of its neighbour show the same cells. Two borders are a pair where each is the other's best, and by far: padding,
round masks or the blocks of a JPEG make a border like many others, and only what goes on is like one alone. How far is
far by chance is measured on the set itself, on sides that cannot go on in one another since they meet at a corner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

SAMPLES = 112  # of a border, whatever its length
_RIGHT, _LEFT, _BOTTOM, _TOP = range(4)
_SIDES = ((_RIGHT, _LEFT), (_BOTTOM, _TOP))
_CORNER = {_RIGHT: _TOP, _LEFT: _BOTTOM, _BOTTOM: _LEFT, _TOP: _RIGHT}
_FALSE = 0.05  # share of the pairs found that may be chance
_BLUR = 4.0  # samples; what is coarser than that many is alike in all tiles of one stain, and is left out
_LEAST_DETAIL = 2.0  # grey levels; a border with less, such as glass, is like no other
_LEAST_MARGIN = 0.1  # of likeness, best over second best; equal padding of many tiles reaches half of it
_MOST_STEP = 15.0  # grey levels between the mean colours of two borders
_VALUES_AT_ONCE = 16_000_000  # likenesses held at a time: 64 MB

Borders = NDArray[np.uint8]  # (n, 4, SAMPLES, 3), see `borders_of`
Seen = tuple[Borders, NDArray[np.int64]]  # and (n,) labels
Sides = tuple[int, int]
Progress = Callable[[float], None]


def borders_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) RGB → (4, SAMPLES, 3): its right and left from top to bottom, its bottom and top from left to right."""
    sides = (pixels[:, -1], pixels[:, 0], pixels[-1], pixels[0])
    drawn = [cv2.resize(np.ascontiguousarray(side)[None], (SAMPLES, 1), interpolation=cv2.INTER_AREA) for side in sides]
    return np.concatenate(drawn).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Tiles with borders that are each other's best. tiles: (k, 2) indices; margin: (k,) over the second best."""

    tiles: NDArray[np.int64]
    margin: NDArray[np.float32]

    def among(self, chosen: NDArray[np.bool_]) -> Pairs:
        """Those that are `chosen`, (k,)."""
        return Pairs(self.tiles[chosen], self.margin[chosen])


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs that may touch, and, to tell chance by, pairs of sides that cannot."""

    found: Pairs
    chance: Pairs

    def touching(self, chosen: Callable[[NDArray[np.int64]], NDArray[np.bool_]] | None = None) -> NDArray[np.int64]:
        """(k, 2) tiles that touch: of 100 pairs, 5 at most should be chance, so that less than 20 are none.

        chosen: (k, 2) pairs → (k,) which of them are asked about; chance is then told by such pairs alone, since what
        is rare may be chance altogether. One more is counted as chance than was seen (Elias and Gygi 2007,
        target-decoy search).
        """
        found, chance = self.found, self.chance
        if chosen is not None:
            found, chance = found.among(chosen(found.tiles)), chance.among(chosen(chance.tiles))
        order = np.argsort(-found.margin, kind="stable")
        false = len(chance.margin) - np.searchsorted(np.sort(chance.margin), found.margin[order], side="left")
        good = np.flatnonzero((false + 1) / np.arange(1, len(order) + 1) <= _FALSE)
        return found.tiles[order[: good[-1] + 1 if len(good) else 0]]


def touching_within(borders: Borders, labels: NDArray[np.int64], progress: Progress = lambda _: None) -> Candidates:
    """Candidates among the tiles of a set, the left or upper tile first.

    labels: (n,) classes; tiles of two are not held against each other, since time goes with the square of their number.
    A mirrored copy touches what it is a copy of; of tiles that are there twice no partner stands out, and none is
    found. progress: told the share done.
    """
    return _candidates((borders, labels), (borders, labels), _SIDES, progress, itself=True)


def touching_across(
    borders: Borders,
    labels: NDArray[np.int64],
    others: Borders,
    other_labels: NDArray[np.int64],
    progress: Progress = lambda _: None,
) -> Candidates:
    """Candidates of one tile of a set and one of another: indices into the first and into the second.

    labels: as of `touching_within`, numbered alike in both sets.
    """
    both_ways = (*_SIDES, *((other, one) for one, other in _SIDES))
    return _candidates((borders, labels), (others, other_labels), both_ways, progress, itself=False)


def _candidates(first: Seen, second: Seen, sides: Sequence[Sides], progress: Progress, *, itself: bool) -> Candidates:
    """itself: both are the same tiles."""
    found, chance = [_NONE], [_NONE]
    work = [(label, one, other) for label in np.unique(first[1]) for one, other in sides]
    for number, (label, one, other) in enumerate(work):
        members, partners = (np.flatnonzero(labels == label) for _, labels in (first, second))
        for kind, side in ((found, other), (chance, _CORNER[one])):
            best = _mutual(first[0][members, one], second[0][partners, side], itself=itself)
            kind.append(Pairs(np.column_stack([members[best.tiles[:, 0]], partners[best.tiles[:, 1]]]), best.margin))
        progress((number + 1) / len(work))
    return Candidates(_joined(found), _joined(chance))


_NONE = Pairs(np.empty((0, 2), np.int64), np.empty(0, np.float32))


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(np.concatenate([part.tiles for part in parts]), np.concatenate([part.margin for part in parts]))


def _mutual(first: NDArray[np.uint8], second: NDArray[np.uint8], *, itself: bool) -> Pairs:
    """Of (n, SAMPLES, 3) and (m, SAMPLES, 3) borders, those that like each other best.

    itself: both are of the same tiles, and a tile does not touch itself. In blocks of rows, so that memory does not go
    with n × m.
    """
    if not len(first) or not len(second):
        return _NONE
    rows, columns = _detail(first), _detail(second)
    of_rows, of_columns = _Best.of(len(rows)), _Best.of(len(columns))
    step = max(1, _VALUES_AT_ONCE // len(columns))
    for start in range(0, len(rows), step):
        block = rows[start : start + step] @ columns.T
        if itself:
            here = np.arange(len(block))
            block[here, here + start] = 0
        of_rows.see(slice(start, start + step), block, 0)
        of_columns.see(slice(None), block.T, start)
    mutual = of_rows.place[of_columns.place] == np.arange(len(columns))
    margin = of_columns.value - np.maximum(of_rows.second[of_columns.place], of_columns.second)
    apart = np.abs(first.mean(axis=1)[of_columns.place] - second.mean(axis=1)).max(axis=1)
    places = np.flatnonzero(mutual & (margin >= _LEAST_MARGIN) & (apart <= _MOST_STEP))
    return Pairs(np.column_stack([of_columns.place[places], places]), margin[places])


@dataclass(frozen=True, eq=False)
class _Best:
    """Of each border, which other is most like it, how much (above 0, to 1), and how much the second best is."""

    place: NDArray[np.int64]
    value: NDArray[np.float32]
    second: NDArray[np.float32]

    @classmethod
    def of(cls, count: int) -> _Best:
        """Of `count` borders that have seen no other yet."""
        return cls(np.zeros(count, np.int64), np.zeros(count, np.float32), np.zeros(count, np.float32))

    def see(self, own: slice, likeness: NDArray[np.float32], start: int) -> None:
        """likeness: (borders `own`, others from `start` on); left as it was."""
        here = np.arange(len(likeness))
        best = likeness.argmax(axis=1)
        value = likeness[here, best]
        likeness[here, best] = 0
        second = likeness.max(axis=1)
        likeness[here, best] = value
        better = value > self.value[own]
        self.second[own] = np.maximum(np.maximum(self.second[own], second), np.minimum(self.value[own], value))
        self.place[own] = np.where(better, best + start, self.place[own])
        self.value[own] = np.maximum(self.value[own], value)


def _detail(borders: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, SAMPLES * 3) what is fine in each border, of unit length; shorter where there is little of it."""
    values = borders.astype(np.float32)
    detail = (values - gaussian_filter1d(values, _BLUR, axis=1)).reshape(len(values), -1)
    detail -= detail.mean(axis=1, keepdims=True)
    least = _LEAST_DETAIL * np.sqrt(detail.shape[1])
    return np.asarray(detail / np.maximum(np.linalg.norm(detail, axis=1, keepdims=True), least), np.float32)
