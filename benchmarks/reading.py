"""All 128-px tiles of a slide: Tesela's blocks ÷ an OpenSlide loop, tile by tile; and ÷ plain decoding."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import tifffile

from benchmarks.figures import Figure, paired_seconds, speed_ratio
from wsi.geometry import TileGrid, TileSpec
from wsi.slide import open_slide
from wsi.stream import read_tiles

_THREADS = 2
_REPEATS = 3


def measure(name: str, path: Path) -> list[Figure]:
    """`read.vs_openslide` and `read.vs_decode` on one slide."""
    with open_slide(path) as slide:
        mpp = slide.require_mpp()[0]
        grid = TileGrid.of(TileSpec(128, mpp, 128), slide.size, slide.mpp, name=slide.name)
    count = grid.rows * grid.cols
    ours, loop = paired_seconds(lambda: _ours(path, grid), lambda: _openslide_loop(path, grid), _REPEATS)
    beside_rows, rows = paired_seconds(lambda: _ours(path, grid), lambda: _openslide_rows(path, grid), _REPEATS)
    beside_decode, decode = paired_seconds(lambda: _ours(path, grid), lambda: _decode_only(path), _REPEATS)
    speeds = (
        f"{count / min(ours):,.0f} tiles/s; OpenSlide {count / min(loop):,.0f}, by rows {count / min(rows):,.0f} "
        f"(× {speed_ratio(beside_rows, rows):.2f}); decoding {count / min(decode):,.0f}"
    )
    suffix = "" if name == "colorectal" else f".{name}"
    return [
        Figure(
            f"read.vs_openslide{suffix}",
            speed_ratio(ours, loop),
            "×",
            f"OpenSlide loop, tile by tile, {_THREADS} threads, one handle, all {count:,} tiles of {path.name}",
            6.0,
            detail=speeds,
        ),
        Figure(
            f"read.vs_decode{suffix}",
            speed_ratio(beside_decode, decode),
            "×",
            f"decoding the same native tiles and nothing else, {_THREADS} threads",
            0.6,
            detail=speeds,
        ),
    ]


def _ours(path: Path, grid: TileGrid) -> int:
    with open_slide(path) as slide:
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
    with tifffile.TiffFile(path) as tiff, ThreadPoolExecutor(_THREADS) as pool:
        page = tiff.pages.first
        tables, raw = page.jpegtables, path.read_bytes()

        def decode(index: int) -> None:
            start, length = page.dataoffsets[index], page.databytecounts[index]
            page.decode(raw[start : start + length], index, jpegtables=tables)

        list(pool.map(decode, range(len(page.dataoffsets))))
