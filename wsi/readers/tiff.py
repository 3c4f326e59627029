"""The TIFF family without OpenSlide: native tiles are decoded once, in threads, by tifffile's codecs."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi.errors import SlideError
from wsi.geometry import Level, downsample_of
from wsi.readers import cache
from wsi.readers.base import MAX_SLIDE_SIDE_PX, MAX_STRIP_PX, MAX_TILE_PX, Header
from wsi.readers.tiff_meta import mpp_of, objective_power_of
from wsi.readers.tiff_pixels import to_rgb, unsupported

_serial = itertools.count()

# What tifffile lets through where a header is damaged: it trusts counts and types as it finds them.
_DAMAGED = (
    tifffile.TiffFileError,
    struct.error,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class _Plane:
    """One level's native tiles (or strips): where their bytes lie and how to decode them."""

    level: Level
    tile_width: int
    tile_height: int
    columns: int
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    decode: Callable[[bytes, int], NDArray[np.uint8]]


class TiffReader:
    """Tiled or striped TIFF: SVS, OME-TIFF, BigTIFF, generic pyramids."""

    name = "tiff"

    def __init__(self, path: Path, header: Header, planes: tuple[_Plane, ...]) -> None:
        self.header = header
        self._path = path
        self._planes = planes
        self._serial = next(_serial)
        self._file = os.open(path, os.O_RDONLY)

    @classmethod
    def open(cls, path: Path) -> TiffReader | None:
        """See `Reader.open`. NDPI, SCN, BIF and Philips files are left to OpenSlide."""
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            if stream.read(4) not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                return None
        try:
            with tifffile.TiffFile(path) as tiff:
                return cls._parse(path, tiff)
        except SlideError:
            raise
        except _DAMAGED as error:
            raise SlideError(
                f"{path}: damaged TIFF ({type(error).__name__}: {error}); copy it again from its source"
            ) from error

    @classmethod
    def _parse(cls, path: Path, tiff: tifffile.TiffFile) -> TiffReader | None:
        if tiff.is_ndpi or tiff.is_scn or tiff.is_bif or tiff.is_philips:
            return None
        if len(tiff.pages) == 0:
            raise SlideError(f"{path}: a TIFF without an image in it")
        pages = _pyramid_pages(tiff)
        _check_planes(path, tiff)
        for page in pages:
            _check_size(path, page)
        reason = unsupported(pages[0])
        if reason is not None:
            if tiff.pages[0].is_tiled:  # type: ignore[union-attr]
                return None  # OpenSlide, by libtiff, may know this combination.
            raise SlideError(f"{path}: {reason}; convert it to 8-bit RGB TIFF first")
        size = path.stat().st_size
        planes = tuple(_plane(path, size, pages[0], page) for page in pages)
        mpp, notes = mpp_of(tiff)
        if pages[0].dtype == np.uint16:
            notes += ("16 bits a channel: scaled to 8 by dropping the lower byte",)
        icc = pages[0].tags.valueof("InterColorProfile")
        header = Header(
            levels=tuple(plane.level for plane in planes),
            mpp=mpp,
            objective_power=objective_power_of(tiff),
            icc_profile=bytes(icc) if icc else None,
            random_access=bool(pages[0].is_tiled),
            notes=notes,
        )
        return cls(path, header, planes)

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `Reader.read_level`."""
        plane = self._planes[level]
        out = np.empty((height, width, 3), np.uint8)
        flat = out.reshape(height, width * 3)  # copied by rows of bytes, which is faster than by (x, channel)

        def place(index: int) -> None:
            row, col = divmod(index, plane.columns)
            top, left = row * plane.tile_height, col * plane.tile_width
            y0, y1 = max(top, y), min(top + plane.tile_height, y + height)
            x0, x1 = max(left, x), min(left + plane.tile_width, x + width)
            # A tile used whole will not be asked for again by a reader that walks on; keeping it would only push
            # out those at block borders, and spread decoding over cold memory.
            whole = (y1 - y0) * (x1 - x0) == plane.tile_height * plane.tile_width
            tile = self._tile(level, index, keep=not whole)
            rows, cols = slice(y0 - top, y1 - top), slice((x0 - left) * 3, (x1 - left) * 3)
            flat[y0 - y : y1 - y, (x0 - x) * 3 : (x1 - x) * 3] = tile.reshape(len(tile), -1)[rows, cols]

        indices = list(_touched(plane, x, y, width, height))
        cache.in_threads(place, indices)
        return out

    def _tile(self, level: int, index: int, *, keep: bool) -> NDArray[np.uint8]:
        key = (self._serial, level, index)
        held = cache.CACHE.get(key)
        if held is not None:
            return held
        plane = self._planes[level]
        count = int(plane.counts[index])
        if count == 0:
            return np.full((plane.tile_height, plane.tile_width, 3), 255, np.uint8)
        raw = os.pread(self._file, count, int(plane.offsets[index]))
        try:
            tile = plane.decode(raw, index)
        except Exception as error:  # Codecs raise their own kinds, one per codec.
            raise SlideError(
                f"{self._path}: tile {index} of level {level} ({plane.level.width} × {plane.level.height} px) "
                f"cannot be decoded ({error}); the file is damaged, copy it again from its source"
            ) from error
        if keep:
            cache.CACHE.put(key, tile)
        return tile

    def close(self) -> None:
        """See `Reader.close`."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            self.close()


