"""`Slide.read(box, mpp)`: any region of any slide, at any physical resolution, as RGB."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.errors import MppError
from wsi.fingerprint import Identity, identity
from wsi.fingerprint import fingerprint as fingerprint_of
from wsi.geometry import MPP_REMEDY, Box, Level
from wsi.icc import Icc, ToSrgb
from wsi.levels import level_notes, unlike_the_finest
from wsi.readers import Header, Reader, open_reader
from wsi.readers.base import COARSEST_CREDIBLE_MPP, FINEST_CREDIBLE_MPP, MPP_UNKNOWN, NativeTiles, credible
from wsi.readers.canvas import Canvas, paint
from wsi.shrink import LARGEST_READ_PX, shrunk
from wsi.slideinfo import SlideInfo
from wsi.source import Source, source_of


class Slide:
    """An open slide. Safe with threads; pickles as its path, and is reopened on the other side."""

    def __init__(
        self,
        path: Source,
        reader: Reader,
        mpp: tuple[float, float] | None = None,
        icc: Icc = "as-is",
        fingerprint: str | None = None,
        unused_levels: tuple[int, ...] | None = None,
    ) -> None:
        self.path = path
        self._fingerprint = fingerprint
        self._reader = reader
        self._given_mpp = mpp
        self._unused_levels = unused_levels
        self.icc = icc
        profile = reader.header.icc_profile if icc == "srgb" else None
        self._to_srgb = ToSrgb(profile, path.name) if profile else None
        self.mpp = mpp or reader.header.mpp

    @property
    def name(self) -> str:
        """File name, for messages."""
        return self.path.name

    @property
    def fingerprint(self) -> str:
        """Which slide it is, see `wsi.fingerprint`; of a conversion that a slide.json points to, that of its source."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint_of(self.path)
        return self._fingerprint

    @property
    def reader_name(self) -> str:
        """Which reader decodes it."""
        return self._reader.name

    @property
    def icc_profile(self) -> bytes | None:
        """The colour profile of what is read; None where there is none, or where pixels are read through it: sRGB."""
        return self.header.icc_profile if self.icc == "as-is" else None

    @property
    def size(self) -> tuple[int, int]:
        """Level-0 (width, height) in px."""
        finest = self._reader.header.levels[0]
        return finest.width, finest.height

    @property
    def bounds(self) -> Box:
        """The whole slide."""
        return Box(0, 0, *self.size)

    @property
    def unused_levels(self) -> tuple[int, ...]:
        """Levels of the file that are not read, by their number in it: they do not show what level 0 shows.

        Looked at when this or a reduced level is first asked for, which decodes a few patches (`wsi.levels`), unless
        the slide was opened with them: a slide.json keeps them.
        """
        if self._unused_levels is None:
            self._unused_levels = unlike_the_finest(self._reader)
        return self._unused_levels

    @cached_property
    def header(self) -> Header:
        """What the file says, without the levels that are not used."""
        header, unused = self._reader.header, self.unused_levels
        levels = tuple(level for index, level in enumerate(header.levels) if index not in unused)
        return replace(header, levels=levels, notes=header.notes + level_notes(header.levels, unused))

    def require_mpp(self) -> tuple[float, float]:
        """(x, y) µm per level-0 px; raises MppError, with the reason and the remedy, where unknown."""
        if self.mpp is None:
            doubts = (note for note in self._reader.header.notes if note.endswith(MPP_UNKNOWN))
            raise MppError(f"{self.name}: {next(doubts, 'no mpp in the file')}; {MPP_REMEDY}")
        return self.mpp

    def read(self, box: Box, mpp: float | None = None) -> NDArray[np.uint8]:
        """(h, w, 3) RGB of a level-0 box, resampled to `mpp` µm/px (None: level-0 pixels as they are).

        h and w are the box's sides times slide mpp ÷ `mpp`, rounded. Outside the slide pixels are white.
        Raises MppError where `mpp` is asked of a slide whose own is unknown, SlideError where decoding fails.
        """
        if mpp is None:
            return self.read_to(box, (box.width, box.height))
        own = self.require_mpp()
        return self.read_to(box, (max(1, round(box.width * own[0] / mpp)), max(1, round(box.height * own[1] / mpp))))

    def read_to(self, box: Box, size_px: tuple[int, int]) -> NDArray[np.uint8]:
        """(height, width, 3) RGB of a level-0 box, resampled to `size_px` (width, height).

        Shrinks by area from the coarsest level that is still fine enough; exact where no resampling is
        needed. Otherwise edges are rounded to whole px of that level: a shift of at most half a level px.
        A region too large to hold is shrunk block by block: memory does not grow with it.
        """
        index, left, top, width, height = self._level_box(box, size_px)
        shrinks = width >= size_px[0] and height >= size_px[1]
        if width * height > LARGEST_READ_PX and shrinks and (width, height) != size_px:
            return shrunk(partial(self._read_padded, index), left, top, width, height, size_px)
        pixels = self._read_padded(index, left, top, width, height)
        if (width, height) == size_px:
            return pixels
        resized = cv2.resize(pixels, size_px, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        return np.asarray(resized, np.uint8)

    def read_squares(self, box: Box, columns: int, rows: int, side_px: int, row_step: int = 1) -> NDArray[np.uint8]:
        """(rows, columns, side_px, side_px, 3) RGB: what `read_to` gives of the box, cut into squares.

        row_step: of each square only every so many px rows, from its first on; all pixels are decoded all the same.
        """
        size_px = (columns * side_px, rows * side_px)
        canvas = Canvas(rows, columns, side_px, side_px, row_step)
        index, left, top, width, height = self._level_box(box, size_px)
        if (width, height) == size_px and self._to_srgb is None:
            self._paint_padded(index, left, top, width, height, canvas)
        else:
            canvas.paste(self.read_to(box, size_px), 0, 0)
        return canvas.cells

    def thumbnail(self, longest_px: int) -> NDArray[np.uint8]:
        """(h, w, 3) RGB of the whole slide, its longer side at most `longest_px`."""
        width, height = self.size
        scale = max(1.0, max(width, height) / longest_px)
        return self.read_to(self.bounds, (max(1, round(width / scale)), max(1, round(height / scale))))

    def native(self, level: int) -> NativeTiles | None:
        """See `Reader.native`."""
        return self._reader.native(self._in_file(level))

    def native_size(self, downsample: float) -> tuple[float, float] | None:
        """Level-0 px (width, height) of the native tiles that reading at `downsample` decodes; None where unknown."""
        index = self._level_for(downsample)
        tiles, scale = self.native(index), self._level(index).downsample
        return None if tiles is None else (tiles.tile_width * scale, tiles.tile_height * scale)

    def associated(self) -> dict[str, NDArray[np.uint8]]:
        """See `Reader.associated`: a label and a macro may show a patient's name."""
        return self._reader.associated()

    def _level_box(self, box: Box, size_px: tuple[int, int]) -> tuple[int, int, int, int, int]:
        """(level, left, top, width, height) in px of the level to read a box from when `size_px` is wanted."""
        index = self._level_for(min(box.width / size_px[0], box.height / size_px[1]))
        scale = self._level(index).downsample
        left, top = round(box.x / scale), round(box.y / scale)
        width, height = round(box.right / scale) - left, round(box.bottom / scale) - top
        return index, left, top, max(1, width), max(1, height)

    def _level_for(self, downsample: float) -> int:
        """The coarsest level that is not coarser than `downsample`; rounding is forgiven by 1 %."""
        if all(level.downsample > downsample * 1.01 for level in self._reader.header.levels[1:]):
            return 0  # whatever the reduced levels show
        fine = [i for i, level in enumerate(self.header.levels) if level.downsample <= downsample * 1.01]
        return fine[-1] if fine else 0

    def _level(self, index: int) -> Level:
        return self.header.levels[index] if index else self._reader.header.levels[0]

    def _in_file(self, index: int) -> int:
        """A level's number for the reader."""
        count = len(self._reader.header.levels)
        return [number for number in range(count) if number not in self.unused_levels][index] if index else 0

    def _read_padded(self, index: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        canvas = Canvas.region(width, height)
        inside = self._paint_padded(index, x, y, width, height, canvas)
        pixels = canvas.picture
        if self._to_srgb is not None and inside is not None:
            pixels[inside] = self._to_srgb(pixels[inside])
        return pixels

    def _paint_padded(
        self, index: int, x: int, y: int, width: int, height: int, canvas: Canvas
    ) -> tuple[slice, slice] | None:
        """Fill `canvas` from a level, with white where that has nothing. Returns (rows, cols) of what it has."""
        level = self._level(index)
        x0, x1 = max(x, 0), min(x + width, level.width)
        y0, y1 = max(y, 0), min(y + height, level.height)
        if (x0, y0, x1, y1) != (x, y, x + width, y + height):
            canvas.cells[:] = 255
        if x0 >= x1 or y0 >= y1:
            return None
        paint(self._reader, self._in_file(index), x0, y0, x1 - x0, y1 - y0, canvas, x0 - x, y0 - y)
        return slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)

    def info(self, source: Source | None = None) -> SlideInfo:
        """What slide.json says; `source` is the user's file where `path` is a conversion of it."""
        header, (width, height) = self.header, self.size
        known = "given" if self._given_mpp else "file"
        of_source = identity(source or self.path)
        of_pixels = Identity("", "") if source is None else identity(self.path)
        return SlideInfo(
            path=str(self.path),
            source=str(source or self.path),
            reader=self._reader.name,
            width=width,
            height=height,
            mpp=self.mpp,
            mpp_source=known if self.mpp else "unknown",
            objective_power=header.objective_power,
            levels=header.levels,
            bounds_offset=header.bounds_offset,
            random_access=header.random_access,
            has_icc_profile=header.icc_profile is not None,
            icc=self.icc,
            fingerprint=of_source.fingerprint,
            stamp=of_source.stamp,
            notes=header.notes + self._colour_notes(),
            pixels_fingerprint=of_pixels.fingerprint,
            pixels_stamp=of_pixels.stamp,
            unused_levels=self.unused_levels,
        )

    def _colour_notes(self) -> tuple[str, ...]:
        if self.icc == "srgb" and self._to_srgb is None:
            return ("no ICC profile in the file: its colours are taken for sRGB",)
        return ()

    def close(self) -> None:
        """Release file handles."""
        if self._unused_levels is None:
            self.header = self._reader.header  # what the file says stays known; its levels cannot be looked at any more
        self._reader.close()

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.path, self._given_mpp, self.icc, self._fingerprint, self._unused_levels)


