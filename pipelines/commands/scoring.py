"""From labels to heat maps: label, train, predict, overlay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipelines import stages
from pipelines.commands.app import AsJson, SlideArgument, SlideMpp, app, show_json
from pipelines.console import err
from wsi.errors import InputError
from wsi.overlay import OverlayOptions
from wsi.source import source_of


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
        return show_json(counts)
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
        show_json(summary)


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
