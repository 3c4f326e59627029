"""The bytes of an annotation file, unpacked where it is gzipped."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from wsi.errors import InputError

_GZIP = b"\x1f\x8b"


def read_content(path: Path, kind: str) -> bytes:
    """The bytes of a file, whatever its ending says; raises InputError where it cannot be read. kind: for the error."""
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(_GZIP) else raw
    except (OSError, EOFError, zlib.error) as error:  # the last two: a cut or damaged .gz
        raise InputError(f"{path}: not a readable {kind} file ({error})") from error
