"""Many slides through one model: the next slide is read while the last is scored, and batches cross their borders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.predict.scorer import Scorer
from wsi.errors import SlideError, WsiError
from wsi.geometry import TileGrid
from wsi.provenance import require_slide
from wsi.scores import TileScores
from wsi.slide import Slide
from wsi.stream import ahead, read_tiles


@dataclass(frozen=True, eq=False)
class SlideJob:
    """A slide to score. open: called when its turn comes, where slides are read; wanted: (rows, cols) bool.

    tiles: the table that the grid is from, for messages; slide: the fingerprint in it, "" where a program laid it.
    """

    name: str
    open: Callable[[], AbstractContextManager[Slide]]
    grid: TileGrid
    wanted: NDArray[np.bool_]
    tiles: Path = Path()
    slide: str = ""


@dataclass(frozen=True, eq=False)
class Scored:
    """A slide that was scored."""

    name: str
    scores: TileScores


@dataclass(frozen=True)
class Failed:
    """A slide that could not be read, and why. The others go on."""

    name: str
    error: WsiError


@dataclass(frozen=True, eq=False)
class _Part:
    """Tiles of one slide on their way. job: its number. index: (n,) row * cols + col; pixels: (n, size, size, 3).

    ends: there are no more; error: why there are no more.
    """

    job: int
    index: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    ends: bool = False
    error: WsiError | None = None


def score_slides(
    scorer: Scorer, jobs: Iterable[SlideJob], progress: Callable[[int], None] | None = None
) -> Iterator[Scored | Failed]:
    """Every slide once, in order, each as soon as its last tile is scored; progress is told of tiles as they are.

    A tile's probabilities are the same, to the bit, as if its slide were scored alone. At most two batches and what
    their reading takes are held beside the scores. Raises WsiError where memory runs out.
    """
    waiting = list(jobs)
    found: dict[int, NDArray[np.float32]] = {}
    batches = _batches(_parts(scorer, waiting), scorer.options.batch_size)
    # A graphics card scores while the processor reads. On a processor both take turns: a reader beside it would hold up
    # each of the forward pass's threads, which wait for one another.
    for batch in ahead(batches) if scorer.device.type == "cuda" else batches:
        scores = scorer.probabilities(np.concatenate([part.pixels for part in batch])) if _tiles(batch) else None
        start = 0
        for part in batch:
            job = waiting[part.job]
            if part.job not in found:
                found[part.job] = np.full(
                    (job.grid.rows * job.grid.cols, len(scorer.checkpoint.classes)), np.nan, np.float32
                )
            if scores is not None:
                found[part.job][part.index] = scores[start : start + len(part.index)]
            start += len(part.index)
            if part.ends:
                yield _ended(job, part, scorer, found.pop(part.job))
        if progress is not None:
            progress(start)


def score_slide(
    scorer: Scorer,
    slide: Slide,
    grid: TileGrid,
    wanted: NDArray[np.bool_],
    progress: Callable[[float], None] | None = None,
) -> TileScores:
    """Probabilities of the wanted tiles, (rows, cols) bool, of an open slide; NaN elsewhere. progress: 0 to 1.

    Raises MismatchError where the grid is not the model's or not this slide's, WsiError where memory runs out.
    """
    done, total = 0, max(1, int(wanted.sum()))

    def told(tiles: int) -> None:
        nonlocal done
        done += tiles
        if progress is not None:
            progress(done / total)

    (found,) = score_slides(scorer, [SlideJob(slide.name, lambda: nullcontext(slide), grid, wanted)], told)
    if isinstance(found, Failed):
        raise found.error
    return found.scores


def _ended(job: SlideJob, part: _Part, scorer: Scorer, found: NDArray[np.float32]) -> Scored | Failed:
    if part.error is not None:
        return Failed(job.name, part.error)
    checkpoint = scorer.checkpoint
    scores = TileScores(job.grid, checkpoint.classes, found, scorer.name, checkpoint.thresholds, job.slide)
    return Scored(job.name, scores)


def _tiles(parts: list[_Part]) -> int:
    return sum(len(part.index) for part in parts)


def _parts(scorer: Scorer, jobs: list[SlideJob]) -> Iterator[_Part]:
    """The wanted tiles of one slide after the other, each slide's end with an empty part."""
    size = scorer.checkpoint.tile.size_px
    none = np.zeros(0, np.int64), np.zeros((0, size, size, 3), np.uint8)
    for number, job in enumerate(jobs):
        error: WsiError | None = None
        try:
            scorer.checkpoint.check_grid(job.grid, job.name)
            with job.open() as slide:
                job.grid.check_slide(slide.size, slide.mpp, slide.name)
                if job.slide:
                    require_slide(job.tiles, job.slide, slide.fingerprint, job.name)
                for block in read_tiles(slide, job.grid, job.wanted):
                    yield _Part(number, block.index, block.pixels)
        except WsiError as caught:
            error = caught
        except OSError as caught:  # of the disk or the network that the slide is on
            error = SlideError(f"{job.name}: cannot be read ({caught})")
        yield _Part(number, *none, ends=True, error=error)


def _batches(parts: Iterator[_Part], size: int) -> Iterator[list[_Part]]:
    """The same tiles, `size` at a time, whatever slides they are of; only the last batch may hold fewer."""
    held: list[_Part] = []
    for part in parts:
        start = 0
        while len(part.index) - start > (room := size - _tiles(held)):
            held.append(_Part(part.job, part.index[start : start + room], part.pixels[start : start + room]))
            yield held
            held, start = [], start + room
        held.append(_Part(part.job, part.index[start:], part.pixels[start:], part.ends, part.error))
    if held:
        yield held
