"""Numbers of a slide's tiles by Dask: one task a band of rows of native tiles.

Workers open slides by path and keep them open. What travels to them is a path, the grid and which tiles are wanted;
what comes back is a few numbers a tile.
"""

from __future__ import annotations

import math
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from dask.delayed import delayed
from numpy.typing import NDArray

from wsi.geometry import TileGrid, TileSpec
from wsi.icc import Icc
from wsi.memory import keep_freed_memory
from wsi.readers import cache
from wsi.slide import Slide, open_slide
from wsi.source import Source, file_of, with_file, written_ns
from wsi.stream import TileBlock, cut_tiles
from wsi.tilestats import Measures, TileStats
from wsi.workers import THREADS, Progress, Workers

# Least height of a band, in grid px. Low bands share the work out evenly; too many cost Dask more than they are worth:
# at most so many a slide.
BAND_PX, MOST_BANDS = 512, 200
# Longest run of tiles in a row that is read at once, in grid px, and least number of tiles that are measured at once:
# at every call threads wait for the interpreter's lock, so few calls; but the pixels should fit into a core's cache.
_RUN_PX, _MEASURED_AT_ONCE = 8192, 256
# Most bytes of cut tiles in either: tiles that overlap much hold far more pixels than what is read for them. Tiles of
# 512 px, 32 px apart, on 2 threads: the process grows to 380 MB in 3.0 s; with 32 MB, to 610 MB in 6.8 s.
_CUT_BYTES = 12 << 20
# Where a reader does not say how high its native tiles are, in px of the level that is read.
_USUAL_NATIVE_PX = 256
_MOST_IN_STEP = 8
_MOST_KEPT = 4


@dataclass(frozen=True)
class Opened:
    """How every worker opens the slide: a path that is absolute, since its folder is another, or an address."""

    path: Source
    mpp: tuple[float, float] | None
    icc: Icc
    unused_levels: tuple[int, ...]

    @classmethod
    def of(cls, slide: Slide) -> Opened:
        """The same pixels: where a slide.json points to, not the slide.json."""
        file = file_of(slide.path)
        path = with_file(slide.path, file.absolute()) if isinstance(file, Path) else slide.path
        return cls(path, slide.mpp, slide.icc, slide.unused_levels)