def _touched(plane: _Plane, x: int, y: int, width: int, height: int) -> Iterator[int]:
    for row in range(y // plane.tile_height, (y + height - 1) // plane.tile_height + 1):
        for col in range(x // plane.tile_width, (x + width - 1) // plane.tile_width + 1):
            yield row * plane.columns + col


def _pyramid_pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The first page and its reduced copies, finest first: pages of the chain and SubIFDs alike.

    Label, macro and thumbnail images differ in shape, or are striped where the slide is tiled.
    """
    first = tiff.pages.first
    chain = [page.aspage() for page in tiff.pages[1:]] if first.is_tiled else []
    reduced = [page.aspage() for page in first.pages] if first.pages else []
    levels = [first]
    for page in sorted([*reduced, *chain], key=lambda page: -int(page.imagewidth)):
        finer = levels[-1]
        if page.imagewidth >= finer.imagewidth or not page.is_tiled or unsupported(page):
            continue
        ratios = (first.imagewidth / page.imagewidth, first.imagelength / page.imagelength)
        scale = downsample_of((first.imagewidth, first.imagelength), (page.imagewidth, page.imagelength))
        if max(abs(ratio - scale) / scale for ratio in ratios) < 0.02 or float(scale).is_integer():
            levels.append(page)
    return levels


def _check_planes(path: Path, tiff: tifffile.TiffFile) -> None:
    """Raise SlideError where the picture is spread over several pages: shown alone, the first would look right."""
    first = tiff.pages.first
    same = sum(page.aspage().shape == first.shape for page in tiff.pages) if first.is_tiled else 1
    if same > 1:
        raise SlideError(
            f"{path}: {same} pages of {first.imagewidth} × {first.imagelength} px (channels, depths or times), "
            "not one colour picture; write one RGB plane to a file of its own"
        )


def _check_size(path: Path, page: tifffile.TiffPage) -> None:
    """Raise SlideError where the header declares more than a slide can be.

    Before OpenSlide gets to see the file: where it cannot allocate what it is told to, the process is aborted.
    """
    width, height = int(page.imagewidth), int(page.imagelength)
    tile_width, tile_height = _tile_size(page)
    limit, kind = (MAX_TILE_PX, "tiles") if page.is_tiled else (MAX_STRIP_PX, "strips")
    if max(width, height) > MAX_SLIDE_SIDE_PX or tile_width * tile_height > limit:
        raise SlideError(
            f"{path}: declares {width} × {height} px in {kind} of {tile_width} × {tile_height} px, over the limit "
            f"of {MAX_SLIDE_SIDE_PX} px a side and {limit} px at once; write it with smaller {kind}, "
            "or the header is damaged"
        )


def _plane(path: Path, file_size: int, first: tifffile.TiffPage, page: tifffile.TiffPage) -> _Plane:
    width, height = int(page.imagewidth), int(page.imagelength)
    tile_width, tile_height = _tile_size(page)
    offsets, counts = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    if len(offsets) < columns * rows or len(counts) < columns * rows:
        raise SlideError(f"{path}: {columns * rows} tiles expected, {len(offsets)} listed; the file is damaged")
    counts[: len(offsets)][offsets == 0] = 0
    end = int((offsets + counts).max(initial=0))
    if end > file_size:
        raise SlideError(
            f"{path}: truncated, pixel data end at byte {end:,} and the file has {file_size:,}; "
            "copy it again from its source"
        )
    level = Level(width, height, downsample_of((int(first.imagewidth), int(first.imagelength)), (width, height)))
    return _Plane(level, tile_width, tile_height, columns, offsets, counts, _decoder(page, tile_height, tile_width))


def _tile_size(page: tifffile.TiffPage) -> tuple[int, int]:
    if page.is_tiled:
        return int(page.tilewidth), int(page.tilelength)
    return int(page.imagewidth), min(int(page.rowsperstrip), int(page.imagelength))


def _decoder(page: tifffile.TiffPage, tile_height: int, tile_width: int) -> Callable[[bytes, int], NDArray[np.uint8]]:
    # Touched here so that nothing is read from tifffile's own handle later: it is closed by then.
    decode, tables, header = page.decode, page.jpegtables, page.jpegheader
    colormap = page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE else None
    photometric = page.photometric

    def decoded(raw: bytes, index: int) -> NDArray[np.uint8]:
        options: dict[str, Any] = {"jpegtables": tables, "jpegheader": header}
        segment = decode(raw, index, **options)[0]
        if segment is None:
            return np.full((tile_height, tile_width, 3), 255, np.uint8)
        return to_rgb(np.asarray(segment)[0], photometric, colormap)

    return decoded
