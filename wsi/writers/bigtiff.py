"""The bones of a BigTIFF: blocks of bytes in any order, then directories that say where they lie."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

# Field types: code, then bytes of one value.
ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8, IFD8 = 2, 3, 4, 5, 7, 16, 18
_FORMAT = {SHORT: "<u2", LONG: "<u4", LONG8: "<u8", IFD8: "<u8"}

# Tag → (field type, values).
Tags = dict[int, tuple[int, "bytes | Sequence[int] | NDArray[np.uint64] | Fraction"]]

_SUBIFDS = 330
_LARGEST = 2**32 - 1


class BigTiffFile:
    """Writes to `stream`, which starts empty. Nothing is readable before `finish`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        # Little-endian, version 43, 8-byte offsets; the first directory's place is filled in at the end.
        stream.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        self._end = 16

    def append(self, data: bytes) -> int:
        """Write a block; returns its offset, which is even, as TIFF wants it."""
        offset = self._end
        self._stream.write(data)
        self._end += len(data)
        if len(data) % 2:
            self._stream.write(b"\0")
            self._end += 1
        return offset

    def finish(self, levels: Sequence[Tags], others: Sequence[Tags]) -> None:
        """Write the directories: one chain of `levels`, then `others`; the reduced levels are SubIFDs of the first too.

        So a program that walks the chain (OpenSlide) and one that looks for SubIFDs (Bio-Formats) see all levels.
        """
        first = dict(levels[0])
        if len(levels) > 1:
            first[_SUBIFDS] = (IFD8, [0] * (len(levels) - 1))
        chain = [first, *levels[1:], *others]
        sizes = [len(_directory(tags, 0, 0)) for tags in chain]
        offsets = list(accumulate(sizes, initial=self._end))
        if len(levels) > 1:
            first[_SUBIFDS] = (IFD8, offsets[1 : len(levels)])
        offsets[-1] = 0
        for tags, (here, following) in zip(chain, pairwise(offsets), strict=True):
            self._stream.write(_directory(tags, here, following))
        self._stream.seek(8)
        self._stream.write(struct.pack("<Q", offsets[0]))


def rational(value: float) -> Fraction:
    """The nearest fraction above 0 that two 32-bit numbers hold, of a positive number; 2^32 - 1 is the largest."""
    value = min(value, _LARGEST)
    near = Fraction(value).limit_denominator(min(1_000_000, max(1, _LARGEST // (int(value) + 1))))
    return near or Fraction(1, round(min(_LARGEST, 1 / value)))


def _directory(tags: Mapping[int, tuple[int, object]], offset: int, following: int) -> bytes:
    """A directory that lies at `offset`, its long values right behind it."""
    behind = offset + 8 + 20 * len(tags) + 8
    entries, values = [], b""
    for code, (kind, value) in sorted(tags.items()):
        count, data = _encoded(kind, value)
        if len(data) > 8:
            place = struct.pack("<Q", behind + len(values))
            values += data + b"\0" * (-len(data) % 8)
        else:
            place = data.ljust(8, b"\0")
        entries.append(struct.pack("<HHQ", code, kind, count) + place)
    return struct.pack("<Q", len(tags)) + b"".join(entries) + struct.pack("<Q", following) + values


def _encoded(kind: int, value: object) -> tuple[int, bytes]:
    """(count, bytes) of a field."""
    if isinstance(value, Fraction):
        return 1, struct.pack("<II", value.numerator, value.denominator)
    if isinstance(value, bytes):
        return len(value), value
    array = np.asarray(value, _FORMAT[kind])
    return array.size, array.tobytes()
