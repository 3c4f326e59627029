"""Write a pyramid that OpenSlide, QuPath/Bio-Formats and tifffile all open with every level.

No ordinary layout does: SubIFDs show OpenSlide one level, a plain page chain shows Bio-Formats one. So the reduced
levels of this OME-TIFF are SubIFDs of level 0 and follow it in the chain too. Memory is a few bands of rows, whatever
the slide's size: tiles go into the file as their rows pass, and what lies where is written last.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi.atomic import writing
from wsi.errors import InputError
from wsi.readers import cache
from wsi.readers.base import NativeTiles
from wsi.writers.bigtiff import ASCII, LONG, LONG8, RATIONAL, SHORT, UNDEFINED, BigTiffFile, Tags, rational
from wsi.writers.halving import halve_down, level_sizes
from wsi.writers.ome import Facts, ome_xml

Codec = Literal["jpeg", "deflate", "lzw"]

# Values of the TIFF tags.
COMPRESSION_OF: dict[Codec, int] = {"jpeg": 7, "deflate": 8, "lzw": 5}
_RGB, _YCBCR, _BY_HORIZONTAL_DIFFERENCE = 2, 6, 2
_PER_CM = 3
_SOFTWARE = "Tesela"


@dataclass(frozen=True)
class PyramidOptions:
    """How pixels are stored: the codec, the JPEG quality (1 to 100) and the side of native tiles."""

    codec: Codec = "jpeg"
    quality: int = 87
    tile_px: int = 256

    def __post_init__(self) -> None:
        if self.codec not in get_args(Codec):
            raise InputError(f"no codec {self.codec!r}; give {', '.join(get_args(Codec))}")
        if not 1 <= self.quality <= 100:
            raise InputError(f"a JPEG quality of {self.quality}; give 1 to 100, or a lossless codec")
        check_tile_px(self.tile_px)

    @classmethod
    def of_quality(cls, quality: int) -> PyramidOptions:
        """JPEG of that quality; 0: lossless."""
        return cls(quality=quality) if quality else cls("deflate")

    def encode(self, tile: NDArray[np.uint8]) -> bytes:
        """One (tile_px, tile_px, 3) RGB tile as the bytes that go into the file."""
        if self.codec == "jpeg":
            return _jpeg(tile, self.quality, "YCBCR", (2, 2))
        return _lossless(tile, COMPRESSION_OF[self.codec], _BY_HORIZONTAL_DIFFERENCE)


def check_tile_px(tile_px: int) -> None:
    """Raise InputError where tiles of this side are no TIFF tiles."""
    if tile_px % 16 or not 16 <= tile_px <= 4096:
        raise InputError(f"tiles of {tile_px} px; give a multiple of 16, from 16 to 4096")


# (tile, x, y in px of its level) → the tile as it is to be stored.
Paint = Callable[[NDArray[np.uint8], int, int], NDArray[np.uint8]]


@dataclass(frozen=True)
class TiledLevel:
    """One level as it lies in the file: its size and how its tiles are stored, as TIFF tags have it."""

    width: int
    height: int
    tile_width: int
    tile_height: int
    compression: int
    photometric: int
    predictor: int = 1
    subsampling: tuple[int, int] | None = None
    jpeg_tables: bytes | None = None

    @classmethod
    def encoded(cls, size: tuple[int, int], options: PyramidOptions) -> TiledLevel:
        """A level whose tiles `options` encode."""
        side, compression = options.tile_px, COMPRESSION_OF[options.codec]
        if options.codec == "jpeg":
            return cls(*size, side, side, compression, _YCBCR, subsampling=(2, 2))
        return cls(*size, side, side, compression, _RGB, _BY_HORIZONTAL_DIFFERENCE)

    @classmethod
    def native(cls, size: tuple[int, int], tiles: NativeTiles) -> TiledLevel:
        """A level whose tiles are copied."""
        return cls(
            *size,
            tiles.tile_width,
            tiles.tile_height,
            tiles.compression,
            tiles.photometric,
            tiles.predictor,
            tiles.subsampling,
            tiles.jpeg_tables,
        )

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile_width)

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.height // self.tile_height)

    def white(self) -> bytes:
        """A white tile in this level's own format."""
        return self.encode(np.full((self.tile_height, self.tile_width, 3), 255, np.uint8), 90)

    def encode(self, tile: NDArray[np.uint8], quality: int) -> bytes:
        """(h, w, 3) RGB, a whole tile or less at the level's edge, in this level's own format; quality: of JPEG."""
        tile = _filled(tile, self.tile_height, self.tile_width)
        if self.compression == COMPRESSION_OF["jpeg"]:
            return _jpeg(tile, quality, "YCBCR" if self.photometric == _YCBCR else "RGB", self.subsampling or (1, 1))
        return _lossless(tile, self.compression, self.predictor)


