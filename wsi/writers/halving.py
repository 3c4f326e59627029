"""Reduced levels while the rows pass: every level is the finer one halved by area. Memory is a band a level."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.readers import cache

# Columns of the finer level that one thread halves at a time.
_BLOCK_PX = 4096

# (level, top in level px, (rows, width, 3) RGB): takes a band, and is done with it when it returns.
Sink = Callable[[int, int, NDArray[np.uint8]], None]


def level_sizes(width: int, height: int, tile_px: int) -> list[tuple[int, int]]:
    """(width, height) of every level: halved, rounded down, until one tile holds it."""
    sizes = [(width, height)]
    while max(sizes[-1]) > tile_px and min(sizes[-1]) > 1:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def halve_down(bands: Iterable[NDArray[np.uint8]], sizes: Sequence[tuple[int, int]], band_px: int, sink: Sink) -> None:
    """Give `sink` every level in bands of `band_px` rows (even), from top to bottom; the last may be lower.

    bands: (rows, width, 3) uint8 of level 0, of any height. Raises ValueError where they are not `sizes[0]`.
    """
    levels = [_Level(width, height, band_px) for width, height in sizes]
    width, height = sizes[0]
    given = 0
    for rows in bands:
        if rows.dtype != np.uint8 or rows.shape[1:] != (width, 3):
            raise ValueError(f"a band of {rows.shape} {rows.dtype}; (rows, {width}, 3) uint8 is needed")
        given += len(rows)
        if given > height:
            break
        _pass_on(levels, rows, sink)
    if given != height:
        raise ValueError(f"{given} rows were given for a pyramid of {height}")


@dataclass
class _Level:
    """Rows of one level on their way to the sink: `held` of them, from row `top` on, wait in `band`."""

    width: int
    height: int
    band_px: int
    top: int = 0
    held: int = 0
    band: NDArray[np.uint8] | None = None

    @property
    def missing(self) -> int:
        """Rows that complete the current band."""
        return min(self.band_px, self.height - self.top) - self.held

    def room(self, count: int) -> NDArray[np.uint8]:
        """Where the next `count` rows go; filling it is up to the caller."""
        if self.band is None:
            self.band = np.empty((min(self.band_px, self.height), self.width, 3), np.uint8)
        self.held += count
        return self.band[self.held - count : self.held]


def _pass_on(levels: list[_Level], rows: NDArray[np.uint8], sink: Sink) -> None:
    """Add rows to level 0; a band that comes whole is used as it is, without a copy."""
    finest = levels[0]
    while len(rows):
        count = min(finest.missing, len(rows))
        if finest.held == 0 and count == finest.missing:
            _complete(levels, 0, rows[:count], sink)
        else:
            finest.room(count)[:] = rows[:count]
            if finest.missing == 0 and finest.band is not None:
                _complete(levels, 0, finest.band[: finest.held], sink)
        rows = rows[count:]


def _complete(levels: list[_Level], index: int, band: NDArray[np.uint8], sink: Sink) -> None:
    """A band goes to the sink and, halved, to the next level, which it may complete. An odd last row is dropped."""
    level = levels[index]
    below = levels[index + 1] if index + 1 < len(levels) and len(band) > 1 else None
    halved = [] if below is None else _halve(band, below.room(len(band) // 2))
    sink(index, level.top, band)
    for future in halved:
        future.result()
    level.top, level.held = level.top + len(band), 0
    if below is not None and below.missing == 0 and below.band is not None:
        _complete(levels, index + 1, below.band[: below.held], sink)


def _halve(band: NDArray[np.uint8], out: NDArray[np.uint8]) -> list[Future[None]]:
    """Fill `out` with the means of 2 × 2 px, in threads. An odd last column is dropped."""

    def block(left: int) -> None:
        width = min(_BLOCK_PX // 2, out.shape[1] - left)
        even = band[: len(out) * 2, left * 2 : (left + width) * 2]
        out[:, left : left + width] = cv2.resize(even, (width, len(out)), interpolation=cv2.INTER_AREA)

    return [cache.submit(block, left) for left in range(0, out.shape[1], _BLOCK_PX // 2)]
