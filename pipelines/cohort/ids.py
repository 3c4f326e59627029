"""A name for the results of each slide: fit for files, unlike any other, whatever the order of the slides."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipelines.cohort.endings import stem_of

# File systems take 255 bytes; names of logs, temporary files and links are longer than the id.
LONGEST_ID = 100
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_KEPT = 44  # characters of the beginning, and of the end, of an id that is too long


def unique_ids(paths: Sequence[Path]) -> list[str]:
    """An id for each relative path: its parts joined by `__`, without the ending.

    Where two would be the same (a.svs beside a.tif, and A.tif: some file systems know no capitals), or one would have
    more than LONGEST_ID characters, it carries a digest of its whole path as well, so that an id never depends on the
    order of the files.
    """
    plain = [_safe("__".join((*path.parent.parts, stem_of(path)))) for path in paths]
    count = Counter(name.casefold() for name in plain)
    return [
        name if count[name.casefold()] == 1 and len(name) <= LONGEST_ID else _with_digest(name, path)
        for name, path in zip(plain, paths, strict=True)
    ]


def _with_digest(name: str, path: Path) -> str:
    digest = hashlib.sha256(str(path).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    if len(name) + 1 + len(digest) > LONGEST_ID:
        name = f"{name[:_KEPT]}-{name[-_KEPT:]}"
    return f"{name}-{digest}"


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-") or "slide"
