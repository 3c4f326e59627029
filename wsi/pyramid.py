"""Write a pyramid that OpenSlide, QuPath/Bio-Formats and tifffile all open with every level.

No ordinary layout does: SubIFDs show OpenSlide one level, a plain page chain shows Bio-Formats one. So this
writes OME-TIFF with SubIFDs and then links IFD 0 → SubIFD 1 → SubIFD 2 ... as a chain too; no pixel moves.
Memory is a few bands of rows, whatever the slide's size: reduced levels are built from the bands as they pass.
"""

from __future__ import annotations

import struct
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi.atomic import writing
from wsi.readers import cache

# Encoded tiles of reduced levels wait in memory up to this size, then on disk.
_SPOOL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class PyramidOptions:
    """How pixels are stored: JPEG quality (0: lossless deflate) and the side of native tiles."""

    quality: int = 87
    tile_px: int = 256

    @property
    def compression(self) -> str:
        """Tifffile's name of the codec."""
        return "jpeg" if self.quality else "adobe_deflate"

    def encode(self, tile: NDArray[np.uint8]) -> bytes:
        """One (tile_px, tile_px, 3) RGB tile as the bytes that go into the file."""
        if self.quality:
            return bytes(
                imagecodecs.jpeg8_encode(
                    tile, level=self.quality, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"
                )
            )
        return bytes(imagecodecs.zlib_encode(tile.tobytes(), level=6))


def level_sizes(width: int, height: int, tile_px: int) -> list[tuple[int, int]]:
    """(width, height) of every level: halved, rounded down, until one tile holds it."""
    sizes = [(width, height)]
    while max(sizes[-1]) > tile_px and min(sizes[-1]) > 1:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes


def write_pyramid(
    path: Path,
    bands: Iterable[NDArray[np.uint8]],
    size: tuple[int, int],
    mpp: tuple[float, float] | None,
    options: PyramidOptions = PyramidOptions(),
    icc_profile: bytes | None = None,
) -> None:
    """Write an RGB pyramid to `path`, which has its name only once it is whole.

    bands: (rows, width, 3) uint8 from top to bottom, of any height; together they are `size` (width, height).
    mpp: (x, y) µm per px, left out of the file where None.
    """
    sizes = level_sizes(*size, options.tile_px)
    levels = [_Level(width, height, options) for width, height in sizes]
    with writing(path) as temporary:
        # A UUID of its own making would differ in every run.
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{path.parent.name}/{path.name} {size}")
        with tifffile.TiffWriter(temporary, bigtiff=True, ome=True) as tiff:
            for index, level in enumerate(levels):
                tiff.write(
                    _feed(levels, bands) if index == 0 else level.spooled(),
                    shape=(level.height, level.width, 3),
                    dtype=np.uint8,
                    tile=(options.tile_px, options.tile_px),
                    photometric="rgb",
                    compression=options.compression,
                    subifds=len(levels) - 1 if index == 0 else 0,
                    subfiletype=0 if index == 0 else 1,
                    metadata=_ome_metadata(mpp, identity) if index == 0 else None,
                    iccprofile=icc_profile if index == 0 else None,
                    **_resolution(mpp, 2**index),
                )
        _link_levels(temporary)


def _ome_metadata(mpp: tuple[float, float] | None, identity: uuid.UUID) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": "YXS", "UUID": f"urn:uuid:{identity}"}
    if mpp is not None:
        metadata |= {"PhysicalSizeX": mpp[0], "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": mpp[1], "PhysicalSizeYUnit": "µm"}
    return metadata


def _resolution(mpp: tuple[float, float] | None, downsample: int) -> dict[str, Any]:
    if mpp is None:
        return {}
    return {"resolution": (1e4 / mpp[0] / downsample, 1e4 / mpp[1] / downsample), "resolutionunit": "CENTIMETER"}


