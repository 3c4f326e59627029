"""From labels to heat maps: label, train, predict, overlay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional, cast

import typer

from models.registry import model_folder
from pipelines import stages
from pipelines.commands.app import (
    MODEL_HELP,
    AnyStain,
    AsJson,
    FileOrigin,
    SlideArgument,
    SlideMpp,
    Threads,
    app,
    show_json,
)
from pipelines.console import err
from wsi.annotations import Drawing
from wsi.atomic import refuse_overwriting
from wsi.digest import sha256_of
from wsi.errors import InputError
from wsi.fingerprint import fingerprint
from wsi.labels import EVERYWHERE_SEEN, class_of
from wsi.marked import MarkedOptions, MarkedRegions
from wsi.overlay import Clipping, OverlayOptions, Style, parse_region
from wsi.source import source_of


@app.command()
def label(
    tiles_parquet: Annotated[Path, typer.Argument(metavar="TILES", help="tiles.parquet", show_default=False)],
    out: Annotated[Path, typer.Option(help="labels.parquet to write")],
    regions: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="annotations with a class each: QuPath GeoJSON, ASAP XML, ImageScope XML"),
    ] = None,
    marked: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="COPY", help="instead: the copy of the slide that somebody drew on with a pen"),
    ] = None,
    slide: Annotated[Optional[str], typer.Option(metavar="CLEAN", help="with --marked: the slide itself")] = None,  # noqa: UP045
    name: Annotated[Optional[str], typer.Option(help="with --marked: the class of what is outlined")] = None,  # noqa: UP045
    regions_out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="with --marked: the outlines as GeoJSON, to be looked at in QuPath"),
    ] = None,
    outside: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="class of tiles outside of every region; default: these get none"),
    ] = None,
    min_cover: Annotated[float, typer.Option(min=0, max=1, help="share of a tile a region must cover")] = 0.75,
    origin: FileOrigin = None,
    mpp: SlideMpp = None,
    as_json: AsJson = False,
) -> None:
    """Give each tile a class, and the share of it that its region covers (`cover`).

    From annotations: --regions R. Where regions of several classes overlap, the innermost decides; where none lies
    within the other, tiles get no class, nor within regions whose name ends in a star. From a pair of pictures,
    --marked COPY --slide CLEAN --name tumour: what is outlined on the copy and not on the slide; the copy may be
    shifted, turned a little, smaller and recompressed, and is refused where it shows another slide.

    Tiles on a border, covered less than --min-cover, get no class. With --outside benign, tiles that lie outside by
    as much are "benign"; without it only what is drawn is labelled.
    """
    for option, given in (("outside", outside), ("name", name)):
        if given is not None:
            class_of(given, option)  # before anything is read
    if regions is not None and marked is None and not (slide or name or regions_out):
        drawn_in, unseen = sha256_of(regions), EVERYWHERE_SEEN
        drawing = stages.drawn(tiles_parquet, regions, origin)
    elif regions is None and marked is not None and slide and name:
        drawn_class = _drawn_class(name, outside)
        source, copy = source_of(slide), source_of(marked)
        if regions_out is not None:
            for picture in (source, copy):
                refuse_overwriting(regions_out, picture)
        found = stages.marked(tiles_parquet, source, copy, MarkedOptions(), mpp)
        named = [replace(region, name=drawn_class) for region in found.regions]
        if regions_out is not None:
            stages.write_marked(regions_out, named, source)
        for note in _told(found):
            err.print(note)
        drawing, drawn_in, unseen = Drawing(named), fingerprint(copy), found.unseen
    else:
        raise InputError("give --regions R.geojson; or --marked COPY, --slide CLEAN and --name CLASS together")
    counts = stages.label(
        tiles_parquet, out, min_cover, drawing=drawing, drawn_in=drawn_in, outside=outside, unseen=unseen
    )
    for note in counts.notes:
        err.print(f"warning: {note}")
    if as_json:
        return show_json(counts.to_json())
    for line in counts.lines():
        err.print(line)
    return None


def _drawn_class(name: str, outside: str | None) -> str:
    """The class of what is outlined; raises InputError where that is none, or the class of all else."""
    drawn = class_of(name, "name")
    if outside is not None and drawn == class_of(outside, "outside"):
        raise InputError(f"--name and --outside are both {drawn!r}; what is drawn and what is not must differ")
    return drawn


def _told(found: MarkedRegions) -> list[str]:
    """What a person is told of a pair, line by line."""
    lines = [f"the pair agrees by {found.registration.quality:.2f}"]
    for region in found.regions:
        lines.append(f"{region.name}: " + ", ".join(f"{name} {value:g}" for name, value in region.measurements.items()))
    return [*lines, *(f"note: {note}" for note in found.notes)]


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="YAML with the sections `tile` and `train`")],
    out: Annotated[Path, typer.Option(help="folder of the model")],
    slides: Annotated[
        list[Path] | None, typer.Option("--slide", help="folder with slide.json and labels.parquet")
    ] = None,
    val_slides: Annotated[Optional[list[Path]], typer.Option("--val-slide", help="to choose the best epoch by")] = None,  # noqa: UP045
    test_slides: Annotated[Optional[list[Path]], typer.Option("--test-slide", help="the same, held out")] = None,  # noqa: UP045
    cases: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--case", help="case of each --slide, then of each --val-slide and --test-slide, in order"),
    ] = None,
    folds: Annotated[Optional[int], typer.Option(min=2, help="cross-validate instead: so many models")] = None,  # noqa: UP045
    leave_site_out: Annotated[bool, typer.Option(help="cross-validate instead: each site tested once")] = False,
    devices: Annotated[int, typer.Option(min=1, help="GPUs of a node that share each batch")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="machines, each with so many --devices; started by srun")] = 1,
    threads: Threads = None,
) -> None:
    """Train a tile classifier: model.safetensors, model.json, metrics.json, splits.csv, plots/.

    A training that was killed goes on after its last epoch when the same command is given again.

    With --folds 5 (whole cases, where they are known) or --leave-site-out: a model a fold, and folds.json with mean and
    spread. Test tiles of the configuration are not touched then.

    On several GPUs: --devices 4. train.batch_size is the whole batch, which they share. Under Slurm, for instance
    srun --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 tesela train … --devices 4 --nodes 2.
    """
    from models.training.device import Hardware
    from pipelines import learning
    from pipelines.config import load_train_file

    settings = load_train_file(config)
    given = learning.training_slides(slides or [], val_slides or [], test_slides or [], cases)
    if folds is not None or leave_site_out:
        if folds is not None and leave_site_out:
            raise InputError("give --folds or --leave-site-out, not both")
        if devices * nodes > 1:
            raise InputError("--folds and --leave-site-out train on one device; leave out --devices and --nodes")
        learning.cross_validate(settings, out, folds, given, threads)
    else:
        learning.train(settings, out, given, threads, Hardware(devices, nodes))


@app.command()
def predict(
    slides: Annotated[
        list[str],
        typer.Argument(metavar="SLIDE...", help="slides, slide.json files or addresses", show_default=False),
    ],
    model: Annotated[str, typer.Option(help=MODEL_HELP)],
    out: Annotated[
        Path,
        typer.Option(
            help="folder for predictions.parquet, heatmap.ome.zarr, summary.json; of several slides, a folder each"
        ),
    ],
    tiles_parquet: Annotated[Optional[Path], typer.Option("--tiles", help="tiles.parquet; default: made now")] = None,  # noqa: UP045
    batch_size: Annotated[int, typer.Option(min=1, help="tiles a forward pass")] = 64,
    precision: Annotated[str, typer.Option(help="auto (timed trial), 32-true or bf16-mixed")] = "auto",
    tta: Annotated[
        str, typer.Option(help="model (as it was trained to be used), none, or d4: the mean of eight orientations")
    ] = "model",
    any_stain: AnyStain = False,
    mpp: SlideMpp = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Score the tiles of slides with a trained model. A grid that is not the model's is refused.

    Several slides go through the model together, which saves loading it for each; a score does not depend on what it
    was computed with. A slide that fails stops no other, and the exit code is 2.
    """
    from models.predict import PredictOptions
    from pipelines import predicting

    requests = predicting.requests_of([source_of(slide) for slide in slides], out, tiles_parquet, mpp)
    # Typer knows no literals; what is wrong is said by the options themselves.
    options = PredictOptions(batch_size, precision, tta)  # type: ignore[arg-type]
    found = []
    for outcome in predicting.predict(requests, model_folder(model), options, threads, any_stain=any_stain):
        found.append(outcome)
        if outcome.summary is not None:
            err.print(f"{outcome.request.out}: {outcome.summary['tiles_scored']} tiles scored")
        elif len(requests) > 1:
            err.print(f"failed: {outcome.request.slide}: {outcome.error}")
    if as_json:
        summaries = [{"slide": str(o.request.slide), **(o.summary or {"error": str(o.error)})} for o in found]
        show_json(summaries if len(requests) > 1 else found[0].summary)
    errors = [outcome.error for outcome in found if outcome.error is not None]
    if errors:
        raise errors[0] if len(requests) == 1 else InputError(f"{len(errors)} of {len(requests)} slides failed")


