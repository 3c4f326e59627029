"""One function a stage: open what it needs, let `wsi` or `models` do it, write what it leaves behind.

The command line and, through it, the Snakemake rules call these; so may a notebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from shapely.geometry.base import BaseGeometry

from pipelines.console import err, progress_bar
from wsi.annotations import Drawing, Frame, Origin, Region, read_drawing, write_geojson
from wsi.annotations.place import check_place
from wsi.annotations.tissue import TissueOutlines
from wsi.appearance import Appearance, appearance_of, look
from wsi.atomic import write_json
from wsi.blank import BlankOptions
from wsi.digest import sha256_of
from wsi.errors import MismatchError, SlideError
from wsi.exports import ExportOptions, write_exports
from wsi.exports.notable import notable
from wsi.geometry import Box, Edge, TileGrid, TileSpec
from wsi.heatmap import Heatmap
from wsi.icc import Icc
from wsi.ingest import ingest as ingest_slide
from wsi.ink import PEN_RGB, InkOptions, InkRegions, ink_regions, regions_mask
from wsi.labelcounts import LabelCounts
from wsi.labels import EVERYWHERE_SEEN, label_tiles
from wsi.marked import MarkedOptions, MarkedRegions, marked_regions
from wsi.overlay import OverlayOptions, check_clip, write_overlay, write_region
from wsi.pictures import write_png
from wsi.preview import Caption, write_preview
from wsi.provenance import require_slide, slide_of_table, with_provenance
from wsi.quality import measure
from wsi.scores import TileScores, summarise
from wsi.scores import made_of as provenance_of
from wsi.slide import Slide, open_slide
from wsi.slideinfo import SlideInfo
from wsi.source import Source
from wsi.tiles import bounds_offset_of, candidates, grid_of, make_tiles, read_table, tissue_of, write_table
from wsi.tissue import TissueOptions, survey, write_outline_preview
from wsi.tissuemask import TissueMask
from wsi.workers import Workers


def ingest(source: Source, out: Path, mpp: float | None, icc: Icc = "as-is") -> SlideInfo:
    """slide.json, and slide.ome.tif where the source cannot be read at random."""
    with progress_bar(f"ingest {source.name}") as told:
        return ingest_slide(source, out, mpp, told, icc)


def tissue(slide_path: Source, out: Path, options: TissueOptions, mpp: float | None = None) -> dict[str, object]:
    """tissue.geojson, thumbnail.jpg and quality.json in `out`; returns what quality.json says."""
    with open_slide(slide_path, mpp) as slide:
        found = survey(slide, options)
        quality = {"slide": slide.fingerprint, **found.facts(), **measure(slide, found)}
        colours, offset = {"tissue": (0, 120, 60)}, slide.header.bounds_offset
        about = {"slide": slide.fingerprint}
        write_geojson(out / "tissue.geojson", found.regions(), colours, about, offset)
        write_outline_preview(out / "thumbnail.jpg", slide, found.tissue)
    write_json(out / "quality.json", quality)
    return quality


def ink(
    slide_path: Source, out: Path, options: InkOptions, mask_path: Path | None = None, mpp: float | None = None
) -> InkRegions:
    """What a pen outlined: `out` (GeoJSON, in QuPath's frame) and, where asked, a PNG mask (0 and 255)."""
    with open_slide(slide_path, mpp) as slide:
        found = ink_regions(slide, options)
        if mask_path is not None:
            write_png(mask_path, regions_mask(found.regions, slide.size).astype(np.uint8) * 255)
        colours = {f"{pen} pen": rgb for pen, rgb in PEN_RGB.items()}
        offset = slide.header.bounds_offset
        write_geojson(out, found.regions, colours, {"slide": slide.fingerprint}, offset)
    return found


def tiles(
    slide_path: Source,
    out: Path,
    spec: TileSpec,
    blank: BlankOptions,
    *,
    min_tissue: float,
    allow_upsample: bool,
    tissue_path: Path | None,
    tissue_options: TissueOptions,
    scheduler: str | None,
    jobs: int = Workers.jobs,
    edge: Edge = "pad",
    origin: Origin | None = None,
    mpp: float | None = None,
) -> int:
    """tiles.parquet: the grid, what is tissue and what is blank. Returns the number of tiles left to score.

    tissue_path: outlines that `tissue` wrote (or a person corrected); None finds the tissue now.
    origin: from where they count, where they do not say so themselves (`wsi.annotations.Frame`).
    Raises SlideError for a slide that is no bright-field picture of a stain, unless `tissue_options.any_stain`.
    """
    workers = Workers(scheduler, jobs)
    made_of = {} if tissue_path is None else {"tissue": sha256_of(tissue_path)}  # before it is read
    with open_slide(slide_path, mpp) as slide:
        own_mpp, name = slide.require_mpp(), _name(slide_path)
        grid = TileGrid.of(spec, slide.size, slide.mpp, name=name, allow_upsample=allow_upsample, edge=edge)
        if tissue_path is None:
            found, outlines = survey(slide, tissue_options), None
            kind, mask = found.appearance, found.tissue
        else:
            px_um = max(tissue_options.mask_mpp, *own_mpp)
            kind, outlines = appearance_of(look(slide)), _outlines(tissue_path, slide, origin)
            mask = TissueMask.of_regions(list(outlines.regions), slide.size, px_um, own_mpp)
        if not kind.scorable:
            _refuse_unless_wanted(kind, name, tissue_options)
            # What tells glass and ink from stain says nothing here: the mask alone decides.
            blank = replace(blank, max_bright=1.0, min_contrast=0.0, max_ink=1.0)
        with progress_bar(f"tiles {name}") as told:
            table = make_tiles(slide, grid, mask, min_tissue, blank, workers=workers, progress=told)
        table = with_provenance(table, slide.fingerprint, made_of)
    write_table(out, table if outlines is None else outlines.kept_in(table))
    return int(candidates(table, grid).sum())


def _refuse_unless_wanted(kind: Appearance, name: str, options: TissueOptions) -> None:
    if not options.any_stain:
        raise SlideError(
            f"{name}: {kind.text}; a model for stained sections would score it all the same, and be wrong: leave the "
            "slide out, or, for a model made for such slides, set tissue.any_stain: true (--any-stain)"
        )


def _outlines(path: Path, slide: Slide, origin: Origin | None) -> TissueOutlines:
    """The tissue outlines of a slide, of any annotation file; what is to be said of them goes to stderr."""
    drawing = read_drawing(path, Frame(slide.header.bounds_offset, origin, slide.fingerprint, slide.mpp))
    notes = [*drawing.notes, *check_place(drawing.regions, slide.size)]
    outlines = TissueOutlines.of(drawing.regions)
    for note in [*notes, *outlines.notes()]:
        err.print(f"warning: {path}: {note}")
    return outlines


def drawn(tiles_path: Path, annotation: Path, origin: Origin | None = None) -> Drawing:
    """What somebody drew on the slide that the tiles were cut from, level-0 px; origin: see `wsi.annotations.Frame`."""
    table = read_table(tiles_path)
    grid, bounds_offset = grid_of(table, tiles_path), bounds_offset_of(table, tiles_path)
    return read_drawing(annotation, Frame(bounds_offset, origin, slide_of_table(table), grid.slide_mpp))


def label(
    tiles_path: Path,
    out: Path,
    min_cover: float,
    *,
    drawing: Drawing,
    drawn_in: str,
    outside: str | None = None,
    unseen: BaseGeometry = EVERYWHERE_SEEN,
) -> LabelCounts:
    """labels.parquet: the tile table with `label` and `cover`. Returns what became of regions and tiles.

    drawn_in: digest of the annotation file, or fingerprint of the marked copy, that `drawing` is from.
    """
    made_of = {"tiles": sha256_of(tiles_path), "drawn": drawn_in}  # before they are read
    table = read_table(tiles_path)
    labelled = label_tiles(
        table,
        grid_of(table, tiles_path),
        drawing.regions,
        min_cover,
        outside,
        unseen,
        exclusions=drawing.exclusions,
        notes=drawing.notes,
    )
    write_table(out, with_provenance(labelled, slide_of_table(table), made_of))
    return LabelCounts.of_table(labelled, out)


def marked(
    tiles_path: Path, clean_path: Source, copy_path: Source, options: MarkedOptions, mpp: float | None = None
) -> MarkedRegions:
    """What is outlined on a copy of the slide that the tiles were cut from."""
    table = read_table(tiles_path)
    with open_slide(clean_path, mpp) as clean, open_slide(copy_path) as copy:
        grid_of(table, tiles_path).check_slide(clean.size, clean.mpp, _name(clean_path))
        require_slide(tiles_path, slide_of_table(table), clean.fingerprint, _name(clean_path))
        return marked_regions(clean, copy, options)


def write_marked(out: Path, regions: Sequence[Region], clean_path: Source) -> None:
    """The regions that `marked` found on a slide as GeoJSON, to be looked at in QuPath."""
    with open_slide(clean_path) as clean:
        about = {"slide": clean.fingerprint}
        write_geojson(out, regions, about=about, offset_px=clean.header.bounds_offset)


def overlay(
    slide_path: Source,
    predictions: Path,
    out: Path,
    options: OverlayOptions,
    *,
    preview: Path | None,
    slide_id: str,
    mpp: float | None = None,
) -> None:
    """overlay.ome.tif and, where `preview` is given, overlay.png."""
    digest = sha256_of(predictions)  # taken before they are read: were they replaced meanwhile, it would show
    with open_slide(slide_path, mpp) as slide:
        scores = _scores_of(predictions, slide, _name(slide_path))
        check_clip(scores, options, str(predictions))
        if preview is not None:
            # The day of the predictions, not of the painting: a picture painted again is the same picture.
            day = datetime.fromtimestamp(predictions.stat().st_mtime, UTC).date().isoformat()
            caption = Caption(slide_id, scores.model, day, digest, slide.fingerprint)
            write_preview(preview, slide, scores, options, caption)
        with progress_bar(f"overlay {slide_id}") as told:
            write_overlay(out, slide, scores, options, told, digest)


def overlay_region(
    slide_path: Source,
    predictions: Path,
    out: Path,
    options: OverlayOptions,
    region: Box,
    downsample: float,
    mpp: float | None = None,
) -> None:
    """A level-0 box of the slide, painted, as a PNG whose px are `downsample` level-0 px large."""
    with open_slide(slide_path, mpp) as slide:
        scores = _scores_of(predictions, slide, _name(slide_path))
        check_clip(scores, options, str(predictions))
        write_region(out, slide, scores, options, region, downsample)


@dataclass(frozen=True)
class TilesFile:
    """A tiles.parquet, and its SHA-256 when its tiles were read."""

    path: Path
    digest: str


def write_scores(scores: TileScores, tiles: TilesFile, out: Path, made_of: dict[str, str]) -> dict[str, object]:
    """predictions.parquet, heatmap.ome.zarr and summary.json in `out`; returns the summary.

    made_of: what the scores depend on, kept in the table so that a report can tell old scores from new ones. Raises
    MismatchError where the tile table was replaced while its tiles were scored.
    """
    if sha256_of(tiles.path) != tiles.digest:
        raise MismatchError(f"{tiles.path}: was replaced while its tiles were scored; predict this slide again")
    predictions, table = out / "predictions.parquet", read_table(tiles.path)
    scores = replace(scores, tissue=tissue_of(table, tiles.path))
    write_table(predictions, scores.to_table(table, {**made_of, "tiles": tiles.digest}))
    belongs = {"slide": scores.slide, "predictions": sha256_of(predictions)}
    Heatmap.of(scores).write(out / "heatmap.ome.zarr", belongs)
    summary = {**summarise(scores), **notable(scores), **provenance_of(predictions), **belongs}
    write_json(out / "summary.json", summary)
    return summary


def export(
    slide_path: Source, predictions: Path, out: Path, options: ExportOptions, mpp: float | None = None
) -> list[Path]:
    """The scores for other programs, in the folder `out`: the files that `options` ask for. Returns their paths."""
    digest = sha256_of(predictions)  # before they are read
    with open_slide(slide_path, mpp) as slide:
        scores = _scores_of(predictions, slide, _name(slide_path))
        bounds_offset = slide.header.bounds_offset
    return write_exports(scores, out, options, bounds_offset, digest)


def _scores_of(predictions: Path, slide: Slide, name: str) -> TileScores:
    """The scores in a table. Raises where they are of another slide, or of one of another size or mpp."""
    scores = TileScores.of_table(read_table(predictions), predictions)
    scores.grid.check_slide(slide.size, slide.mpp, name)
    require_slide(predictions, scores.slide, slide.fingerprint, name)
    return scores


def _name(slide_path: Source) -> str:
    """A name people know: of slide.json, the folder is the slide's id."""
    if isinstance(slide_path, Path) and slide_path.name == "slide.json":
        return slide_path.parent.name
    return slide_path.name