@dataclass
class _Level:
    """One level being written: gathers rows into rows of tiles, and hands halved rows on."""

    width: int
    height: int
    options: PyramidOptions
    _rows: list[NDArray[np.uint8]] = field(default_factory=list)
    _held: int = 0
    _lengths: list[int] = field(default_factory=list)
    _spool: IO[bytes] = field(default_factory=lambda: tempfile.SpooledTemporaryFile(_SPOOL_BYTES))  # noqa: SIM115

    def push(self, rows: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """Add rows; yields every full band of `tile_px` rows that this completes."""
        self._rows.append(rows)
        self._held += len(rows)
        while self._held >= self.options.tile_px:
            yield self._take(self.options.tile_px)

    def rest(self) -> Iterator[NDArray[np.uint8]]:
        """The last, incomplete band, if any."""
        if self._held:
            yield self._take(self._held)

    def _take(self, count: int) -> NDArray[np.uint8]:
        joined = self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)
        self._rows = [joined[count:]] if len(joined) > count else []
        self._held -= count
        return joined[:count]

    def encode(self, band: NDArray[np.uint8]) -> list[bytes]:
        """The band's tiles from left to right, encoded in threads; edge tiles repeat their last px."""
        side = self.options.tile_px

        def one(left: int) -> bytes:
            tile = band[:, left : left + side]
            missing = (side - tile.shape[0], side - tile.shape[1])
            if any(missing):
                tile = np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            return self.options.encode(np.ascontiguousarray(tile))

        return list(cache.POOL.map(one, range(0, self.width, side)))

    def spool(self, tiles: list[bytes]) -> None:
        """Keep encoded tiles until the finer level is written."""
        for tile in tiles:
            self._spool.write(tile)
            self._lengths.append(len(tile))

    def spooled(self) -> Iterator[bytes]:
        """What was kept, in order; then forgotten."""
        self._spool.seek(0)
        for length in self._lengths:
            yield self._spool.read(length)
        self._spool.close()


def _feed(levels: list[_Level], bands: Iterable[NDArray[np.uint8]]) -> Iterator[bytes]:
    """Encoded tiles of level 0, while the bands pass; reduced levels are spooled on the way."""
    done = 0
    for band in _regrouped(levels[0], bands):
        tiles = levels[0].encode(band)
        _reduce(levels, 1, band)
        done += len(band)
        if done == levels[0].height:
            # Before the last tiles go out: tifffile never asks for more than it needs, and closes what it is given.
            _finish(levels)
        yield from tiles


def _regrouped(level: _Level, bands: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Bands of `tile_px` rows. Raises ValueError where the rows are not those of the level.

    It must do so before the last band goes out: nobody asks for anything after that.
    """
    given = 0
    waiting = iter(bands)
    for rows in waiting:
        if rows.dtype != np.uint8 or rows.shape[1:] != (level.width, 3):
            raise ValueError(f"a band of {rows.shape} {rows.dtype}; (rows, {level.width}, 3) uint8 is needed")
        given += len(rows)
        if given >= level.height:
            given += sum(len(more) for more in waiting)
        if given > level.height:
            break
        yield from level.push(rows)
    if given != level.height:
        raise ValueError(f"{given} rows were given for a pyramid of {level.height}")
    yield from level.rest()


def _finish(levels: list[_Level]) -> None:
    for index, level in enumerate(levels[1:], start=1):
        for band in level.rest():
            level.spool(level.encode(band))
            _reduce(levels, index + 1, band)


def _reduce(levels: list[_Level], index: int, band: NDArray[np.uint8]) -> None:
    """Halve `band` into level `index`, and on down. An odd last row or column is dropped."""
    if index >= len(levels) or len(band) < 2:
        return
    level = levels[index]
    even = band[: len(band) // 2 * 2, : level.width * 2]
    half = np.asarray(cv2.resize(even, (level.width, len(even) // 2), interpolation=cv2.INTER_AREA), np.uint8)
    for full in level.push(half):
        level.spool(level.encode(full))
        _reduce(levels, index + 1, full)


def _link_levels(path: Path) -> None:
    """Set the next-IFD pointers IFD 0 → SubIFD 1 → SubIFD 2 ... (BigTIFF: 8-byte count, 20-byte entries)."""
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages.first
        offsets = [first.offset, *(page.offset for page in first.pages or ())]
        order = tiff.byteorder
    with path.open("r+b") as stream:
        for here, following in pairwise(offsets):
            stream.seek(here)
            (entries,) = struct.unpack(order + "Q", stream.read(8))
            stream.seek(here + 8 + 20 * entries)
            stream.write(struct.pack(order + "Q", following))
