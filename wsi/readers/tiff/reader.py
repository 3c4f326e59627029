"""The TIFF family without OpenSlide: native tiles are decoded once, in threads, by tifffile's codecs."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC

from wsi.errors import SlideError
from wsi.icc import profile_notes, rgb_profile
from wsi.readers import cache
from wsi.readers.base import MAX_RANDOM_TILE_PX, Header, NativeTiles
from wsi.readers.canvas import Canvas
from wsi.readers.streamed import StreamedPicture
from wsi.readers.tiff.decode import is_streamed
from wsi.readers.tiff.meta import mpp_of, objective_power_of
from wsi.readers.tiff.pages import MAGIC, check_chain, level_pages, mask_notes, named_pages
from wsi.readers.tiff.pixels import full_scale_of, pixel_notes, unsupported
from wsi.readers.tiff.planes import Plane, plane_of, values_of

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

# JPEG 2000, WebP and JPEG XL may lose something, and do not always say so.
_LOSSLESS = (
    COMPRESSION.NONE,
    COMPRESSION.LZW,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
    COMPRESSION.PACKBITS,
    COMPRESSION.LZMA,
    COMPRESSION.ZSTD,
    COMPRESSION.PNG,
)


class TiffReader:
    """Tiled or striped TIFF: SVS, OME-TIFF, BigTIFF, COG, Philips, generic pyramids."""

    name = "tiff"

    def __init__(
        self,
        path: Path,
        header: Header,
        planes: tuple[Plane, ...],
        associated: dict[str, int],
        streamed: StreamedPicture | None = None,
        *,
        fills: bool = False,
    ) -> None:
        self.header = header
        self._path = path
        self._planes = planes
        self._associated = associated
        self._streamed = streamed
        self._fills = fills
        self._serial = next(_serial)
        self._file = os.open(path, os.O_RDONLY)

    @classmethod
    def open(cls, path: Path, scene: int = 0) -> TiffReader | None:
        """See `Reader.open`. NDPI, SCN, BIF and Trestle files are left to OpenSlide."""
        if not path.is_file():
            return None
        with path.open("rb") as stream:
            if stream.read(4) not in MAGIC:
                return None
        check_chain(path)
        try:
            with tifffile.TiffFile(path) as tiff:
                return cls._parse(path, tiff, scene)
        except SlideError:
            raise
        except _DAMAGED as error:
            raise SlideError(
                f"{path}: damaged TIFF ({type(error).__name__}: {error}); copy it again from its source"
            ) from error

    @classmethod
    def _parse(cls, path: Path, tiff: tifffile.TiffFile, scene: int) -> TiffReader | None:
        # Pages are looked through for levels, masks and labels: without this, tifffile parses them anew each time.
        tiff.pages.cache = True
        if len(tiff.pages) == 0:
            raise SlideError(f"{path}: a TIFF without an image in it, or cut short; copy it again from its source")
        # Their tiles overlap, or lie in an order of their own: read as a plain TIFF they would look nearly right.
        if tiff.is_ndpi or tiff.is_scn or tiff.is_bif or tiff.pages.first.software.startswith("MedScan"):
            return None
        pages, others = level_pages(path, tiff, scene)
        first = pages[0]
        reason = unsupported(first)
        if reason is not None:
            # libtiff takes indices without a palette for shades of grey.
            if first.is_tiled and first.photometric != PHOTOMETRIC.PALETTE and first.sampleformat == 1:
                return None  # OpenSlide, by libtiff, may know this combination.
            raise SlideError(f"{path}: {reason}; convert it to 8-bit RGB TIFF first")
        values = values_of(path, pages)
        planes = tuple(plane_of(path, page, first, values) for page in pages)
        mpp, notes = mpp_of(tiff, first)
        tag = first.tags.valueof("InterColorProfile")
        icc = tag if isinstance(tag, bytes) else None
        header = Header(
            levels=tuple(plane.level for plane in planes),
            mpp=mpp,
            objective_power=objective_power_of(tiff, first),
            icc_profile=rgb_profile(icc),
            random_access=bool(first.is_tiled) and planes[0].tile_width * planes[0].tile_height <= MAX_RANDOM_TILE_PX,
            notes=(*others, *notes, *pixel_notes(first, values), *profile_notes(icc), *mask_notes(tiff)),
            description=str(first.description),
            lossless=first.compression in _LOSSLESS,
        )
        width, height = planes[0].level.width, planes[0].level.height
        streamed = StreamedPicture(path, width, height, full_scale_of(first, values)) if is_streamed(first) else None
        return cls(path, header, planes, named_pages(tiff, pages), streamed, fills=bool(tiff.is_svs))

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

        def place(indices: Sequence[int]) -> None:
            held = [cache.CACHE.get((self.name, self._serial, level, index)) for index in indices]
            missing = [index for index, tile in zip(indices, held, strict=True) if tile is None]
            raws = iter(self._raws(plane, missing))
            for index, tile in zip(indices, held, strict=True):
                part = plane.part(index, x, y, width, height)
                # A tile used whole will not be asked for again by a reader that walks on; keeping it would only push
                # out those at block borders, and spread decoding over cold memory.
                if tile is None:
                    tile = self._decoded(level, index, next(raws), keep=not part.whole)
                canvas.paste(tile[part.rows, part.columns], left + part.x, top + part.y)

        return cache.in_chunks(place, plane.touched(x, y, width, height))

    def _raws(self, plane: Plane, indices: Sequence[int]) -> list[list[bytes]]:
        try:
            return plane.read(self._file, indices)
        except EOFError as error:
            raise SlideError(f"{self._path}: truncated ({error}); copy it again from its source") from error

    def _decoded(self, level: int, index: int, raws: Sequence[bytes], *, keep: bool) -> NDArray[np.uint8]:
        """(h, w, 3) RGB of a native tile. Without `keep` it is this thread's only until its next tile."""
        plane = self._planes[level]
        if not all(raws):
            return self._missing(level, index)
        try:
            tile = plane.decode(raws, index, not keep)
        except Exception as error:  # Codecs raise their own kinds, one per codec.
            raise SlideError(
                f"{self._path}: tile {index} of level {level} ({plane.level.width} × {plane.level.height} px) "
                f"cannot be decoded ({error}); the file is damaged, copy it again from its source"
            ) from error
        if keep:
            cache.CACHE.put((self.name, self._serial, level, index), tile)
        return tile

    def _missing(self, level: int, index: int) -> NDArray[np.uint8]:
        """A tile that the file leaves out: glass, so white. Only Aperio means something else in a reduced level.

        There the scanner did not get round to it, and it is made from the finer level, as OpenSlide makes it.
        """
        plane = self._planes[level]
        tile = np.full((plane.tile_height, plane.tile_width, 3), 255, np.uint8)
        if level == 0 or not self._fills:
            return tile
        finer = self._planes[level - 1].level
        scale = (finer.width / plane.level.width, finer.height / plane.level.height)
        row, column = divmod(index, plane.columns)
        x, y = column * plane.tile_width, row * plane.tile_height
        width, height = min(plane.tile_width, plane.level.width - x), min(plane.tile_height, plane.level.height - y)
        left, right = round(x * scale[0]), min(round((x + width) * scale[0]), finer.width)
        top, bottom = round(y * scale[1]), min(round((y + height) * scale[1]), finer.height)
        pixels = self.read_level(level - 1, left, top, right - left, bottom - top)
        tile[:height, :width] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        return tile

    def native(self, level: int) -> NativeTiles | None:
        """See `Reader.native`."""
        plane = self._planes[level]
        return plane.native(raw=lambda index: self._raws(plane, [index])[0][0]) if plane.native else None

    def associated(self) -> dict[str, NDArray[np.uint8]]:
        """See `Reader.associated`."""
        found = {}
        with tifffile.TiffFile(self._path) as tiff:
            for name, index in self._associated.items():
                plane = plane_of(self._path, tiff.pages[index].aspage())
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
