"""overlay.ome.tif: every level is painted by itself, from the source's pixels of that level."""

from __future__ import annotations

import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffFileError

from wsi.atomic import refuse_overwriting
from wsi.errors import SlideError
from wsi.geometry import Box
from wsi.memory import keep_freed_memory
from wsi.overlay.options import OverlayOptions
from wsi.overlay.painter import Brush, Painter
from wsi.overlay.plan import OverlayPlan, Run, plan_overlay
from wsi.overlay.view import View
from wsi.readers import cache
from wsi.scores import TileScores
from wsi.slide import Slide
from wsi.stream import ahead
from wsi.writers.copying import BAND_PX, level_rows
from wsi.writers.halving import halve_down
from wsi.writers.ome import Facts
from wsi.writers.pyramid import PyramidFile, writing_pyramid

# Tiles that a thread takes at once, and chunks of them that wait for their turn in the file.
_CHUNK, _WAITING = 8, 4 * cache.WORKERS

# What overlay.ome.tif says of itself to people and programs, in its OME description.
_BELONGS = "Heat overlay by Tesela, research use only. slide={slide} predictions={predictions}"
_BELONGS_PATTERN = re.compile(r"slide=(\w*) predictions=(\w*)")

Progress = Callable[[float], None]


def write_overlay(
    path: Path,
    slide: Slide,
    scores: TileScores,
    options: OverlayOptions,
    progress: Progress | None = None,
    predictions: str = "",
) -> None:
    """Write the slide with its colours as a pyramid (see `wsi.writers.pyramid`). progress is told 0 to 1.

    predictions: SHA-256 of the table that the scores are from; with the slide's fingerprint it goes into the file's
    description, see `overlay_provenance`.
    Native JPEG tiles that nothing is painted on are copied byte for byte; with quality 0, so are lossless ones.
    Raises SlideError where the file cannot be written, such as on a full disk; nothing is left behind then.
    """
    scores.grid.check_slide(slide.size, slide.mpp, slide.name)
    refuse_overwriting(path, slide.path)
    painter, plan = Painter(scores, options), plan_overlay(slide, options.quality)
    # Where the file does not say its mpp, somebody gave it when the tiles were cut.
    text = _BELONGS.format(slide=scores.slide, predictions=predictions) if predictions else ""
    facts = Facts(slide.mpp or scores.grid.slide_mpp, slide.header.objective_power, slide.icc_profile, text)
    keep_freed_memory()
    try:
        with writing_pyramid(path, plan.levels, facts) as pyramid:
            _Work(slide, painter, plan, pyramid, progress).run()
    except SlideError:
        raise
    except OSError as error:
        free = shutil.disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
        raise SlideError(
            f"{path}: cannot be written ({error.strerror or error}), {free / 1e9:.1f} GB are free there; "
            "nothing was kept, make room and run again"
        ) from error


def overlay_provenance(path: Path) -> tuple[str, str]:
    """(fingerprint of the slide, SHA-256 of the predictions) that an overlay.ome.tif was painted of; "" where unknown.

    Raises OSError where the file cannot be read.
    """
    try:
        with TiffFile(path) as tiff:
            found = _BELONGS_PATTERN.search(tiff.pages.first.description)
    except (TiffFileError, IndexError) as error:
        raise OSError(f"{path}: no TIFF file ({error})") from error
    return (found[1], found[2]) if found else ("", "")


class _Work:
    """One overlay being written."""

    def __init__(
        self, slide: Slide, painter: Painter, plan: OverlayPlan, pyramid: PyramidFile, progress: Progress | None
    ) -> None:
        self._slide, self._plan, self._pyramid, self._progress = slide, plan, pyramid, progress
        self._brushes = [
            painter.on(View.of_level((level.width, level.height), 2**power)) for power, level in enumerate(plan.levels)
        ]
        # Of each run, the rows of its first level pass once for its tiles and once for the levels halved from it.
        passes = [run.sizes[0] for run in plan.runs for each in (run.first in plan.copied, self._builds(run)) if each]
        self._total_px, self._done_px = sum(width * height for width, height in passes), 0.0

    def run(self) -> None:
        """All levels."""
        for run in self._plan.runs:
            if run.first in self._plan.copied:
                self._copy(run.first)
            if self._builds(run):
                self._build(run)
        if self._progress is not None:
            self._progress(1.0)

    def _builds(self, run: Run) -> bool:
        return run.first not in self._plan.copied or len(run.sizes) > 1

    def _told(self, px: float) -> None:
        self._done_px += px
        if self._progress is not None:
            self._progress(min(1.0, self._done_px / self._total_px))

    def _copy(self, level: int) -> None:
        """A level's native tiles: as they are where nothing is painted, else decoded, painted and encoded."""
        tiles, stored = self._plan.copied[level], self._plan.levels[level]
        of_tiles = _Tiles(self._slide, self._plan, level, self._brushes[level])
        waiting: deque[tuple[int, Future[list[bytes]]]] = deque()

        def put() -> None:
            start, future = waiting.popleft()
            data = future.result()
            for index, one in enumerate(data, start):
                self._pyramid.put(level, index, one)
            self._told(len(data) / count * stored.width * stored.height)

        count = tiles.rows * tiles.columns
        for start in range(0, count, _CHUNK):
            waiting.append((start, cache.submit(of_tiles.stored, range(start, min(start + _CHUNK, count)))))
            if len(waiting) > _WAITING:
                put()
        while waiting:
            put()

    def _build(self, run: Run) -> None:
        """Levels that are encoded as a whole: the first of the run, if it is not copied, and those halved from it."""
        (width, height), built = run.sizes[0], self._plan.built

        def bands() -> Iterator[NDArray[np.uint8]]:
            for top in range(0, height, BAND_PX):
                rows = level_rows(self._slide, run.first, (width, height), top)
                yield rows
                self._told(rows.shape[0] * width)

        def encode(index: int, top: int, band: NDArray[np.uint8]) -> None:
            level = run.first + index
            if level not in self._plan.copied:
                self._pyramid.encode(level, top, band, built, self._brushes[level].paint)

        with closing(ahead(bands(), 1)) as read:
            halve_down(read, run.sizes, built.tile_px, encode)


class _Tiles:
    """The native tiles of a copied level on their way into the overlay."""

    def __init__(self, slide: Slide, plan: OverlayPlan, level: int, brush: Brush) -> None:
        self._slide, self._brush = slide, brush
        self._native, self._level, self._scale = plan.copied[level], plan.levels[level], 2**level
        self._quality = plan.quality(level) if plan.built.codec == "jpeg" else 0

    def stored(self, indices: range) -> list[bytes]:
        """Their bytes."""
        return [self._one(index) for index in indices]

    def _one(self, index: int) -> bytes:
        level, scale = self._level, self._scale
        row, column = divmod(index, level.columns)
        left, top = column * level.tile_width, row * level.tile_height
        width, height = min(level.tile_width, level.width - left), min(level.tile_height, level.height - top)
        if not self._brush.touches(left, top, width, height):
            return self._native.raw(index)
        box = Box(left * scale, top * scale, width * scale, height * scale)
        return level.encode(self._brush.paint(self._slide.read_to(box, (width, height)), left, top), self._quality)
