"""What the files that a run takes from outside hold, asked at its start: a stat each, and a look only at what differs.

Snakemake compares times, and takes a slide that was restored or copied over with an older date for unchanged: the old
slide's heat would lie on the new one. So rules take such files as `ancient`, and a digest of their content as `params`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from wsi.atomic import write_json
from wsi.digest import middle_of, sha256_of
from wsi.fingerprint import fingerprint, stamp

Kind = Literal["slide", "file", "tiles"]
# Reading waits for the disk, on a network most of all.
_THREADS = 16


class Contents:
    """Digests of files by path. `cache` keeps them, with the sizes and times at which they were taken."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._known: dict[str, tuple[str, str]] = _load(cache)

    def digests(self, kind: Kind, paths: Iterable[str]) -> dict[str, str]:
        """Path → digest; "" of a file that is not there or cannot be read: who needs it says so.

        kind: a "slide" by its fingerprint, which is quick; a "file" by all its bytes; a folder of "tiles" by the names,
        sizes and middles of all.
        """
        wanted = list(dict.fromkeys(paths))
        with ThreadPoolExecutor(_THREADS) as pool:
            return dict(zip(wanted, pool.map(lambda path: self._digest(kind, path), wanted), strict=True))

    def save(self) -> None:
        """Keep what was read for the next start."""
        write_json(self._cache, {key: list(entry) for key, entry in sorted(self._known.items())})

    def _digest(self, kind: Kind, path: str) -> str:
        stamped, look = _LOOKS[kind]
        key = f"{kind} {path}"
        try:
            now = stamped(Path(path))
            before = self._known.get(key)
            if before is None or before[0] != now:
                self._known[key] = before = (now, look(Path(path)))
            return before[1]
        except OSError:
            return ""


def _load(cache: Path) -> dict[str, tuple[str, str]]:
    """What was kept; nothing where the file is not there or damaged: all is looked at again then."""
    try:
        return {key: (str(entry[0]), str(entry[1])) for key, entry in json.loads(cache.read_text("utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError, IndexError):
        return {}


def _all_files(folder: Path) -> list[Path]:
    return sorted(Path(at) / name for at, _, names in os.walk(folder) for name in names)


def _tiles_stamp(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in _all_files(folder):
        status = path.stat()
        digest.update(f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _tiles_digest(folder: Path) -> str:
    """Tiles of one size are of one length where they are not compressed: what lies in their middle tells them apart."""
    digest = hashlib.sha256()
    for path in _all_files(folder):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode() + middle_of(path))
    return digest.hexdigest()


# By kind: what costs no reading, and what the digest is of.
_LOOKS: dict[Kind, tuple[Callable[[Path], str], Callable[[Path], str]]] = {
    "slide": (stamp, fingerprint),
    "file": (stamp, sha256_of),
    "tiles": (_tiles_stamp, _tiles_digest),
}
