"""What tells one slide from another, whatever its name and date: its size, and what samples of its bytes hold.

Reading gigabytes to see that nothing has changed is no way on a network disk. At most 6 MiB are read of a file: its
head, its tail and pieces evenly spread between them; a file that is no larger is read whole. A slide that was scanned,
exported or compressed anew differs in all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsi.readers.parts import parts_of
from wsi.readers.zarr.levels import fingerprint_of
from wsi.source import Scene, Source, Url, file_of

# Of a slide in one file.
_END_BYTES, _PIECES, _PIECE_BYTES = 1 << 20, 64, 1 << 16
# Of each file of a slide in several: an OME-Zarr has up to hundreds of thousands, of which so many are looked into.
_PART_END_BYTES, _PART_PIECE_BYTES, _MOST_PARTS = 1 << 14, 1 << 14, 256
# A slide with such an ending is one file: nothing has to be opened to know it.
_ONE_FILE = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".svslide", ".qptiff", ".btf", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Identity:
    """Which slide it is. stamp: sizes and times of its files; "" of an address, of which nobody says them.

    While the stamp stays the same, the fingerprint need not be taken again. A stamp that differs says nothing: a copy
    of the same file has another time.
    """

    fingerprint: str
    stamp: str


def identity(source: Source) -> Identity:
    """The fingerprint and the stamp of a slide; see `fingerprint` and `stamp`."""
    before = stamp(source)
    return Identity(fingerprint(source), before)


def is_still(source: Source, recorded: Identity) -> bool:
    """Whether a slide is the one that was recorded: by its stamp, and where that differs, by its content."""
    return (recorded.stamp != "" and stamp(source) == recorded.stamp) or fingerprint(source) == recorded.fingerprint


def stamp(source: Source) -> str:
    """Size and time of a slide's file, or a digest of those of all its files; "" of an address. Reads nothing."""
    file = file_of(source)
    if isinstance(file, Url):
        return ""
    stats = [(name, path.stat()) for name, path in _named_parts(file)]
    entries = [f"{name} {found.st_size} {found.st_mtime_ns}" for name, found in stats]
    if len(stats) == 1:
        return f"{stats[0][1].st_size}:{stats[0][1].st_mtime_ns}"
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


def fingerprint(source: Source) -> str:
    """SHA-256 (hex) of a slide's size and of samples of its bytes; of a slide of many files, of all their names too.

    The name of the slide itself is no part of it, so that a copy has the same. Of an OME-Zarr behind an address: of
    its metadata, which change with its shape and not with its pixels. Of one scene of several: of its file and its
    number. Raises OSError where a file cannot be read.
    """
    if isinstance(source, Scene):
        return hashlib.sha256(f"{fingerprint(source.file)}#{source.number}".encode()).hexdigest()
    if isinstance(source, Url):
        return fingerprint_of(source)
    parts = _named_parts(source)
    digest = hashlib.sha256()
    if len(parts) == 1:
        path = parts[0][1]
        digest.update(str(path.stat().st_size).encode())
        for piece in _samples(path, _END_BYTES, _PIECES, _PIECE_BYTES):
            digest.update(piece)
        return digest.hexdigest()
    for name, path in parts:
        digest.update(f"{name} {path.stat().st_size}\n".encode())
    chosen = _spread(parts, _MOST_PARTS)
    for _, path in chosen:
        for piece in _samples(path, _PART_END_BYTES, max(1, _PIECES // len(chosen)), _PART_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _named_parts(source: Path) -> list[tuple[str, Path]]:
    """(name, file) of all files of a slide, sorted; the name of a slide in one file is ""."""
    one_file = source.suffix.lower() in _ONE_FILE and ".ome." not in source.name.lower() and not source.is_dir()
    parts = [source] if one_file else parts_of(source)
    if parts == [source]:
        return [("", source)]
    base = source if source.is_dir() else source.parent
    own = source.stem if source.suffix.lower() == ".mrxs" else ""  # its folder has its name
    return sorted((path.relative_to(base).as_posix().removeprefix(own), path) for path in parts)


def _spread(parts: Sequence[tuple[str, Path]], most: int) -> list[tuple[str, Path]]:
    """At most so many, evenly spread; those that say what the others are (JSON, .ini, .zarray…) go first."""
    says = [path.suffix in (".json", ".ini") or path.name.startswith(".z") for _, path in parts]
    saying = [part for part, first in zip(parts, says, strict=True) if first][: most // 2]
    others = [part for part, first in zip(parts, says, strict=True) if not first]
    room = most - len(saying)
    return saying + others[:: max(1, -(-len(others) // room))]


def _samples(path: Path, end_bytes: int, pieces: int, piece_bytes: int) -> Iterator[bytes]:
    """Head, pieces evenly spread, tail of a file; all of it where it is no longer than these together."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        between = size - 2 * end_bytes
        if between <= pieces * piece_bytes:
            yield stream.read()
            return
        yield stream.read(end_bytes)
        if hasattr(os, "posix_fadvise"):  # else a network disk reads ahead of every piece
            os.posix_fadvise(stream.fileno(), end_bytes, between, os.POSIX_FADV_RANDOM)
        for number in range(pieces):
            stream.seek(end_bytes + number * (between - piece_bytes) // max(1, pieces - 1))
            yield stream.read(piece_bytes)
        stream.seek(size - end_bytes)
        yield stream.read()