@app.command()
def overlay(
    slide: SlideArgument,
    predictions: Annotated[Path, typer.Option(help="predictions.parquet")],
    out: Annotated[Path, typer.Option(help="overlay.ome.tif to write; with --region a PNG")],
    preview: Annotated[Optional[Path], typer.Option(help="overlay.png with legend and scale bar")] = None,  # noqa: UP045
    alpha: Annotated[float, typer.Option(help="opacity of a tile of probability 1")] = OverlayOptions.alpha,
    threshold: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="lowest probability painted; default: 0, with --heat the model's own, or 0.5"),
    ] = OverlayOptions.threshold,
    classes: Annotated[Optional[list[str]], typer.Option(help="paint only these; repeat for more")] = None,  # noqa: UP045
    heat: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="CLASS", help="instead: the heat of this one class, in cividis from 0 to 1"),
    ] = OverlayOptions.heat,
    style: Annotated[
        str, typer.Option(help="blocky (tiles as scored), smooth (between tile centres) or outline")
    ] = OverlayOptions.style,
    outline_px: Annotated[int, typer.Option(help="width of outlines, px of the level shown")] = (
        OverlayOptions.outline_px
    ),
    quality: Annotated[int, typer.Option(min=0, max=100, help="JPEG quality; 0: lossless")] = OverlayOptions.quality,
    clip: Annotated[
        str, typer.Option(help="tissue (heat ends with the tissue) or tile (tiles painted whole, glass too)")
    ] = OverlayOptions.clip,
    region: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="X,Y,W,H", help="only this region (level-0 px), painted, as a PNG"),
    ] = None,
    downsample: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="with --region: level-0 px to each of its px; default: 1"),
    ] = None,
    slide_id: Annotated[Optional[str], typer.Option("--id", help="name in the caption")] = None,  # noqa: UP045
    mpp: SlideMpp = None,
) -> None:
    """Blend the classes' colours over the slide and rebuild its pyramid; or over a region, as a picture.

    Each tile has the colour of its most probable class and the opacity alpha × probability. With --heat TUM only that
    class is painted, in cividis from 0 to 1, wherever its probability reaches the threshold. Smooth heat is
    interpolated between tiles of one class; an outline hides nothing of the tissue within.

    Heat ends with the tissue that the tiles were cut with: of a tile that is partly glass, the glass is not painted.

    Native JPEG tiles that nothing is painted on are copied as they are; painted ones are encoded with --quality, or
    with the slide's own where that is higher.
    """
    options = OverlayOptions(
        alpha,
        threshold,
        tuple(classes) if classes else None,
        heat,
        cast(Style, style),
        outline_px,
        quality,
        cast(Clipping, clip),
    )
    source = source_of(slide)
    if region is not None:
        if preview is not None:
            raise InputError("--preview shows the whole slide: leave it out, or --region")
        scale = 1.0 if downsample is None else downsample
        stages.overlay_region(source, predictions, out, options, parse_region(region), scale, mpp)
        return
    if downsample is not None:
        raise InputError("--downsample is for a --region; overlay.ome.tif has every level")
    name = slide_id or (Path(slide).parent.name if source.name == "slide.json" else source.stem)
    stages.overlay(source, predictions, out, options, preview=preview, slide_id=name, mpp=mpp)
