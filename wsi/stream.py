"""Tiles in bulk: read a block once, cut its tiles out. Nothing is decoded twice but at block borders."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from wsi.geometry import TileGrid
from wsi.memory import keep_freed_memory
from wsi.readers import cache
from wsi.slide import Slide

# Side of a block in grid px. Speed of reading all tiles of an 18,048 × 15,936 JPEG pyramid on 2 cores, as a share of
# decoding its native tiles alone: 1.0 with blocks of 1,024, 0.97 with 2,048, 0.80 with 4,096 (colder memory).
BLOCK_PX = 1024

T = TypeVar("T")


@dataclass(frozen=True)
class TileBlock:
    """Tiles cut from one block: `index` (N,) = row * cols + col; `pixels` (N, size_px, size_px, 3) RGB.

    Where only some px rows were asked for, `pixels` is (N, ceil(size_px / row_step), size_px, 3).
    """

    index: NDArray[np.int64]
    pixels: NDArray[np.uint8]

    @classmethod
    def joined(cls, blocks: list[TileBlock]) -> TileBlock:
        """All tiles of some blocks, in their order."""
        if len(blocks) == 1:
            return blocks[0]
        return cls(np.concatenate([b.index for b in blocks]), np.concatenate([b.pixels for b in blocks]))


def read_tiles(slide: Slide, grid: TileGrid, wanted: NDArray[np.bool_]) -> Iterator[TileBlock]:
    """The wanted tiles of a grid, block by block.

    wanted: (rows, cols) bool. Blocks come row by row; within one, so do the tiles.
    """
    keep_freed_memory()
    waiting: deque[Future[TileBlock]] = deque()
    try:
        for rows, cols in _blocks(grid, wanted):
            waiting.append(cache.submit(cut_tiles, slide, grid, rows, cols))
            if len(waiting) > cache.WORKERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        wait(future for future in waiting if not future.cancel())


def _blocks(grid: TileGrid, wanted: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows, cols) of the wanted tiles in each block that has any."""
    per_block = max(1, BLOCK_PX // grid.spec.stride_px)
    for top in range(0, grid.rows, per_block):
        for left in range(0, grid.cols, per_block):
            rows, cols = np.nonzero(wanted[top : top + per_block, left : left + per_block])
            if len(rows):
                yield rows + top, cols + left


def cut_tiles(
    slide: Slide,
    grid: TileGrid,
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    *,
    row_step: int = 1,
    span: tuple[int, int] | None = None,
) -> TileBlock:
    """Read the rectangle that holds the tiles at (rows, cols), and cut them out of it.

    row_step: of each tile only every so many px rows, from its first on. span: read the grid's columns from the first
    to before the second, which hold `cols`: as far as native tiles reach, they are decoded all the same.
    """
    stride, size = grid.spec.stride_px, grid.spec.size_px
    left, right = span or (int(cols.min()), int(cols.max()) + 1)
    top, wide = int(rows.min()), right - left
    high = int(rows.max()) - top + 1
    width, height = (wide - 1) * stride + size, (high - 1) * stride + size
    box = grid.grid_box(left * stride, top * stride, width, height)
    if stride == size:
        squares = slide.read_squares(box, wide, high, size, row_step).reshape(high * wide, -1, size, 3)
    else:
        windows = sliding_window_view(slide.read_to(box, (width, height)), (size, size, 3))[::stride, ::stride, 0]
        squares = windows[..., ::row_step, :, :].reshape(high * wide, -1, size, 3)
    # `take`, because it lets other threads run, as indexing by an array does not.
    every = len(rows) == len(squares)
    pixels = squares if every else squares.take((rows - top) * wide + (cols - left), axis=0)
    return TileBlock(rows * grid.cols + cols, pixels)


def ahead(items: Iterator[T], depth: int = 2) -> Generator[T, None, None]:
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
