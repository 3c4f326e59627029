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
from wsi.source import Source, written_ns
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

    @classmethod
    def of(cls, slide: Slide) -> Opened:
        """The same pixels: where a slide.json points to, not the slide.json."""
        return cls(slide.path.absolute() if isinstance(slide.path, Path) else slide.path, slide.mpp, slide.icc)


@dataclass(frozen=True)
class Bands:
    """How rows of tiles are shared out: `rows` of tiles to a task, which reads them `strip` rows at a time."""

    rows: int
    strip: int

    @classmethod
    def of(cls, grid: TileGrid, native_px: float) -> Bands:
        """Bands of a grid, for native tiles `native_px` grid px high.

        Strips and bands end where native tiles do, so that no native tile is decoded by two tasks, where a few rows of
        tiles are as high as a few native tiles; else those at the borders of bands are decoded twice.
        """
        stride = grid.spec.stride_px
        strip = _aligned(stride / native_px)
        least = max(1, round(BAND_PX / stride), math.ceil(grid.rows / MOST_BANDS))
        return cls(-(-least // strip) * strip, strip)


def _aligned(native_tiles: float) -> int:
    """The fewest rows of tiles that end with a native tile, each `native_tiles` high; 1 where they would be many."""
    for rows in range(1, _MOST_IN_STEP + 1):
        high = rows * native_tiles
        if high > 0.5 and abs(high - round(high)) < 1e-6:
            return rows
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
    band = delayed(partial(_band_stats, opened, grid, bands.strip, measures), pure=False)
    parts = [(top, wanted[top : top + bands.rows]) for top in range(0, grid.rows, bands.rows)]
    # Long bands first: who is done early then waits for a short one. Dask starts with the task whose name sorts last.
    parts = sorted((part for part in parts if part[1].any()), key=lambda part: np.count_nonzero(part[1]))
    run = uuid.uuid4().hex
    tasks = [band(*part, dask_key_name=f"tiles-{run}-{number:04d}") for number, part in enumerate(parts)]
    with _KEPT.lent(opened, slide):
        return TileStats.joined(workers.run(tasks, progress)).in_order()


def _native_px(slide: Slide, grid: TileGrid) -> float:
    """Height of the native tiles that reading the grid decodes, in grid px."""
    downsample = grid.downsample[1]
    return (slide.native_height(min(grid.downsample)) or _USUAL_NATIVE_PX * downsample) / downsample


def _band_stats(
    opened: Opened, grid: TileGrid, strip: int, measures: Measures, top: int, wanted: NDArray[np.bool_]
) -> TileStats:
    """Numbers of the wanted tiles of the rows of the grid from `top` on; wanted: (rows of the band, cols) bool."""
    keep_freed_memory()
    slide = _KEPT.slide(opened)
    longest, least = _at_once(grid.spec, strip, measures.row_step)
    parts = []
    # Dask runs as many tasks as there are cores: threads of our own beside its would only take turns with them.
    with cache.in_this_thread():
        runs = _runs(wanted, strip, longest)
        blocks = (cut_tiles(slide, grid, rows + top, cols, measures.row_step) for rows, cols in runs)
        for block in _joined(blocks, least):
            parts.append(TileStats(block.index, measures.of(block.pixels, grid.spec.mpp)))
    return TileStats.joined(parts)


def _at_once(spec: TileSpec, strip: int, row_step: int) -> tuple[int, int]:
    """(longest run of columns, least number of tiles that are measured at once) that keep memory small."""
    most_tiles = _CUT_BYTES // (-(-spec.size_px // row_step) * spec.size_px * 3)
    longest = min(_RUN_PX // spec.stride_px, most_tiles // strip)
    return max(1, longest), max(1, min(_MEASURED_AT_ONCE, most_tiles // 2))


def _runs(wanted: NDArray[np.bool_], strip: int, longest: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows, cols) of wanted tiles, strip by strip: columns without a gap, at most `longest` of them at a time."""
    for top in range(0, len(wanted), strip):
        part = wanted[top : top + strip]
        columns = np.flatnonzero(part.any(axis=0))
        for run in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1):
            for start in range(0, len(run), longest):
                cols = run[start : start + longest]
                rows, inside = np.nonzero(part[:, cols])
                yield rows + top, cols[inside]


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
                self._slides[key] = open_slide(opened.path, opened.mpp, opened.icc)
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
