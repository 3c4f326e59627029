"""Slides through a model: predictions.parquet, heatmap.ome.zarr and summary.json of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from models.description import NO_DIGEST
from models.predict import Failed, PredictOptions, Scorer, SlideJob, score_slides
from pipelines import stages
from pipelines.console import err, progress_bar
from wsi.blank import BlankOptions
from wsi.digest import sha256_of
from wsi.errors import InputError, WsiError
from wsi.geometry import TileSpec
from wsi.provenance import slide_of_table
from wsi.slide import Slide, open_slide
from wsi.source import Source
from wsi.tiles import candidates, grid_of, read_table
from wsi.tissue import TissueOptions


@dataclass(frozen=True)
class Request:
    """A slide to score, and the folder for what is found. tiles: its tiles.parquet; None makes one in `out` first."""

    slide: Source
    out: Path
    tiles: Path | None = None
    mpp: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a request: its summary, or why there is none."""

    request: Request
    summary: dict[str, object] | None
    error: WsiError | None = None


def predict(
    requests: Sequence[Request],
    model: Path,
    options: PredictOptions,
    threads: int | None = None,
    *,
    any_stain: bool = False,
) -> Iterator[Outcome]:
    """Score all slides in one go; an outcome of each, as soon as it is written. A slide that fails stops no other.

    Without tiles, tissue and tiles are found first, for the model's own tile size and mpp; any_stain: also on slides
    that are no bright-field H&E (of which tiles are there only where they were wanted). Raises InputError
    where the model cannot be loaded.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    scorer = Scorer(model, options)
    if scorer.checkpoint.digest is None:
        err.print(f"note: model {scorer.name}: {NO_DIGEST}")
    jobs, of_job = [], []
    for request in requests:
        try:
            job, digest = _job(request, scorer.checkpoint.tile, any_stain)
            jobs.append(job)
            of_job.append((request, digest))
        except (WsiError, OSError) as error:
            yield _failed(request, error)
    total, done = max(1, sum(int(job.wanted.sum()) for job in jobs)), 0
    title = f"predict {jobs[0].name}" if len(jobs) == 1 else f"predict {len(jobs)} slides"
    with progress_bar(title) as told:

        def scored(tiles: int) -> None:
            nonlocal done
            done += tiles
            told(done / total)

        for (request, digest), found in zip(of_job, score_slides(scorer, jobs, scored), strict=True):
            if isinstance(found, Failed):
                yield Outcome(request, None, found.error)
                continue
            try:
                tiles = stages.TilesFile(request.tiles or _own_tiles(request), digest)
                summary = stages.write_scores(found.scores, tiles, request.out, scorer.made_of)
            except (WsiError, OSError) as error:
                yield _failed(request, error)
                continue
            yield Outcome(request, summary)


def _failed(request: Request, error: WsiError | OSError) -> Outcome:
    """Of a full disk, or a folder that cannot be written into, the system's own error names no file."""
    if isinstance(error, WsiError):
        return Outcome(request, None, error)
    told = InputError(f"{request.out}: cannot be written ({error}); mend that, then predict {request.slide.name} again")
    told.__cause__ = error
    return Outcome(request, None, told)


def _job(request: Request, spec: TileSpec, any_stain: bool) -> tuple[SlideJob, str]:
    """The slide to score, and the digest of its tile table."""
    tiles = request.tiles or _own_tiles(request)
    if request.tiles is None:
        stages.tiles(
            request.slide,
            tiles,
            spec,
            BlankOptions(),
            min_tissue=0.1,
            allow_upsample=False,
            tissue_path=None,
            tissue_options=TissueOptions(any_stain=any_stain),
            scheduler=None,
            mpp=request.mpp,
        )
    digest, table = sha256_of(tiles), read_table(tiles)
    if any(name.startswith("prob_") for name in table.column_names):
        raise InputError(f"{tiles}: has scores already; give the tiles.parquet that they were made from")
    grid = grid_of(table, tiles)
    opened: Callable[[], AbstractContextManager[Slide]] = partial(open_slide, request.slide, request.mpp)
    slide = slide_of_table(table)
    if not slide:
        raise InputError(f"{tiles}: does not say of which slide it is; cut the tiles again with `tesela tiles`")
    return SlideJob(request.out.name, opened, grid, candidates(table, grid), tiles, slide), digest


def _own_tiles(request: Request) -> Path:
    return request.out / "tiles.parquet"


def requests_of(
    slides: Sequence[Source], out: Path, tiles: Path | None = None, mpp: float | None = None
) -> list[Request]:
    """One slide into `out` itself, several into a folder each, named as they are. Raises InputError where two clash."""
    if len(slides) == 1:
        return [Request(slides[0], out, tiles, mpp)]
    if tiles is not None:
        raise InputError(f"--tiles is of one slide, and {len(slides)} are given; leave it out")
    names = [
        slide.parent.name if isinstance(slide, Path) and slide.name == "slide.json" else slide.stem for slide in slides
    ]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"{', '.join(doubled)}: slides of one name; predict them one by one, each into its own --out")
    return [Request(slide, out / name, None, mpp) for slide, name in zip(slides, names, strict=True)]