def open_slide(
    path: Source | str,
    mpp: tuple[float, float] | float | None = None,
    icc: Icc | None = None,
    unused_levels: tuple[int, ...] | None = None,
) -> Slide:
    """Open a slide, one scene of a file (PATH#N), or what a slide.json points to. `mpp` overrides what the file says.

    icc: "srgb" applies the slide's colour profile to all that is read; None: as slide.json says, else "as-is".
    unused_levels: see `Slide.unused_levels`; None: as slide.json says, else they are looked at.

    Of addresses (https://, s3://, memory://...: what fsspec opens) OME-Zarr is read, and nothing else.

    Raises SlideError, with the file and what to do, where it cannot be read.
    """
    path = source_of(path)
    given = (mpp, mpp) if isinstance(mpp, int | float) else mpp
    if given is not None and not credible(given):
        raise MppError(
            f"{path.name}: an mpp of {given[0]:g} is not possible; give µm per pixel, such as 0.5 "
            f"({FINEST_CREDIBLE_MPP:g} to {COARSEST_CREDIBLE_MPP:g})"
        )
    if isinstance(path, Path) and path.suffix == ".json":
        info = SlideInfo.load(path)
        info.require_unchanged(path)
        unused = info.unused_levels if unused_levels is None else unused_levels
        return _reopened(source_of(info.path), given or info.mpp, icc or info.icc, info.fingerprint, unused)
    return Slide(path, open_reader(path), given, icc or "as-is", unused_levels=unused_levels)


def _reopened(
    path: Source,
    mpp: tuple[float, float] | None,
    icc: Icc,
    fingerprint: str | None,
    unused_levels: tuple[int, ...] | None,
) -> Slide:
    """An open slide of which more is known than its file says."""
    return Slide(path, open_reader(path), mpp, icc, fingerprint, unused_levels)
