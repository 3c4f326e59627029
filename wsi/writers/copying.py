"""A pyramid of a slide that is tiled already: its compressed tiles are copied, and only missing levels are encoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import Box
from wsi.readers.base import MAX_RANDOM_TILE_PX, NativeTiles
from wsi.slide import Slide
from wsi.stream import ahead
from wsi.writers.halving import halve_down, level_sizes
from wsi.writers.ome import Facts
from wsi.writers.pyramid import COMPRESSION_OF, Codec, PyramidOptions, TiledLevel, writing_pyramid

_CODEC_OF: dict[int, Codec] = {value: codec for codec, value in COMPRESSION_OF.items()}
# Tiles without compression, and deflate by its older name: copied as they are, with deflate for what is missing.
_CODEC_OF |= {1: "deflate", 32946: "deflate"}
# Rows that are read at once.
BAND_PX = 512


@dataclass(frozen=True)
class CopyPlan:
    """copied: level of the pyramid → the source's tiles of it.

    sizes: of the levels from `start` on, as they come from halving; level `start` is copied, and read for its pixels.
    built: how missing levels are stored. A pyramid that lacks nothing has `sizes` of one level.
    """

    copied: Mapping[int, NativeTiles]
    start: int
    sizes: tuple[tuple[int, int], ...]
    built: PyramidOptions
    levels: tuple[TiledLevel, ...]

    @property
    def codec(self) -> Codec:
        """Of the tiles that are copied."""
        return self.built.codec

    @property
    def missing(self) -> tuple[TiledLevel, ...]:
        """Levels that are encoded."""
        return tuple(level for index, level in enumerate(self.levels) if index not in self.copied)


def plan_copy(slide: Slide) -> CopyPlan | None:
    """How to make a pyramid without encoding what the slide has; None where its tiles cannot be copied.

    Level 0 must be copied, or nothing is; reduced levels are, where they are smaller by a power of 2 and lack no tile:
    scanners leave tiles out of those that the finer level has, and copied, they would be white.
    """
    copied, found = {}, {}
    for index, level in enumerate(slide.header.levels):
        power = math.log2(level.downsample)
        tiles = slide.native(index)
        if tiles is not None and power.is_integer() and _fits(tiles) and (index == 0 or tiles.complete):
            copied[int(power)], found[int(power)] = tiles, (level.width, level.height)
    if 0 not in copied:
        return None
    finest = copied[0]
    square = finest.tile_width == finest.tile_height
    built = PyramidOptions(_CODEC_OF[finest.compression], tile_px=finest.tile_width if square else 256)
    count = max(len(level_sizes(*slide.size, built.tile_px)), max(copied) + 1)
    start = next((index for index in range(count) if index not in copied), count) - 1
    sizes = [found[start]]
    while len(sizes) < count - start:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    levels = tuple(
        TiledLevel.native(found[index], copied[index])
        if index in copied
        else TiledLevel.encoded(sizes[index - start], built)
        for index in range(count)
    )
    return CopyPlan(copied, start, tuple(sizes), built, levels)


def _fits(tiles: NativeTiles) -> bool:
    """OME-TIFF takes these tiles as they are, and they are small enough to be read at random."""
    small = tiles.tile_width * tiles.tile_height <= MAX_RANDOM_TILE_PX
    return small and tiles.compression in _CODEC_OF and tiles.tile_width % 16 == 0 and tiles.tile_height % 16 == 0


def copy_pyramid(
    slide: Slide, path: Path, facts: Facts, plan: CopyPlan, progress: Callable[[float], None] | None = None
) -> None:
    """Write the pyramid. Missing levels are halved from the coarsest level before the first of them, read once."""
    rows = [(level, tiles, row) for level, tiles in sorted(plan.copied.items()) for row in range(tiles.rows)]
    tops = range(0, plan.sizes[0][1], BAND_PX) if plan.missing else range(0)
    steps = iter(range(1, len(rows) + len(tops) + 1))

    def told() -> None:
        if progress is not None:
            progress(next(steps) / (len(rows) + len(tops)))

    def encode(level: int, top: int, band: NDArray[np.uint8]) -> None:
        if plan.start + level not in plan.copied:
            pyramid.encode(plan.start + level, top, band, plan.built)

    def bands() -> Iterator[NDArray[np.uint8]]:
        for top in tops:
            yield level_rows(slide, plan.start, plan.sizes[0], top)
            told()

    with writing_pyramid(path, plan.levels, facts) as pyramid:
        for level, tiles, row in rows:
            pyramid.copy(level, tiles, row)
            told()
        if plan.missing:
            with closing(ahead(bands(), 1)) as read:
                halve_down(read, plan.sizes, plan.built.tile_px, encode)


def level_rows(slide: Slide, power: int, size: tuple[int, int], top: int) -> NDArray[np.uint8]:
    """(rows, width, 3) RGB of the level that is 2^power smaller, from row `top` of it on: BAND_PX rows at most."""
    height = min(BAND_PX, size[1] - top)
    scale = 2**power
    return slide.read_to(Box(0, top * scale, size[0] * scale, height * scale), (size[0], height))
