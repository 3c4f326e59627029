"""The native tiles of one TIFF page: where their bytes lie, and how they become RGB."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

from wsi.errors import SlideError
from wsi.geometry import Level, downsample_of
from wsi.readers.base import NativeTiles
from wsi.readers.streamed import streamed_values
from wsi.readers.tiff.decode import Decode, decoder_of, is_raw, is_streamed, stored_of, tile_size
from wsi.readers.tiff.pixels import JPEG, alpha_of, colour_samples, colours_of, holds_jfif, is_deep
from wsi.readers.values import Values, looked_at

# Tiles that lie this close in the file are read in one call, up to so many bytes: file systems of clusters answer
# slowly, and every call hands the interpreter's lock to another thread.
_GAP_BYTES, _RUN_BYTES = 16 << 10, 4 << 20


class Part(NamedTuple):
    """Rows and columns of a tile, where in a rectangle they belong, and whether they are the whole tile."""

    rows: slice
    columns: slice
    x: int
    y: int
    whole: bool


@dataclass(frozen=True)
class Plane:
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

    def part(self, index: int, x: int, y: int, width: int, height: int) -> Part:
        """What a tile has of a rectangle that it touches."""
        row, column = divmod(index, self.columns)
        top, left = row * self.tile_height, column * self.tile_width
        y0, y1 = max(top, y), min(top + self.tile_height, y + height)
        x0, x1 = max(left, x), min(left + self.tile_width, x + width)
        whole = (y1 - y0, x1 - x0) == (self.tile_height, self.tile_width)
        return Part(slice(y0 - top, y1 - top), slice(x0 - left, x1 - left), x0 - x, y0 - y, whole)

    def touched(self, x: int, y: int, width: int, height: int) -> list[int]:
        """Indices of the tiles that hold part of a rectangle, row by row."""
        rows = range(y // self.tile_height, (y + height - 1) // self.tile_height + 1)
        columns = range(x // self.tile_width, (x + width - 1) // self.tile_width + 1)
        return [row * self.columns + column for row in rows for column in columns]

    def read(self, file: int, indices: Sequence[int]) -> list[list[bytes]]:
        """For each tile the bytes of each of its channels; empty where the file leaves the tile out.

        Raises EOFError where the file was cut after it was opened.
        """
        places = [
            (int(offsets[index]), int(counts[index]))
            for index in indices
            for offsets, counts in zip(self.offsets, self.counts, strict=True)
        ]
        found, channels = _read_runs(file, places), len(self.offsets)
        return [found[start : start + channels] for start in range(0, len(found), channels)]


def _read_runs(file: int, places: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes at each (offset, count); what lies close together is read at once."""
    found = [b""] * len(places)
    order = sorted((number for number, (_, count) in enumerate(places) if count), key=places.__getitem__)
    start = 0
    while start < len(order):
        first, end = places[order[start]][0], sum(places[order[start]])
        stop = start + 1
        while stop < len(order):
            offset, count = places[order[stop]]
            if offset - end > _GAP_BYTES or offset + count - first > _RUN_BYTES:
                break
            end, stop = max(end, offset + count), stop + 1
        run = os.pread(file, end - first, first)
        if len(run) < end - first:
            raise EOFError(f"{end - first:,} bytes are to be read at {first:,}, and the file ends after {len(run):,}")
        for number in order[start:stop]:
            offset, count = places[number]
            found[number] = run[offset - first : offset - first + count]
        start = stop
    return found


def plane_of(
    path: Path, page: tifffile.TiffPage, first: tifffile.TiffPage | None = None, values: Values | None = None
) -> Plane:
    """The page's tiles; `first` is level 0 where the page is a reduced level of it; values: see `values_of`."""
    first = first or page
    width, height = int(page.imagewidth), int(page.imagelength)
    tile_width, tile_height = tile_size(page)
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    channels = 1 if page.planarconfig == PLANARCONFIG.CONTIG else int(page.samplesperpixel)
    offsets, counts = _segments(path, page, tile_height, columns * rows * channels)
    return Plane(
        level=Level(width, height, downsample_of((int(first.imagewidth), int(first.imagelength)), (width, height))),
        tile_width=tile_width,
        tile_height=tile_height,
        columns=columns,
        offsets=offsets.reshape(channels, -1),
        counts=counts.reshape(channels, -1),
        decode=decoder_of(page, colours_of(page, first, values), tile_height, tile_width),
        native=_native(page, columns, rows, complete=bool(counts.all())),
    )


def values_of(path: Path, pages: Sequence[tifffile.TiffPage]) -> Values | None:
    """What a look at a slide's first and last level shows of its values; None where the header says enough.

    Tiles that cannot be decoded are passed over: reading them says what is wrong.
    """
    first = pages[0]
    if is_streamed(first):
        return streamed_values(path) if is_deep(first) else None
    if alpha_of(first) is None and not is_deep(first):
        return None
    file = os.open(path, os.O_RDONLY)
    try:
        return Values.joined(
            Values.of(tile, colour_samples(page), alpha_of(page))
            for page in {page.offset: page for page in (first, pages[-1])}.values()
            for tile in _some_tiles(path, page, first, file)
        )
    finally:
        os.close(file)


def _some_tiles(path: Path, page: tifffile.TiffPage, first: tifffile.TiffPage, file: int) -> Iterator[NDArray[Any]]:
    """(h, w, samples) of the tiles that are looked at, as they are stored."""
    plane = plane_of(path, page, first)
    stored = stored_of(page, plane.tile_height, plane.tile_width)
    for index in looked_at(plane.level, plane.offsets.shape[1]):
        with suppress(Exception):
            raws = plane.read(file, [index])[0]
            if all(raws):
                yield stored(raws, index)


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


def _native(page: tifffile.TiffPage, columns: int, rows: int, *, complete: bool) -> Callable[..., NativeTiles] | None:
    """What `Reader.native` says of the page, but for the bytes; None where its tiles are not to be copied."""
    rgb = page.photometric == PHOTOMETRIC.RGB and not holds_jfif(page)
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
        complete=complete,
    )
