"""The `tesela` command line. Snakemake's rules call it; a person may too."""

from __future__ import annotations

import json
import logging
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.table import Table

from pipelines import stages
from pipelines.console import err, progress_bar
from wsi.blank import BlankOptions
from wsi.convert import ConvertOptions, Target, target_of
from wsi.errors import InputError, WsiError
from wsi.geometry import TileSpec
from wsi.icc import Icc
from wsi.overlay import OverlayOptions
from wsi.source import source_of
from wsi.tissue import TissueOptions
from wsi.writers.pyramid import Codec

app = typer.Typer(
    name="tesela",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Whole-slide images in, heat overlays out. Research use only.\n\n"
    "A whole cohort: `snakemake --cores 8 --configfile my.yaml`. To see it work: `tesela demo`. "
    "The commands below do one step each on one slide; SLIDE may also be a slide.json that `tesela ingest` wrote.",
)

SlideArgument = Annotated[
    # No Path: it would make one slash of two in an address.
    str,
    typer.Argument(
        metavar="SLIDE", help="a slide, its slide.json, or the address of an OME-Zarr image", show_default=False
    ),
]
SlideMpp = Annotated[
    Optional[float],  # noqa: UP045 - Typer evaluates it at run time
    typer.Option("--mpp", help="µm per level-0 px, where the file does not say it", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.callback()
def _root(
    debug: Annotated[
        bool, typer.Option("--debug", help="show the traceback of an error (anywhere on the line)")
    ] = False,
) -> None:
    # Read by `main`, which stands outside of Typer.
    del debug


@app.command()
def inspect(slide: SlideArgument, mpp: SlideMpp = None, as_json: AsJson = False) -> None:
    """Show what ingest would find: size, levels, mpp, reader. A slide it cannot read: one clear line, exit 2."""
    from wsi.slide import open_slide

    with open_slide(slide, mpp) as opened:
        info = opened.info()
    if as_json:
        return _print_json(asdict(info))
    unknown = "unknown: give it with --mpp or in the sheet"
    table = Table(show_header=False, box=None)
    table.add_row("slide", info.source)
    table.add_row("reader", info.reader)
    table.add_row("size", f"{info.width} × {info.height} px")
    table.add_row("mpp", f"{info.mpp[0]:.4g} × {info.mpp[1]:.4g} µm/px ({info.mpp_source})" if info.mpp else unknown)
    table.add_row("objective", f"{info.objective_power:g}×" if info.objective_power else "unknown")
    levels = ", ".join(f"{level.width} × {level.height} (1/{level.downsample:g})" for level in info.levels)
    table.add_row("levels", levels)
    table.add_row("read at random", "yes" if info.random_access else "no: ingest converts it to a pyramid")
    for note in info.notes:
        table.add_row("note", note)
    return _print(table)


@app.command()
def ingest(
    slide: SlideArgument,
    out: Annotated[Path, typer.Option(help="folder of this slide's results")],
    mpp: SlideMpp = None,
    icc: Annotated[
        Icc, typer.Option(help="srgb: read the slide through its colour profile; as-is: colours as stored")
    ] = "as-is",
) -> None:
    """Write slide.json; convert the slide first where it cannot be read at random (flat, striped)."""
    stages.ingest(source_of(slide), out, mpp, icc)


@app.command()
def convert(
    slide: SlideArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="to write: .ome.tif or .ome.zarr", show_default=False)],
    target: Annotated[
        Optional[Target],  # noqa: UP045
        typer.Option(help="ome-zarr is 0.5, sharded, lossless [default: by OUT's ending]", show_default=False),
    ] = None,
    codec: Annotated[
        Optional[Codec],  # noqa: UP045
        typer.Option(help="all but jpeg are lossless [default: the source's if tiles are copied, else jpeg]"),
    ] = None,
    quality: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="JPEG quality, 1 to 100; encodes every tile anew [default: 87]"),
    ] = None,
    tile_px: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="side of a tile, a multiple of 16 [default: the source's if copied, else 256; Zarr 512]"),
    ] = None,
    keep: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="what may name a patient: label, macro, text (the whole description); repeat for more"),
    ] = None,
    mpp: SlideMpp = None,
) -> None:
    """Write any readable image as a pyramid that OpenSlide, QuPath and tifffile open with all levels.

    A slide that is tiled already (JPEG, LZW, deflate or uncompressed) is copied tile by tile, byte for byte, and only
    missing levels are encoded; give --quality, or another --codec or --tile-px than its own, to encode it anew.
    mpp, objective power, ICC profile and scanner settings are kept. Label, macro and other text are left out.
    """
    from wsi.convert import convert as write
    from wsi.slide import open_slide

    options = ConvertOptions(target_of(out, target), codec, quality, tile_px, frozenset(keep or ()))
    with open_slide(source_of(slide), mpp, "as-is") as opened, progress_bar(f"convert {opened.name}") as told:
        write(opened, out, options, told)


