"""Where a slide lies: a path on this machine, an address that fsspec opens, or one scene of several in either."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from wsi.errors import InputError

# Two characters or more, so that a Windows drive is none.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SCENE = re.compile(r"(.+)#([0-9]{1,6})", re.DOTALL)


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


File: TypeAlias = Path | Url


@dataclass(frozen=True)
class Scene:
    """One of several images in a file, written `PATH#N`. Number 0, the largest, is what the file itself stands for."""

    file: File
    number: int

    def __str__(self) -> str:
        return f"{self.file}#{self.number}"

    @property
    def name(self) -> str:
        """For messages and captions."""
        return f"{self.file.name}#{self.number}"

    @property
    def stem(self) -> str:
        """Name of results: that of the file without its ending, and the number."""
        return f"{self.file.stem}-{self.number}"


Source: TypeAlias = File | Scene


def source_of(given: str | Source) -> Source:
    """A path, URL or scene from what a person wrote; file:// is a path. A file whose own name ends in #N is that file.

    Raises InputError where file:// names a host.
    """
    if isinstance(given, Url | Scene):
        return given
    text = str(given)
    match = _SCENE.fullmatch(text)
    if match is None or (_SCHEME.match(text) is None and Path(text).exists()):
        return _file_of(given)
    file, number = _file_of(match[1]), int(match[2])
    return Scene(file, number) if number else file


def file_of(source: Source) -> File:
    """The file that a source lies in: itself, but of a scene."""
    return source.file if isinstance(source, Scene) else source


def with_file(source: Source, file: File) -> Source:
    """The same scene of another file."""
    return replace(source, file=file) if isinstance(source, Scene) else file


def _file_of(given: str | Path) -> File:
    if isinstance(given, Path) or _SCHEME.match(given) is None:
        return Path(given)
    parts = urlsplit(given)
    if parts.scheme.lower() != "file":
        return Url(given)
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{given}: a file on another machine; write file:///path with three slashes")
    return Path(unquote(parts.path))


def written_ns(source: Source) -> int:
    """When a file was last written, in ns; 0 of an address, of which nobody says it."""
    file = file_of(source)
    return file.stat().st_mtime_ns if isinstance(file, Path) else 0
