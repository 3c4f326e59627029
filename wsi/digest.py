"""What was made of what: SHA-256 of files, and a quick look into them."""

from __future__ import annotations

import hashlib
from pathlib import Path

_PROBE_BYTES = 4096


def sha256_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def middle_of(path: Path) -> bytes:
    """Up to 4 KiB in the middle of a file: what tells pictures apart that are of one length, at little cost."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size // 2 - _PROBE_BYTES // 2))
        return stream.read(_PROBE_BYTES)