@app.command()
def tissue(
    slide: SlideArgument,
    out: Annotated[Path, typer.Option(help="folder for tissue.geojson, thumbnail.jpg and quality.json")],
    mask_mpp: Annotated[float, typer.Option(help="resolution of the mask, µm per px")] = TissueOptions.mask_mpp,
    min_area_mm2: Annotated[float, typer.Option(help="smaller pieces are dust")] = TissueOptions.min_area_mm2,
    max_hole_mm2: Annotated[float, typer.Option(help="smaller holes are filled")] = TissueOptions.max_hole_mm2,
    mpp: SlideMpp = None,
    as_json: AsJson = False,
) -> None:
    """Find the tissue: outlines (GeoJSON, level-0 px), a thumbnail that shows them, areas in mm²."""
    quality = stages.tissue(source_of(slide), out, TissueOptions(mask_mpp, min_area_mm2, max_hole_mm2), mpp)
    if as_json:
        _print_json(quality)


@app.command()
def tiles(
    slide: SlideArgument,
    out: Annotated[Path, typer.Option(help="tiles.parquet to write")],
    mpp: Annotated[float, typer.Option(help="µm per px of a tile; reading resamples to it", show_default=False)],
    size_px: Annotated[int, typer.Option("--size-px", "--size", help="side of a tile, px at --mpp")] = 128,
    stride_px: Annotated[Optional[int], typer.Option(help="step between tiles [default: --size-px]")] = None,  # noqa: UP045
    min_tissue: Annotated[float, typer.Option(min=0, max=1, help="share of a tile that must be tissue")] = 0.1,
    allow_upsample: Annotated[bool, typer.Option("--allow-upsample", help="take coarser slides, enlarged")] = False,
    tissue_geojson: Annotated[Optional[Path], typer.Option("--tissue", help="outlines; default: found now")] = None,  # noqa: UP045
    mask_mpp: Annotated[float, typer.Option(help="resolution of the tissue mask")] = TissueOptions.mask_mpp,
    bright_level: Annotated[
        int, typer.Option(help="darkest channel above this: bright px")
    ] = BlankOptions.bright_level,
    max_bright: Annotated[float, typer.Option(help="share of bright px above: blank")] = BlankOptions.max_bright,
    min_contrast: Annotated[float, typer.Option(help="luminance std below: blank")] = BlankOptions.min_contrast,
    max_ink: Annotated[float, typer.Option(help="share of ink px above: blank")] = BlankOptions.max_ink,
    scheduler: Annotated[str | None, typer.Option(help="a running Dask scheduler, tcp://…; default: threads")] = None,
    slide_mpp: Annotated[Optional[float], typer.Option(help="µm per level-0 px of the slide, if unknown")] = None,  # noqa: UP045
) -> None:
    """Lay the tile grid and drop what is blank, on Dask: one task per band of rows."""
    count = stages.tiles(
        source_of(slide),
        out,
        TileSpec(size_px, mpp, stride_px or size_px),
        BlankOptions(bright_level, max_bright, min_contrast, max_ink),
        min_tissue=min_tissue,
        allow_upsample=allow_upsample,
        tissue_path=tissue_geojson,
        tissue_options=TissueOptions(mask_mpp),
        scheduler=scheduler,
        mpp=slide_mpp,
    )
    err.print(f"{count} tiles to score")


@app.command()
def label(
    tiles_parquet: Annotated[Path, typer.Argument(metavar="TILES", help="tiles.parquet", show_default=False)],
    regions: Annotated[Path, typer.Option(help="annotations, QuPath GeoJSON with a class each")],
    out: Annotated[Path, typer.Option(help="labels.parquet to write")],
    min_cover: Annotated[float, typer.Option(min=0, max=1, help="share of a tile a region must cover")] = 0.75,
    as_json: AsJson = False,
) -> None:
    """Give each tile the class of the region that covers it."""
    counts = stages.label(tiles_parquet, regions, out, min_cover)
    if as_json:
        return _print_json(counts)
    return err.print("labelled tiles: " + (", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "none"))


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="YAML with the sections `tile` and `train`")],
    out: Annotated[Path, typer.Option(help="folder of the model")],
    slides: Annotated[
        list[Path] | None, typer.Option("--slide", help="folder with slide.json and labels.parquet")
    ] = None,
    test_slides: Annotated[Optional[list[Path]], typer.Option("--test-slide", help="the same, held out")] = None,  # noqa: UP045
    cases: Annotated[Optional[list[str]], typer.Option("--case", help="case of each --slide, in order")] = None,  # noqa: UP045
    threads: Annotated[Optional[int], typer.Option(help="processor threads; default: all")] = None,  # noqa: UP045
) -> None:
    """Train a tile classifier: model.safetensors, model.json, metrics.json, plots/."""
    from models.data import LabelledSlide
    from pipelines import learning
    from pipelines.config import load_train_file

    def labelled(folders: list[Path] | None, names: list[str] | None = None) -> tuple[LabelledSlide, ...]:
        named = names or [""] * len(folders or ())
        if len(named) != len(folders or ()):
            raise InputError(f"{len(named)} --case for {len(folders or ())} --slide; give one for each, or none")
        return tuple(
            LabelledSlide(folder / "slide.json", folder / "labels.parquet", case or None)
            for folder, case in zip(folders or (), named, strict=True)
        )

    learning.train(
        load_train_file(config),
        out,
        slides=labelled(slides, cases),
        test_slides=labelled(test_slides),
        threads=threads,
    )


