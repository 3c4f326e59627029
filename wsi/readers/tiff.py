"""The TIFF family without OpenSlide: native tiles are decoded once, in threads, by tifffile's codecs."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

from wsi.errors import SlideError
from wsi.geometry import Level, downsample_of
from wsi.readers import cache
from wsi.readers.base import MAX_RANDOM_TILE_PX, Header, NativeTiles
from wsi.readers.canvas import Canvas
from wsi.readers.streamed import StreamedPicture
from wsi.readers.tiff_decode import Decode, decoder_of, is_raw, is_streamed, tile_size
from wsi.readers.tiff_meta import mpp_of, objective_power_of
from wsi.readers.tiff_pages import MAGIC, check_chain, level_pages, named_pages
from wsi.readers.tiff_pixels import JPEG, pixel_notes, unsupported

_serial = itertools.count()

# What tifffile lets through where a header is damaged: it trusts counts and types as it finds them.
_DAMAGED = (
    tifffile.TiffFileError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class _Plane:
    """One level's native tiles (or strips): where their bytes lie and how to decode them.

    offsets, counts: (channels stored apart, tiles) int64; a count of 0 is a tile that the file leaves out.
    """

    level: Level
    tile_width: int
    tile_height: int
    columns: int
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    decode: Decode
    native: Callable[..., NativeTiles] | None


class TiffReader:
    """Tiled or striped TIFF: SVS, OME-TIFF, BigTIFF, COG, Philips, generic pyramids."""

    name = "tiff"

    def __init__(
        self,
        path: Path,
        header: Header,
        planes: tuple[_Plane, ...],
        associated: dict[str, int],
        streamed: StreamedPicture | None = None,
    ) -> None:
        self.header = header
        self._path = path
        self._planes = planes
        self._associated = associated
        self._streamed = streamed
        self._serial = next(_serial)
        self._file = os.open(path, os.O_RDONLY)

    @classmethod
    def open(cls, path: Path) -> TiffReader | None:
        """See `Reader.open`. NDPI, SCN, BIF and Trestle files are left to OpenSlide."""
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            if stream.read(4) not in MAGIC:
                return None
        check_chain(path)
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
        # Their tiles overlap, or lie in an order of their own: read as a plain TIFF they would look nearly right.
        if tiff.is_ndpi or tiff.is_scn or tiff.is_bif or tiff.pages.first.software.startswith("MedScan"):
            return None
        if len(tiff.pages) == 0:
            raise SlideError(f"{path}: a TIFF without an image in it")
        pages = level_pages(path, tiff)
        first = pages[0]
        reason = unsupported(first)
        if reason is not None:
            # libtiff takes indices without a palette for shades of grey.
            if first.is_tiled and first.photometric != PHOTOMETRIC.PALETTE:
                return None  # OpenSlide, by libtiff, may know this combination.
            raise SlideError(f"{path}: {reason}; convert it to 8-bit RGB TIFF first")
        planes = tuple(_plane(path, page, first) for page in pages)
        mpp, notes = mpp_of(tiff, first)
        icc = first.tags.valueof("InterColorProfile")
        header = Header(
            levels=tuple(plane.level for plane in planes),
            mpp=mpp,
            objective_power=objective_power_of(tiff),
            icc_profile=bytes(icc) if isinstance(icc, bytes) else None,
            random_access=bool(first.is_tiled) and planes[0].tile_width * planes[0].tile_height <= MAX_RANDOM_TILE_PX,
            notes=(*notes, *pixel_notes(first)),
            description=str(first.description),
        )
        width, height = planes[0].level.width, planes[0].level.height
        streamed = StreamedPicture(path, width, height) if is_streamed(first) else None
        return cls(path, header, planes, named_pages(tiff, pages), streamed)

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `Reader.read_level`."""
        canvas = Canvas.region(width, height)
        self.paint(level, x, y, width, height, canvas, 0, 0)
        return canvas.picture

    def paint(self, level: int, x: int, y: int, width: int, height: int, canvas: Canvas, left: int, top: int) -> None:
        """See `Painter.paint`."""
        if self._streamed is not None:
            return canvas.paste(self._streamed.rows(x, y, width, height), left, top)
        plane = self._planes[level]

        def place(index: int) -> None:
            row, col = divmod(index, plane.columns)
            tile_y, tile_x = row * plane.tile_height, col * plane.tile_width
            y0, y1 = max(tile_y, y), min(tile_y + plane.tile_height, y + height)
            x0, x1 = max(tile_x, x), min(tile_x + plane.tile_width, x + width)
            # A tile used whole will not be asked for again by a reader that walks on; keeping it would only push
            # out those at block borders, and spread decoding over cold memory.
            part = (y1 - y0) * (x1 - x0) < plane.tile_height * plane.tile_width
            tile = self._tile(level, index, keep=part)
            canvas.paste(tile[y0 - tile_y : y1 - tile_y, x0 - tile_x : x1 - tile_x], left + x0 - x, top + y0 - y)

        return cache.in_threads(place, list(_touched(plane, x, y, width, height)))

    def _tile(self, level: int, index: int, *, keep: bool) -> NDArray[np.uint8]:
        """(h, w, 3) RGB of a native tile. Without `keep` it is this thread's only until its next tile."""
        plane = self._planes[level]
        if not plane.counts[:, index].all():
            return np.full((plane.tile_height, plane.tile_width, 3), 255, np.uint8)
        # By place in the file: some writers let all empty tiles point to the same bytes.
        key = (self.name, self._serial, level, plane.offsets[:, index].tobytes(), plane.counts[:, index].tobytes())
        held = cache.CACHE.get(key)
        if held is not None:
            return held
        raws = [self._raw(plane, index, channel) for channel in range(len(plane.offsets))]
        try:
            tile = plane.decode(raws, index, not keep)
        except Exception as error:  # Codecs raise their own kinds, one per codec.
            raise SlideError(
                f"{self._path}: tile {index} of level {level} ({plane.level.width} × {plane.level.height} px) "
                f"cannot be decoded ({error}); the file is damaged, copy it again from its source"
            ) from error
        if keep:
            cache.CACHE.put(key, tile)
        return tile

    def _raw(self, plane: _Plane, index: int, channel: int = 0) -> bytes:
        return os.pread(self._file, int(plane.counts[channel, index]), int(plane.offsets[channel, index]))

    def native(self, level: int) -> NativeTiles | None:
        """See `Reader.native`."""
        plane = self._planes[level]
        return plane.native(raw=partial(self._raw, plane)) if plane.native else None

    def associated(self) -> dict[str, NDArray[np.uint8]]:
        """See `Reader.associated`."""
        found = {}
        with tifffile.TiffFile(self._path) as tiff:
            for name, index in self._associated.items():
                plane = _plane(self._path, tiff.pages[index].aspage())
                reader = TiffReader(self._path, Header((plane.level,), None), (plane,), {})
                found[name] = reader.read_level(0, 0, 0, plane.level.width, plane.level.height)
                reader.close()
        return found

    def close(self) -> None:
        """See `Reader.close`."""
        if self._streamed is not None:
            self._streamed.close()
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


