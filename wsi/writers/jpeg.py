"""How finely a JPEG was quantised, so that what is encoded beside it is no coarser."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import imagecodecs
import numpy as np

_EOI, _DQT, _SOS = 0xD9, 0xDB, 0xDA


def quality_of(*streams: bytes) -> int | None:
    """The lowest libjpeg quality (1 to 100) that quantises brightness as finely on the whole; None without a table.

    Nearly every program scales libjpeg's tables, and then it is the very quality that was chosen. streams: a JPEG, and
    before it the tables that a TIFF may keep apart from its tiles.
    """
    steps = [mean for stream in streams for mean in _brightness_steps(stream)]
    if not steps:
        return None
    return next((quality for quality in range(1, 100) if _steps_at(quality) <= steps[-1]), 100)


@functools.cache
def _steps_at(quality: int) -> float:
    """Mean step of brightness that libjpeg takes at a quality."""
    grey = np.zeros((8, 8), np.uint8)
    return next(_brightness_steps(bytes(imagecodecs.jpeg8_encode(grey, level=quality))))


def _brightness_steps(stream: bytes) -> Iterator[float]:
    """Mean of each quantisation table 0 (of brightness) before the pixels."""
    place = 2
    while place + 4 <= len(stream) and stream[place] == 0xFF and stream[place + 1] not in (_EOI, _SOS):
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if stream[place + 1] == _DQT:
            yield from _means(stream[place + 4 : end])
        place = end


def _means(tables: bytes) -> Iterator[float]:
    """Of a segment's tables, those with the number 0: a byte of precision and number, then 64 steps of 1 or 2 bytes."""
    while len(tables) >= 65:
        wide, number = tables[0] >> 4, tables[0] & 15
        steps = np.frombuffer(tables[1 : 1 + 64 * (1 + wide)], ">u2" if wide else "u1")
        if number == 0:
            yield float(steps.mean())
        tables = tables[1 + 64 * (1 + wide) :]
