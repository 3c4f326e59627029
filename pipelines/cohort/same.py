"""One slide under two names: a link, a copy, another way to the same file. It would be counted, and tested, twice."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from pathlib import Path

from pipelines.cohort.groups import grouped
from wsi.fingerprint import fingerprint
from wsi.readers.dicom import series_of

# No slide fits into fewer bytes; such a file says itself what is wrong with it when it is opened.
_SMALLEST_BYTES = 64


def same_files(files: Sequence[Path]) -> list[list[int]]:
    """Groups of the places in `files` that hold the same slide, by real path and then by content; two or more each.

    Content is looked at (see `wsi.fingerprint`) where sizes agree, and of folders always. A file that cannot be read
    is like no other.
    """
    unique: dict[Hashable, int] = {}
    first = [unique.setdefault(_place(path), number) for number, path in enumerate(files)]
    by_size = grouped(unique.values(), lambda number: _size(files[number]))
    suspects = [number for group in by_size if len(group) > 1 for number in group if _size(files[number])]
    alike = grouped(suspects, lambda number: _content(files[number]) or number)
    leader = {number: group[0] for group in alike for number in group}
    groups = grouped(range(len(files)), lambda number: leader.get(first[number], first[number]))
    return [group for group in groups if len(group) > 1]


def _place(path: Path) -> Hashable:
    """Where the slide lies: the same for links, hard links and the files of one DICOM series."""
    real = Path(os.path.realpath(path))
    if path.suffix.lower() == ".dcm" and (series := series_of(real)) is not None:
        return real.parent, series
    try:
        state = real.stat()
    except OSError:
        return real
    return (state.st_dev, state.st_ino) if state.st_nlink > 1 and real.is_file() else real


def _size(path: Path) -> int:
    """Bytes of a file; -1 of a folder; 0 where there is nothing to compare."""
    try:
        if path.is_dir():
            return -1
        size = path.stat().st_size
    except OSError:
        return 0
    return size if size >= _SMALLEST_BYTES else 0


def _content(path: Path) -> str:
    try:
        return fingerprint(path)
    except OSError:
        return ""