def _plane(path: Path, page: tifffile.TiffPage, first: tifffile.TiffPage | None = None) -> _Plane:
    """The page's tiles; `first` is level 0 where the page is a reduced level of it."""
    first = first or page
    width, height = int(page.imagewidth), int(page.imagelength)
    tile_width, tile_height = tile_size(page)
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    channels = 1 if page.planarconfig == PLANARCONFIG.CONTIG else int(page.samplesperpixel)
    offsets, counts = _segments(path, page, tile_height, columns * rows * channels)
    return _Plane(
        level=Level(width, height, downsample_of((int(first.imagewidth), int(first.imagelength)), (width, height))),
        tile_width=tile_width,
        tile_height=tile_height,
        columns=columns,
        offsets=offsets.reshape(channels, -1),
        counts=counts.reshape(channels, -1),
        decode=decoder_of(page, tile_height, tile_width),
        native=_native(page, columns, rows),
    )


def _segments(
    path: Path, page: tifffile.TiffPage, tile_height: int, expected: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(expected,) offsets and byte counts. Raises SlideError where some are missing or lie outside of the file."""
    offsets, counts = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
    if is_raw(page) and len(offsets) == 1:
        offsets, counts = _cut_strip(page, int(offsets[0]), tile_height)
    if len(offsets) < expected or len(counts) < expected:
        raise SlideError(f"{path}: {expected} tiles expected, {len(offsets)} listed; the file is damaged")
    offsets, counts = offsets[:expected], counts[:expected]
    counts[offsets == 0] = 0
    file_size = path.stat().st_size
    # Not by their sum, which overflows where both are absurd.
    inside = (offsets >= 0) & (offsets <= file_size) & (counts >= 0) & (counts <= file_size - offsets)
    if not inside.all():
        end = max(int(offset) + int(count) for offset, count in zip(offsets, counts, strict=True))
        raise SlideError(
            f"{path}: truncated, pixel data end at byte {end:,} and the file has {file_size:,}; "
            "copy it again from its source"
        )
    return offsets, counts


def _cut_strip(page: tifffile.TiffPage, offset: int, tile_height: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One strip of the whole picture, uncompressed, as strips of `tile_height` rows."""
    row_bytes = int(page.imagewidth) * int(page.samplesperpixel) * int(page.bitspersample) // 8
    tops = np.arange(0, int(page.imagelength), tile_height, dtype=np.int64)
    heights = np.minimum(tile_height, int(page.imagelength) - tops)
    return offset + tops * row_bytes, heights * row_bytes * (offset > 0)  # 0: the file leaves the strip out


# What every program opens: libtiff (so OpenSlide), Bio-Formats and tifffile alike.
_COPIED = JPEG | {COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.DEFLATE, COMPRESSION.ADOBE_DEFLATE}


def _native(page: tifffile.TiffPage, columns: int, rows: int) -> Callable[..., NativeTiles] | None:
    """What `Reader.native` says of the page, but for the bytes; None where its tiles are not to be copied."""
    rgb = page.photometric == PHOTOMETRIC.RGB and not (page.compression in JPEG and page.is_jfif)
    coloured = rgb or (page.photometric == PHOTOMETRIC.YCBCR and page.compression in JPEG)
    chunky = page.samplesperpixel == 3 and page.planarconfig == PLANARCONFIG.CONTIG and page.bitspersample == 8
    plain = page.predictor in (1, 2) and page.fillorder == 1 and page.is_tiled
    if page.compression not in _COPIED or not (coloured and chunky and plain):
        return None
    return partial(
        NativeTiles,
        tile_width=int(page.tilewidth),
        tile_height=int(page.tilelength),
        columns=columns,
        rows=rows,
        compression=int(page.compression),
        photometric=int(page.photometric),
        predictor=int(page.predictor),
        subsampling=page.subsampling,
        jpeg_tables=page.jpegtables,
    )
