"""All 128-px tiles of a slide: Tesela's blocks ÷ plain decoding of its native tiles, and ÷ an OpenSlide loop."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import tifffile

from benchmarks.figures import Figure, paired_seconds, speed_ratio
from wsi.geometry import TileGrid, TileSpec
from wsi.slide import Slide, open_slide
from wsi.stream import read_tiles

_THREADS = 2
_REPEATS = 5
# Native tiles handed to a decoding thread at once: one takes 0.4 ms, and handing it over should not count.
_CHUNK = 32


def measure(name: str, path: Path) -> list[Figure]:
    """`read.vs_decode`, `read.vs_openslide` and `read.half_vs_decode` on one slide."""
    with open_slide(path) as slide:
        mpp = slide.require_mpp()[0]
        grid = TileGrid.of(TileSpec(128, mpp, 128), slide.size, slide.mpp, name=slide.name)
        half_grid = TileGrid.of(TileSpec(128, 2 * mpp, 128), slide.size, slide.mpp, name=slide.name)
    count = grid.rows * grid.cols
    ours, half = partial(_ours, path, grid), partial(_half, path, half_grid)
    decode = partial(_decode_only, path)
    beside_loop, loop = paired_seconds(ours, lambda: _openslide_loop(path, grid), _REPEATS)
    beside_rows, rows = paired_seconds(ours, lambda: _openslide_rows(path, grid), 2)
    beside_decode, decoded = paired_seconds(ours, decode, _REPEATS)
    halves, beside_half = paired_seconds(half, decode, _REPEATS)
    speeds = (
        f"{count / min(beside_decode):,.0f} tiles/s; OpenSlide {count / min(loop):,.0f}, a handle a thread and by rows "
        f"{count / min(rows):,.0f} (× {speed_ratio(beside_rows, rows):.2f}); decoding {count / min(decoded):,.0f}"
    )
    suffix = "" if name == "colorectal" else f".{name}"
    decoding = f"imagecodecs decoding the same native tiles and nothing else, {_THREADS} threads"
    return [
        Figure(
            f"read.vs_openslide{suffix}",
            speed_ratio(beside_loop, loop),
            "×",
            f"OpenSlide loop, tile by tile, {_THREADS} threads, one handle, all {count:,} tiles of {path.name}",
            8.0,
            detail=speeds,
        ),
        Figure(f"read.vs_decode{suffix}", speed_ratio(beside_decode, decoded), "×", decoding, 0.6, detail=speeds),
        Figure(
            f"read.half_vs_decode{suffix}",
            speed_ratio(halves, beside_half),
            "×",
            f"{decoding}; ours at half the resolution, from level 0",
            0.4,
            detail=f"{half_grid.rows * half_grid.cols / min(halves):,.0f} tiles/s of {half_grid.spec.mpp:.4g} mpp",
        ),
    ]


def _half(path: Path, grid: TileGrid) -> int:
    """As if the file had no reduced level."""
    with open_slide(path) as slide:
        reduced = tuple(range(1, len(slide.header.levels)))
    with open_slide(path, unused_levels=reduced) as slide:
        return _read(slide, grid)


def _ours(path: Path, grid: TileGrid) -> int:
    with open_slide(path) as slide:
        return _read(slide, grid)


def _read(slide: Slide, grid: TileGrid) -> int:
    wanted = np.ones((grid.rows, grid.cols), bool)
    return sum(len(block.index) for block in read_tiles(slide, grid, wanted))


def _openslide_loop(path: Path, grid: TileGrid) -> None:
    """As most people write it: one slide, a pool of threads, one tile a task."""
    slide = openslide.OpenSlide(path)

    def read(number: int) -> None:
        row, col = divmod(number, grid.cols)
        box = grid.box(col, row)
        np.asarray(slide.read_region((box.x, box.y), 0, (box.width, box.height)).convert("RGB"))

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(read, range(grid.rows * grid.cols)):
            pass


def _openslide_rows(path: Path, grid: TileGrid) -> None:
    """The kindest to OpenSlide that was tried: a handle of its own for each thread, a row of tiles a task."""
    local = threading.local()

    def read(row: int) -> None:
        if not hasattr(local, "slide"):
            local.slide = openslide.OpenSlide(path)
        for col in range(grid.cols):
            box = grid.box(col, row)
            np.asarray(local.slide.read_region((box.x, box.y), 0, (box.width, box.height)).convert("RGB"))

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(read, range(grid.rows)))


def _decode_only(path: Path) -> None:
    """The bound: every native tile's bytes, in memory already, through libjpeg-turbo."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        tables, offsets, counts = page.jpegtables, page.dataoffsets, page.databytecounts
    raw = path.read_bytes()

    def decode(start: int) -> None:
        for at, length in zip(offsets[start : start + _CHUNK], counts[start : start + _CHUNK], strict=True):
            imagecodecs.jpeg8_decode(raw[at : at + length], tables=tables, outcolorspace="RGB")

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(decode, range(0, len(offsets), _CHUNK)))
