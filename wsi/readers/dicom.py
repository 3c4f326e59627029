"""Which DICOM files are parts of one slide: those of a series, by the few elements at the start of a file.

Read here and not by OpenSlide, which opens the whole series for each of its files.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_PREAMBLE = 128
_TRANSFER_SYNTAX, _SERIES = (0x0002, 0x0010), (0x0020, 0x000E)
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_IMPLICIT = "1.2.840.10008.1.2"
# Big endian, and deflated: neither is written for whole slides, and OpenSlide reads neither.
_OTHER_ORDER = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED = 0xFFFFFFFF
# A unique identifier has 64 characters, and some hundred elements stand before a slide's.
_MAX_UID_BYTES, _MAX_ELEMENTS = 64, 10_000

Tag = tuple[int, int]


def series_of(path: Path) -> str | None:
    """SeriesInstanceUID of a DICOM file; None where it is none, or cannot be followed so far."""
    try:
        state = path.stat()
        return _series(os.fspath(path), state.st_size, state.st_mtime_ns) if path.is_file() else None
    except OSError:
        return None


def dicom_series(paths: Iterable[Path]) -> list[list[Path]]:
    """The files grouped to slides: those of one folder and one series, in the order of `paths`.

    A file that is no DICOM, or names no series, is a group of its own. OpenSlide opens the whole series by any of them.
    """
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in paths:
        uid = series_of(path)
        groups.setdefault((path.parent, f"series {uid}") if uid else (path, ""), []).append(path)
    return list(groups.values())


def series_files(path: Path) -> list[Path]:
    """All files of the folder of `path` that are of its series, sorted; itself alone where it names none."""
    uid = series_of(path)
    return [path] if uid is None else sorted(each for each in path.parent.iterdir() if series_of(each) == uid)


@lru_cache(maxsize=65_536)
def _series(path: str, size: int, written_ns: int) -> str | None:
    """Kept: every file of a folder is asked for once a series in it. Size and time tell a file that was replaced."""
    del size, written_ns
    with open(path, "rb") as stream:
        head = stream.read(_PREAMBLE + 4)
        if head[_PREAMBLE:] != b"DICM":
            return None
        syntax = ""
        try:
            for tag, value in _elements(stream, (_TRANSFER_SYNTAX, _SERIES)):
                if tag == _SERIES:
                    return value or None
                syntax = value
                if syntax in _OTHER_ORDER:
                    return None
        except struct.error:  # it ends within an element
            return None
    return None


def _elements(stream: BinaryIO, wanted: tuple[Tag, ...]) -> Iterator[tuple[Tag, str]]:
    """The wanted elements that lie in no sequence, with their text. DICOM PS3.5, section 7.1, and PS3.10.

    Raises struct.error where the file ends before it.
    """
    depth, implicit = 0, False
    for _ in range(_MAX_ELEMENTS):
        tag, length = _head(stream, implicit=implicit)
        if tag > _SERIES and depth == 0:
            return
        if tag in (_ITEM_END, _SEQUENCE_END):
            depth -= 1
        elif length == _UNDEFINED:
            depth += 1  # a sequence or an item that runs up to its end mark
        elif tag in wanted and depth == 0 and length <= _MAX_UID_BYTES:
            text = stream.read(length).rstrip(b"\0 ").decode("ascii", "replace")
            yield tag, text
            implicit = implicit or (tag == _TRANSFER_SYNTAX and text == _IMPLICIT)
        else:
            stream.seek(length, os.SEEK_CUR)


def _head(stream: BinaryIO, *, implicit: bool) -> tuple[Tag, int]:
    """(tag, length of the value) of the element that begins here. Group 2 states its kinds whatever follows."""
    group, element, length = struct.unpack("<HHI", stream.read(8))
    tag = (group, element)
    kind = struct.pack("<I", length)[:2]
    if tag in (_ITEM, _ITEM_END, _SEQUENCE_END) or (implicit and group > 2):
        return tag, length
    return tag, struct.unpack("<I", stream.read(4))[0] if kind in _LONG else length >> 16