def write_pyramid(
    path: Path,
    bands: Iterable[NDArray[np.uint8]],
    size: tuple[int, int],
    facts: Facts = Facts(),  # noqa: B008 - frozen, so sharing it is safe
    options: PyramidOptions = PyramidOptions(),
) -> None:
    """Write an RGB pyramid to `path`, which has its name only once it is whole.

    bands: (rows, width, 3) uint8 from top to bottom, of any height; together they are `size` (width, height).
    """
    sizes = level_sizes(*size, options.tile_px)
    with writing_pyramid(path, [TiledLevel.encoded(each, options) for each in sizes], facts) as pyramid:
        halve_down(bands, sizes, options.tile_px, lambda level, top, band: pyramid.encode(level, top, band, options))


@contextmanager
def writing_pyramid(path: Path, levels: Sequence[TiledLevel], facts: Facts) -> Iterator[PyramidFile]:
    """A pyramid to fill; on leaving the context it is complete and named, or gone.

    Raises InputError where a file lies there that Tesela did not write: it may be the only copy of a slide.
    """
    with writing(path, is_own) as temporary, temporary.open("wb", buffering=1 << 20) as stream:
        pyramid = PyramidFile(stream, levels)
        yield pyramid
        pyramid.finish(path.name.partition(".")[0], facts)


def is_own(path: Path) -> bool:
    """Whether Tesela wrote this TIFF."""
    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(tiff.pages.first.software == _SOFTWARE)
    except (OSError, ValueError, LookupError, tifffile.TiffFileError):
        return False


