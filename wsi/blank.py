"""Which candidate tiles are blank, decided on full-resolution pixels, by Dask: one task per band of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed
from numpy.typing import NDArray

from wsi.geometry import TileGrid
from wsi.ink import ink_pixels
from wsi.slide import Slide, open_slide
from wsi.source import Source, written_ns
from wsi.stream import BLOCK_PX, read_tiles

REASONS = ("", "bright", "flat", "ink")


@dataclass(frozen=True)
class BlankOptions:
    """A tile is blank when almost all of it is bright, when it shows no structure, or when it is ink.

    max_bright: share of pixels brighter than `bright_level` (darkest channel, 0-255) above which it is "bright".
    min_contrast: standard deviation of luminance (0-255) below which it is "flat".
    max_ink: share of ink-coloured pixels above which it is "ink".
    """

    bright_level: int = 215
    max_bright: float = 0.97
    min_contrast: float = 3.0
    max_ink: float = 0.5


@dataclass(frozen=True)
class TileStats:
    """Per tile, aligned with `index` (N,): shares of bright and ink pixels, contrast (luminance std, 0-255)."""

    index: NDArray[np.int64]
    bright: NDArray[np.float32]
    contrast: NDArray[np.float32]
    ink: NDArray[np.float32]

    def reasons(self, options: BlankOptions) -> NDArray[np.str_]:
        """(N,) why each tile is blank; '' where it is not."""
        chosen = np.select(
            [
                self.bright > options.max_bright,
                self.contrast < options.min_contrast,
                self.ink > options.max_ink,
            ],
            [1, 2, 3],
            default=0,
        )
        reasons: NDArray[np.str_] = np.array(REASONS)[chosen]
        return reasons


def measure(pixels: NDArray[np.uint8], bright_level: int) -> tuple[NDArray[np.float32], ...]:
    """(bright, contrast, ink), each (N,), of tiles (N, h, w, 3)."""
    bright = (pixels.min(axis=3) > bright_level).mean(axis=(1, 2), dtype=np.float32)
    contrast = pixels.mean(axis=3, dtype=np.float32).std(axis=(1, 2))
    ink = np.array([ink_pixels(tile).mean() for tile in pixels], np.float32)
    return bright, contrast, ink


def tile_stats(
    slide_path: Source,
    grid: TileGrid,
    wanted: NDArray[np.bool_],
    options: BlankOptions,
    *,
    mpp: float | None = None,
    scheduler: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> TileStats:
    """Measure the wanted tiles of a grid; wanted is (rows, cols) bool.

    slide_path: a slide or slide.json that every worker can open, with `mpp` where the file does not say it.
    scheduler: address of a running Dask scheduler (tcp://...); None: threads of this process, and
    then progress is told the share done, 0 to 1.
    """
    band = max(1, BLOCK_PX // grid.spec.stride_px)
    tops = [top for top in range(0, grid.rows, band) if wanted[top : top + band].any()]
    work = delayed(_band_stats, pure=False)
    tasks = [work(slide_path, mpp, grid, wanted[top : top + band], top, options.bright_level) for top in tops]
    done = _compute(tasks, scheduler, progress)
    columns = [np.concatenate([part[i] for part in done]) if done else np.empty(0) for i in range(4)]
    return TileStats(columns[0].astype(np.int64), *(column.astype(np.float32) for column in columns[1:]))


def _compute(
    tasks: list[object], scheduler: str | None, progress: Callable[[float], None] | None
) -> list[tuple[NDArray[np.float32], ...]]:
    if scheduler is None:
        with _Told(progress):
            return list(compute(*tasks, scheduler="threads"))
    from distributed import Client

    with Client(scheduler, timeout="30s") as client:
        return list(client.gather(client.compute(tasks)))


def _band_stats(
    slide_path: Source, mpp: float | None, grid: TileGrid, wanted: NDArray[np.bool_], top: int, bright_level: int
) -> tuple[NDArray[np.float32], ...]:
    slide = _kept_open(slide_path, mpp, written_ns(slide_path))
    rows = np.zeros((grid.rows, grid.cols), bool)
    rows[top : top + len(wanted)] = wanted
    parts = [(block.index, *measure(block.pixels, bright_level)) for block in read_tiles(slide, grid, rows)]
    return tuple(np.concatenate([part[i] for part in parts]) for i in range(4))


@lru_cache(maxsize=4)
def _kept_open(slide_path: Source, mpp: float | None, last_written_ns: int) -> Slide:
    """Open a slide once a worker, not once a band; one that was written anew is another slide."""
    del last_written_ns  # part of the key
    return open_slide(slide_path, mpp)


class _Told(Callback):
    """Tells `progress` the share of Dask tasks done."""

    def __init__(self, progress: Callable[[float], None] | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._progress = progress

    def _posttask(self, *event: Any) -> None:
        # Dask hands over (key, result, graph, state, worker).
        state = event[3]
        if self._progress is not None:
            done, left = len(state["finished"]), sum(len(state[name]) for name in ("ready", "waiting", "running"))
            self._progress(done / max(1, done + left))
