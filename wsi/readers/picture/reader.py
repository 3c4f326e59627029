"""Flat pictures: JPEG, PNG, JPEG 2000, JPEG XL, WebP and BMP, by what they hold and whatever they are called."""

from __future__ import annotations

import mmap
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi.errors import SlideError
from wsi.geometry import Level
from wsi.readers.base import MAX_SLIDE_SIDE_PX, MAX_STRIP_PX, MAX_TILE_PX, Header, NativeTiles
from wsi.readers.declared import Bytes, declared_size, held_whole, kind_of
from wsi.readers.picture.decode import decode, full_scale, jpeg_rgb, must_be_looked_at, pixel_notes, unsupported
from wsi.readers.picture.meta import about
from wsi.readers.scenes import check_scene
from wsi.readers.streamed import StreamedPicture, streamed_values

# Up to here a picture is decoded once and held: 192 MB of RGB. Above, JPEG and PNG are decoded row by row.
_HELD_PX = MAX_TILE_PX
# Others may lose something, and do not always say so.
_LOSSLESS = ("png", "bmp")
_STREAMED = ("jpeg", "png")
# OpenJPEG keeps every sample as a 32-bit number, twice over.
_LIMIT_PX = {"jp2": MAX_STRIP_PX // 4}

_decoding = threading.Lock()


class PictureReader:
    """One flat picture: no levels and no tiles, so that ingest converts it. Pixels are as stored, not turned."""

    name = "picture"

    def __init__(self, path: Path, kind: str, data: Bytes) -> None:
        """data: the file's bytes. They are decoded here only where pixels decide how they are shown."""
        self._path = path
        self._kind = kind
        self._pixels: NDArray[np.uint8] | None = None
        self._streamed: StreamedPicture | None = None
        header, values = _header(path, kind, data), None
        level = header.levels[0]
        large = kind in _STREAMED and level.width * level.height > _HELD_PX
        if must_be_looked_at(kind, data):
            if large:
                values = streamed_values(path)
            else:
                self._pixels, values = decode(path, kind, level.width, level.height)
        if large:
            hidden = values is not None and values.alpha_is_nothing
            top = full_scale(kind, data, values)
            self._streamed = StreamedPicture(path, level.width, level.height, top, ignores_alpha=hidden)
        self.header = replace(header, notes=header.notes + pixel_notes(kind, data, values))

    @classmethod
    def open(cls, path: Path, scene: int = 0) -> PictureReader | None:
        """See `Reader.open`."""
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            kind = kind_of(stream.read(16))
            if kind is None:
                return None
            check_scene(path, scene, 1)
            if path.suffix.lower() == ".mrxs":
                raise SlideError(f"{path}: a MIRAX slide without its folder {path.stem}; copy that beside it")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                try:
                    return cls(path, kind, data)
                except SlideError:
                    raise
                # Pillow raises its own kinds for damaged headers: SyntaxError, struct.error, TypeError...
                except Exception as error:
                    what = f"{path}: damaged {kind.upper()} ({type(error).__name__}: {error})"
                    raise SlideError(f"{what}; copy it again from its source") from error

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `Reader.read_level`."""
        del level  # there is one
        if self._streamed is not None:
            return self._streamed.rows(x, y, width, height)
        return self._whole()[y : y + height, x : x + width].copy()

    def _whole(self) -> NDArray[np.uint8]:
        # One at a time in a process: two threads that ask first would decode, and allocate, twice.
        with _decoding:
            if self._pixels is None:
                level = self.header.levels[0]
                if self._kind == "jpeg":
                    self._pixels = jpeg_rgb(self._path, level.width, level.height)
                else:
                    self._pixels, _ = decode(self._path, self._kind, level.width, level.height)
            return self._pixels

    def native(self, level: int) -> NativeTiles | None:  # noqa: ARG002 - the protocol's signature
        """See `Reader.native`: there are no tiles."""
        return None

    def associated(self) -> dict[str, NDArray[np.uint8]]:
        """See `Reader.associated`: there are none."""
        return {}

    def close(self) -> None:
        """See `Reader.close`."""
        self._pixels = None
        if self._streamed is not None:
            self._streamed.close()


def _header(path: Path, kind: str, data: Bytes) -> Header:
    size = declared_size(data)
    if size is None:
        raise SlideError(f"{path}: damaged {kind.upper()}, its header states no size; copy it again from its source")
    _check_size(path, kind, size, whole=kind not in _STREAMED or held_whole(data))
    reason = unsupported(kind, data)
    if reason is not None:
        raise SlideError(f"{path}: {reason}; convert it to 8-bit RGB TIFF first")
    found = about(kind, path, data)
    return Header(
        levels=(Level(*size, 1.0),),
        mpp=found.mpp,
        icc_profile=found.icc_profile,
        random_access=False,
        notes=found.notes,
        description=found.description,
        lossless=kind in _LOSSLESS,
    )


def _check_size(path: Path, kind: str, size: tuple[int, int], *, whole: bool) -> None:
    """Raise SlideError where the header declares more than can be held, before anything is decoded."""
    limit = _LIMIT_PX.get(kind, MAX_STRIP_PX)
    remedy = "write it as a tiled TIFF, or its header is damaged"
    what = f"{path}: declares {size[0]} × {size[1]} px"
    if max(size) > MAX_SLIDE_SIDE_PX:
        raise SlideError(f"{what}, over the limit of {MAX_SLIDE_SIDE_PX:,} px a side; {remedy}")
    if whole and size[0] * size[1] > limit:
        kind_name = kind.upper() if kind not in _STREAMED else f"progressive or interlaced {kind.upper()}"
        raise SlideError(f"{what}; a {kind_name} is decoded whole, up to {limit:,} px; {remedy}")


def _after_fork() -> None:
    # A lock held by a thread that the child does not have would stay locked for ever.
    global _decoding
    _decoding = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