@dataclass(frozen=True)
class Bands:
    """How rows of tiles are shared out: `rows` of tiles to a task, which reads them `strip` rows at a time.

    Of a strip, tiles are read by whole groups of `across` columns.
    """

    rows: int
    strip: int
    across: int

    @classmethod
    def of(cls, grid: TileGrid, native_px: tuple[float, float]) -> Bands:
        """Bands of a grid, for native tiles `native_px` (width, height) grid px large.

        Strips, bands and groups end where native tiles do, so that no native tile is decoded by two tasks or kept for
        the next read, where a few tiles are as high and wide as a few native tiles; else those at the borders are.
        """
        stride = grid.spec.stride_px
        across, strip = (_aligned(stride / side) for side in native_px)
        least = max(1, round(BAND_PX / stride), math.ceil(grid.rows / MOST_BANDS))
        return cls(-(-least // strip) * strip, strip, across)


def _aligned(native_tiles: float) -> int:
    """The fewest tiles that end with a native tile, each `native_tiles` high or wide; 1 where they would be many."""
    for tiles in range(1, _MOST_IN_STEP + 1):
        length = tiles * native_tiles
        if length > 0.5 and abs(length - round(length)) < 1e-6:
            return tiles
    return max(1, round(1 / native_tiles))


def tile_stats(
    slide: Slide,
    grid: TileGrid,
    wanted: NDArray[np.bool_],
    measures: Measures,
    *,
    workers: Workers = THREADS,
    progress: Progress | None = None,
) -> TileStats:
    """Measure the wanted tiles of a grid; wanted is (rows, cols) bool. Native tiles that none touches are not decoded.

    slide: one that every worker can open by the same absolute path or address.
    """
    bands, opened = Bands.of(grid, _native_px(slide, grid)), Opened.of(slide)
    band = delayed(partial(_band_stats, opened, grid, bands, measures), pure=False)
    parts = [(top, wanted[top : top + bands.rows]) for top in range(0, grid.rows, bands.rows)]
    # Long bands first: who is done early then waits for a short one. Dask starts with the task whose name sorts last.
    parts = sorted((part for part in parts if part[1].any()), key=lambda part: np.count_nonzero(part[1]))
    run = uuid.uuid4().hex
    tasks = [band(*part, dask_key_name=f"tiles-{run}-{number:04d}") for number, part in enumerate(parts)]
    with _KEPT.lent(opened, slide):
        return TileStats.joined(workers.run(tasks, progress)).in_order()


def _native_px(slide: Slide, grid: TileGrid) -> tuple[float, float]:
    """(width, height) of the native tiles that reading the grid decodes, in grid px."""
    across, down = grid.downsample
    width, height = slide.native_size(min(across, down)) or (_USUAL_NATIVE_PX * across, _USUAL_NATIVE_PX * down)
    return width / across, height / down


def _band_stats(
    opened: Opened, grid: TileGrid, bands: Bands, measures: Measures, top: int, wanted: NDArray[np.bool_]
) -> TileStats:
    """Numbers of the wanted tiles of the rows of the grid from `top` on; wanted: (rows of the band, cols) bool."""
    keep_freed_memory()
    slide = _KEPT.slide(opened)
    longest, least = _at_once(grid.spec, bands, measures.row_step)
    parts = []
    # Dask runs as many tasks as there are cores: threads of our own beside its would only take turns with them.
    with cache.in_this_thread():
        blocks = (
            cut_tiles(slide, grid, rows + top, cols, row_step=measures.row_step, span=span)
            for rows, cols, span in _runs(wanted, bands, longest)
        )
        for block in _joined(blocks, least):
            parts.append(TileStats(block.index, measures.of(block.pixels, grid.spec.mpp)))
    return TileStats.joined(parts)


def _at_once(spec: TileSpec, bands: Bands, row_step: int) -> tuple[int, int]:
    """(longest run of columns, least number of tiles that are measured at once) that keep memory small."""
    most_tiles = _CUT_BYTES // (-(-spec.size_px // row_step) * spec.size_px * 3)
    longest = min(_RUN_PX // spec.stride_px, most_tiles // bands.strip)
    return max(1, longest), max(1, min(_MEASURED_AT_ONCE, most_tiles // 2))


def _runs(
    wanted: NDArray[np.bool_], bands: Bands, longest: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], tuple[int, int]]]:
    """(rows, cols, span) of wanted tiles, strip by strip: groups of columns without a gap, about `longest` columns."""
    at_once = max(1, longest // bands.across)
    for top in range(0, len(wanted), bands.strip):
        part = wanted[top : top + bands.strip]
        groups = np.unique(np.flatnonzero(part.any(axis=0)) // bands.across)
        for run in np.split(groups, np.flatnonzero(np.diff(groups) > 1) + 1):
            for start in range(0, len(run), at_once):
                some = run[start : start + at_once]
                left = int(some[0]) * bands.across
                right = min((int(some[-1]) + 1) * bands.across, wanted.shape[1])
                rows, cols = np.nonzero(part[:, left:right])
                yield rows + top, cols + left, (left, right)


def _joined(blocks: Iterable[TileBlock], least: int) -> Iterator[TileBlock]:
    """The same tiles in blocks of at least so many, but for the last."""
    held: list[TileBlock] = []
    for block in blocks:
        held.append(block)
        if sum(len(part.index) for part in held) >= least:
            yield TileBlock.joined(held)
            held = []
    if held:
        yield TileBlock.joined(held)


class _Kept:
    """Slides that stay open between the bands of one worker: the last few, and those that a caller has lent.

    A slide whose file was written anew is another slide.
    """

    def __init__(self) -> None:
        self._slides: OrderedDict[tuple[Opened, int], Slide] = OrderedDict()
        # Bands start at once: the first opens the slide, and the others wait for it.
        self._lock = threading.Lock()

    def slide(self, opened: Opened) -> Slide:
        """The slide, opened at its first use."""
        key = opened, written_ns(opened.path)
        with self._lock:
            if key not in self._slides:
                self._slides[key] = open_slide(opened.path, opened.mpp, opened.icc, opened.unused_levels)
                while len(self._slides) > _MOST_KEPT:
                    self._slides.popitem(last=False)
            return self._slides[key]

    @contextmanager
    def lent(self, opened: Opened, slide: Slide) -> Iterator[None]:
        """Within, bands that run in this process use the caller's slide."""
        key = opened, written_ns(opened.path)
        with self._lock:
            self._slides[key] = slide
        try:
            yield
        finally:
            with self._lock:
                self._slides.pop(key, None)


_KEPT = _Kept()
