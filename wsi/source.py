"""Where a slide lies: a path on this machine, or an address that fsspec opens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from wsi.errors import InputError

# Two characters or more, so that a Windows drive is none.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class Url:
    """An address such as s3://bucket/a.ome.zarr, with the names that messages and captions take from a path."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def scheme(self) -> str:
        """What stands before "://", in lower case: https, s3, memory..."""
        return self.address.partition("://")[0].lower()

    @property
    def name(self) -> str:
        """Its last part, as a file name."""
        return self._path.name or self.address

    @property
    def stem(self) -> str:
        """Its last part without the ending."""
        return self._path.stem or self.address

    @property
    def _path(self) -> PurePosixPath:
        parts = urlsplit(self.address)
        return PurePosixPath(unquote(parts.netloc + parts.path))


Source: TypeAlias = Path | Url


def source_of(given: str | Path | Url) -> Source:
    """A path or URL from what a person wrote; file:// is a path. Raises InputError where file:// names a host."""
    if not isinstance(given, str):
        return given
    if _SCHEME.match(given) is None:
        return Path(given)
    parts = urlsplit(given)
    if parts.scheme.lower() != "file":
        return Url(given)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{given}: a file on another machine; write file:///path with three slashes")
    return Path(unquote(parts.path))


def written_ns(source: Source) -> int:
    """When a file was last written, in ns; 0 of an address, of which nobody says it."""
    return source.stat().st_mtime_ns if isinstance(source, Path) else 0