class PyramidFile:
    """A pyramid being written: tiles of any level in any order, then `finish`."""

    def __init__(self, stream: BinaryIO, levels: Sequence[TiledLevel]) -> None:
        self._levels = levels
        self._file = BigTiffFile(stream)
        self._offsets = [np.zeros(level.columns * level.rows, np.uint64) for level in levels]
        self._counts = [np.zeros(level.columns * level.rows, np.uint64) for level in levels]
        self._white: dict[int, int] = {}  # level → index of its white tile
        self._digest = hashlib.sha256()

    def encode(
        self, level: int, top: int, band: NDArray[np.uint8], options: PyramidOptions, paint: Paint | None = None
    ) -> None:
        """Rows of a level from `top` on, a multiple of the tile's side; edge tiles repeat their last px.

        paint: what each tile goes through on its way, in threads; `band` itself stays as it is.
        """
        side = options.tile_px
        places = [(y, x) for y in range(0, len(band), side) for x in range(0, band.shape[1], side)]

        def one(y: int, x: int) -> bytes:
            tile = band[y : y + side, x : x + side]
            painted = tile if paint is None else paint(tile, x, top + y)
            return options.encode(_filled(painted, side, side))

        first = top // side * self._levels[level].columns
        waiting = [cache.submit(one, y, x) for y, x in places]
        for number, future in enumerate(waiting):
            self._put(level, first + number, future.result())

    def copy(self, level: int, tiles: NativeTiles, row: int) -> None:
        """Copy a row of tiles as they are. One that the source lacks becomes white: the same one, wherever it is."""
        for index in range(row * tiles.columns, (row + 1) * tiles.columns):
            self.put(level, index, tiles.raw(index))

    def put(self, level: int, index: int, data: bytes) -> None:
        """A tile as it is to lie in the file; one without data becomes white."""
        if data:
            return self._put(level, index, data)
        if level not in self._white:
            self._put(level, index, self._levels[level].white())
            self._white[level] = index
        for table in (self._offsets[level], self._counts[level]):
            table[index] = table[self._white[level]]
        return None

    def _put(self, level: int, index: int, data: bytes) -> None:
        self._offsets[level][index] = self._file.append(data)
        self._counts[level][index] = len(data)
        self._digest.update(data)

    def finish(self, name: str, facts: Facts) -> None:
        """Write what lies where, and what is known of the slide."""
        describe = partial(ome_xml, name, (self._levels[0].width, self._levels[0].height), facts, len(self._levels))
        # A UUID of what the file holds: the same slide converted twice is the same file.
        self._digest.update(describe(""))
        identity = str(uuid.uuid5(uuid.NAMESPACE_OID, self._digest.hexdigest()))
        directories = [self._tags(index, facts.mpp) for index in range(len(self._levels))]
        directories[0][270] = (ASCII, describe(identity) + b"\0")
        if facts.icc_profile:
            directories[0][34675] = (UNDEFINED, facts.icc_profile)
        self._file.finish(directories, [self._picture(*each) for each in sorted(facts.pictures.items())])

    def _tags(self, index: int, mpp: tuple[float, float] | None) -> Tags:
        level = self._levels[index]
        tags = _picture_tags(level.width, level.height, level.compression, level.photometric, level.predictor)
        tags[254] = (LONG, [1 if index else 0])  # a reduced image
        tags[322], tags[323] = (LONG, [level.tile_width]), (LONG, [level.tile_height])
        tags[324], tags[325] = (LONG8, self._offsets[index]), (LONG8, self._counts[index])
        if mpp is not None:
            for tag, side in zip((282, 283), mpp, strict=True):
                tags[tag] = (RATIONAL, rational(1e4 / side / 2**index))
            tags[296] = (SHORT, [_PER_CM])
        if level.subsampling is not None and level.photometric == _YCBCR:
            tags[530] = (SHORT, level.subsampling)
        if level.jpeg_tables is not None:
            tags[347] = (UNDEFINED, level.jpeg_tables)
        return tags

    def _picture(self, name: str, pixels: NDArray[np.uint8]) -> Tags:
        """A label or macro: one strip, since OpenSlide takes what is tiled for a level."""
        height, width = pixels.shape[:2]
        data = _lossless(np.ascontiguousarray(pixels), COMPRESSION_OF["deflate"], _BY_HORIZONTAL_DIFFERENCE)
        tags = _picture_tags(width, height, COMPRESSION_OF["deflate"], _RGB, _BY_HORIZONTAL_DIFFERENCE)
        tags[254] = (LONG, [0])
        tags[270] = (ASCII, name.encode() + b"\0")
        tags[278] = (LONG, [height])
        tags[273], tags[279] = (LONG8, [self._file.append(data)]), (LONG8, [len(data)])
        return tags


def _picture_tags(width: int, height: int, compression: int, photometric: int, predictor: int) -> Tags:
    """What every directory has: 8-bit RGB, channels together."""
    tags: Tags = {256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [8, 8, 8])}
    tags |= {259: (SHORT, [compression]), 262: (SHORT, [photometric]), 277: (SHORT, [3]), 284: (SHORT, [1])}
    tags[305] = (ASCII, _SOFTWARE.encode() + b"\0")
    if predictor != 1:
        tags[317] = (SHORT, [predictor])
    return tags


def _filled(tile: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A tile of that size: what it lacks at the right and below repeats its last px."""
    missing = (height - tile.shape[0], width - tile.shape[1])
    if any(missing):
        tile = np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    return np.ascontiguousarray(tile)


def _jpeg(tile: NDArray[np.uint8], quality: int, colours: str, subsampling: tuple[int, int]) -> bytes:
    kind = f"4{4 // subsampling[0]}{4 // subsampling[0] if subsampling[1] == 1 else 0}"
    encoded = imagecodecs.jpeg8_encode(
        tile, level=quality, colorspace="RGB", outcolorspace=colours, subsampling=kind if colours == "YCBCR" else "444"
    )
    return bytes(encoded)


def _lossless(tile: NDArray[np.uint8], compression: int, predictor: int) -> bytes:
    if predictor == _BY_HORIZONTAL_DIFFERENCE:
        tile = imagecodecs.delta_encode(tile, axis=1)
    if compression == COMPRESSION_OF["lzw"]:
        return bytes(imagecodecs.lzw_encode(tile.tobytes()))
    if compression == 1:
        return tile.tobytes()
    return bytes(imagecodecs.deflate_encode(tile.tobytes(), level=6))