@app.command()
def predict(
    slide: SlideArgument,
    model: Annotated[Path, typer.Option(help="folder of a trained model")],
    out: Annotated[Path, typer.Option(help="folder for predictions.parquet, heatmap.ome.zarr and summary.json")],
    tiles_parquet: Annotated[Optional[Path], typer.Option("--tiles", help="tiles.parquet; default: made now")] = None,  # noqa: UP045
    batch_size: Annotated[int, typer.Option(min=1, help="tiles a forward pass")] = 64,
    precision: Annotated[str, typer.Option(help="auto (timed trial), 32-true or bf16-mixed")] = "auto",
    mpp: SlideMpp = None,
    threads: Annotated[Optional[int], typer.Option(help="processor threads; default: all")] = None,  # noqa: UP045
    as_json: AsJson = False,
) -> None:
    """Score the tiles of a slide with a trained model. A grid that is not the model's is refused."""
    from models.predict import PredictOptions
    from pipelines import learning

    options = PredictOptions(batch_size, precision)
    summary = learning.predict(source_of(slide), tiles_parquet, model, out, options, mpp=mpp, threads=threads)
    if as_json:
        _print_json(summary)


@app.command()
def overlay(
    slide: SlideArgument,
    predictions: Annotated[Path, typer.Option(help="predictions.parquet")],
    out: Annotated[Path, typer.Option(help="overlay.ome.tif to write")],
    preview: Annotated[Optional[Path], typer.Option(help="overlay.png with legend and scale bar")] = None,  # noqa: UP045
    alpha: Annotated[float, typer.Option(help="opacity of a tile of probability 1")] = OverlayOptions.alpha,
    threshold: Annotated[float, typer.Option(help="lowest probability painted")] = OverlayOptions.threshold,
    classes: Annotated[Optional[list[str]], typer.Option(help="paint only these; repeat for more")] = None,  # noqa: UP045
    quality: Annotated[int, typer.Option(min=0, max=100, help="JPEG quality; 0: lossless")] = OverlayOptions.quality,
    slide_id: Annotated[Optional[str], typer.Option("--id", help="name in the caption")] = None,  # noqa: UP045
    mpp: SlideMpp = None,
) -> None:
    """Blend the classes' colours over the slide and rebuild its pyramid."""
    options = OverlayOptions(alpha, threshold, tuple(classes) if classes else None, quality)
    source = source_of(slide)
    name = slide_id or (Path(slide).parent.name if source.name == "slide.json" else source.stem)
    stages.overlay(source, predictions, out, options, preview=preview, slide_id=name, mpp=mpp)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="results/<run>", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write report.html, status.json and cohort.parquet of a run, finished or not; every slide is listed."""
    from pipelines.report import write_report

    status = write_report(run)
    if as_json:
        return _print_json(status)
    for slide in status["slides"]:
        if slide["state"] == "failed":
            err.print(f"[red]failed[/red] {slide['id']}: {slide['reason']}", markup=True)
    counts = ", ".join(f"{count} {state}" for state, count in status["counts"].items())
    return err.print(f"{counts} · {run / 'report.html'}")


@app.command()
def check(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="a run's configuration", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Check a configuration and its cohort sheet, without running anything."""
    from pipelines.workflow import Workflow

    workflow = Workflow.load(config)
    if as_json:
        return _print_json([asdict(slide) for slide in workflow.cohort.slides])
    return err.print(f"{config}: {len(workflow.cohort.slides)} slides, results in {workflow.config.folder}")


@app.command()
def cohort(
    out: Annotated[Path, typer.Option(help="cohort.csv to write")],
    slides: Annotated[Path | None, typer.Option(help="folder of slides; with --sheet, where its paths start")] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="CSV: slide, id, case, mpp, label, annotation, split, note")
    ] = None,
) -> None:
    """Write the cohort as it is understood: every slide with its id and full path. Faults are listed all at once."""
    from pipelines.cohort import load_cohort

    load_cohort(slides, sheet).write(out)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="where to put the demo's slides and results")] = Path("demo"),
    cores: Annotated[Optional[int], typer.Option(help="processor cores; default: all")] = None,  # noqa: UP045
) -> None:
    """Generate phantom slides, then train, predict, overlay and report on them with the whole workflow."""
    from pipelines.demo import run_demo

    raise typer.Exit(run_demo(folder, cores))


def _print(what: Any) -> None:
    from rich.console import Console

    Console(soft_wrap=True).print(what)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def main() -> None:
    """Run a command. An error that a person can mend is one line on stderr and exit code 2."""
    # A damaged file makes tifffile log its own lines; ours names the file and the remedy.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    # As an error, so that what is half written is removed on the way out: Snakemake and clusters stop jobs by it.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    debug = "--debug" in sys.argv
    try:
        app([word for word in sys.argv[1:] if word != "--debug"])
    except (WsiError, OSError) as error:
        if debug:
            raise
        err.print(f"tesela: error: {' '.join(str(error).split())}", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
