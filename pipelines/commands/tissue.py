"""What on a slide is worth scoring: tissue, tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipelines import stages
from pipelines.commands.app import AsJson, SlideArgument, SlideMpp, app, show_json
from pipelines.console import err
from wsi.blank import BlankOptions
from wsi.geometry import TileSpec
from wsi.source import source_of
from wsi.tissue import TissueOptions


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
        show_json(quality)


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
