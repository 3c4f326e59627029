"""Tiles in bulk: read a block once, cut its tiles out. Nothing is decoded twice but at block borders."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsi.geometry import TileGrid
from wsi.slide import Slide

# Side of a block in grid px. Measured on an 18,048 × 15,936 JPEG pyramid: 1,024 loses a fifth to block borders,
# beyond 4,096 nothing is gained and memory grows.
BLOCK_PX = 2048

T = TypeVar("T")


@dataclass(frozen=True)
class TileBlock:
    """Tiles cut from one block: `index` (N,) = row * cols + col; `pixels` (N, size_px, size_px, 3) RGB."""

    index: NDArray[np.int64]
    pixels: NDArray[np.uint8]


def read_tiles(slide: Slide, grid: TileGrid, wanted: NDArray[np.bool_]) -> Iterator[TileBlock]:
    """The wanted tiles of a grid, block by block.

    wanted: (rows, cols) bool. Blocks come row by row; within one, so do the tiles.
    """
    per_block = max(1, BLOCK_PX // grid.spec.stride_px)
    for top in range(0, grid.rows, per_block):
        for left in range(0, grid.cols, per_block):
            rows, cols = np.nonzero(wanted[top : top + per_block, left : left + per_block])
            if len(rows):
                yield _cut(slide, grid, rows + top, cols + left)


def _cut(slide: Slide, grid: TileGrid, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> TileBlock:
    """Read the rectangle that holds the given tiles, and cut them out of it."""
    stride, size = grid.spec.stride_px, grid.spec.size_px
    x0, y0 = int(cols.min()) * stride, int(rows.min()) * stride
    width = int(cols.max()) * stride + size - x0
    height = int(rows.max()) * stride + size - y0
    block = slide.read_to(grid.grid_box(x0, y0, width, height), (width, height))
    pixels = np.empty((len(rows), size, size, 3), np.uint8)
    for number, (x, y) in enumerate(zip(cols * stride - x0, rows * stride - y0, strict=True)):
        pixels[number] = block[y : y + size, x : x + size]
    return TileBlock(rows * grid.cols + cols, pixels)


def ahead(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """The same items, made by a thread that runs at most `depth` of them ahead.

    An error in the thread is raised here. Leaving the loop early ends the thread.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[T | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
            put((None, None))
        except BaseException as error:  # handed over and raised on the other side
            put((None, error))

    thread = threading.Thread(target=work, name="tesela-read", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stopped.set()
        thread.join()
