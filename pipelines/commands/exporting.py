"""Scores for other programs: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipelines import stages
from pipelines.commands.app import AsJson, SlideArgument, SlideMpp, app, show_json
from pipelines.console import err
from wsi.exports import FILES, ExportOptions
from wsi.source import source_of


@app.command()
def export(
    slide: SlideArgument,
    predictions: Annotated[Path, typer.Option(help="predictions.parquet")],
    out: Annotated[Path, typer.Option(help=f"folder for {', '.join(FILES.values())}")],
    threshold: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            min=0,
            max=1,
            help="probability from which on tiles make a region; default: the model's, or 0.5",
        ),
    ] = None,
    formats: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help=f"of {','.join(FILES)}; several with commas, or repeat; default: tiles,regions,csv"),
    ] = None,
    mpp: SlideMpp = None,
    as_json: AsJson = False,
) -> None:
    """Write a slide's scores for QuPath (0.4 or later), for what reads WSInfer's CSV, or as GeoParquet.

    tiles: every scored tile with its class and probabilities. regions: for each class, tiles at or above the threshold,
    merged. Both are GeoJSON in QuPath's frame: where a slide has bounds (MRXS, SCN...), QuPath begins at their corner,
    and the file says by how much (`tesela.offset_px`). The tables count from the corner of level 0.
    """
    asked = tuple(name.strip() for words in formats or () for name in words.split(",")) or None
    paths = stages.export(source_of(slide), predictions, out, ExportOptions(threshold, asked), mpp)
    if as_json:
        return show_json([str(path) for path in paths])
    return err.print(", ".join(str(path) for path in paths))
