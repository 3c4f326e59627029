"""What on a slide is worth scoring: tissue, what a pen outlined, tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipelines import stages
from pipelines.commands.app import AnyStain, AsJson, FileOrigin, SlideArgument, SlideMpp, app, show_json
from pipelines.console import err
from pipelines.reporting.flags import flags_of
from wsi.atomic import refuse_overwriting
from wsi.blank import BlankOptions
from wsi.errors import InputError
from wsi.geometry import Edge, TileSpec
from wsi.ink import Area, InkOptions
from wsi.source import source_of
from wsi.tissue import TissueOptions
from wsi.workers import Workers

# A resolution is above 0, which Typer cannot say; nothing that light shows is as fine as this, µm per px.
_LEAST_MPP = 0.001


@app.command()
def tissue(
    slide: SlideArgument,
    out: Annotated[Path, typer.Option(help="folder for tissue.geojson, thumbnail.jpg and quality.json")],
    mask_mpp: Annotated[
        float, typer.Option(min=_LEAST_MPP, help="resolution of the mask, µm per px")
    ] = TissueOptions.mask_mpp,
    min_area_mm2: Annotated[float, typer.Option(min=0, help="smaller pieces are dust")] = TissueOptions.min_area_mm2,
    max_hole_mm2: Annotated[float, typer.Option(min=0, help="smaller holes are filled")] = TissueOptions.max_hole_mm2,
    any_stain: AnyStain = False,
    mpp: SlideMpp = None,
    as_json: AsJson = False,
) -> None:
    """Find the tissue: outlines (GeoJSON, level-0 px), a thumbnail that shows them, areas in mm², quality."""
    options = TissueOptions(mask_mpp, min_area_mm2, max_hole_mm2, any_stain)
    quality = stages.tissue(source_of(slide), out, options, mpp)
    if as_json:
        show_json(quality)
    for flag in flags_of(quality):
        err.print(f"note: {flag.text}", markup=False)


@app.command()
def ink(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="a slide, or a picture of one: PNG, JPEG", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="regions.geojson to write")],
    mask: Annotated[Optional[Path], typer.Option(help="also as PNG: 255 inside; 4,096 px at most")] = None,  # noqa: UP045
    area: Annotated[Area, typer.Option(help="tissue: what is enclosed and tissue; all: glass too")] = "tissue",
    mpp: SlideMpp = None,
    as_json: AsJson = False,
) -> None:
    """Turn what a pathologist drew with a pen into regions: the tissue enclosed, without the ink, holes filled.

    Gaps in outlines are bridged; writing is no region. Each region is named after its pen ("blue pen": give it its
    class in QuPath) and has a confidence: the share of its outline that is ink, 1 where it is closed.
    """
    source = source_of(image)
    for path in filter(None, (out, mask)):
        refuse_overwriting(path, source)
    if mask is not None:
        _check_mask(mask, out)
    found = stages.ink(source, out, InkOptions(area), mask, mpp)
    if as_json:
        regions = [{"name": region.name, **region.measurements} for region in found.regions]
        return show_json({"regions": regions, "notes": found.notes})
    for region in found.regions:
        numbers = ", ".join(f"{name} {value:g}" for name, value in region.measurements.items())
        err.print(f"{region.name}: {numbers}")
    for note in found.notes:
        err.print(f"note: {note}")
    return None


def _check_mask(mask: Path, out: Path) -> None:
    """Raise InputError where the mask is no PNG by its name, or would be replaced by the regions."""
    if mask.resolve() == out.resolve():
        raise InputError(f"{mask}: given for both --mask and --out; give each a name of its own")
    if mask.suffix.lower() != ".png":
        raise InputError(f"{mask}: the mask is written as PNG; give --mask a name that ends in .png")


@app.command()
def tiles(
    slide: SlideArgument,
    out: Annotated[Path, typer.Option(help="tiles.parquet to write")],
    mpp: Annotated[
        float, typer.Option(min=_LEAST_MPP, help="µm per px of a tile; reading resamples to it", show_default=False)
    ],
    size_px: Annotated[int, typer.Option("--size-px", "--size", min=8, help="side of a tile, px at --mpp")] = 128,
    stride_px: Annotated[Optional[int], typer.Option(min=1, help="step between tiles [default: --size-px]")] = None,  # noqa: UP045
    min_tissue: Annotated[float, typer.Option(min=0, max=1, help="share of a tile that must be tissue")] = 0.1,
    allow_upsample: Annotated[bool, typer.Option("--allow-upsample", help="take coarser slides, enlarged")] = False,
    tissue_geojson: Annotated[Optional[Path], typer.Option("--tissue", help="outlines; default: found now")] = None,  # noqa: UP045
    origin: FileOrigin = None,
    mask_mpp: Annotated[
        float, typer.Option(min=_LEAST_MPP, help="resolution of the tissue mask")
    ] = TissueOptions.mask_mpp,
    any_stain: AnyStain = False,
    edge: Annotated[Edge, typer.Option(help="tiles over the slide's edge: white there, or left out")] = "pad",
    bright_level: Annotated[
        int, typer.Option(min=0, max=255, help="darkest channel above this: bright px")
    ] = BlankOptions.bright_level,
    max_bright: Annotated[float, typer.Option(min=0, max=1, help="share of bright px above, and no colour: blank")] = (
        BlankOptions.max_bright
    ),
    min_colour: Annotated[float, typer.Option(min=0, help="saturation std below: no colour")] = BlankOptions.min_colour,
    min_contrast: Annotated[float, typer.Option(min=0, help="std of green below: blank")] = BlankOptions.min_contrast,
    max_ink: Annotated[float, typer.Option(min=0, max=1, help="share of ink px above: blank")] = BlankOptions.max_ink,
    min_focus: Annotated[Optional[float], typer.Option(min=0, help="focus below: blank; 0: only measured")] = None,  # noqa: UP045
    scheduler: Annotated[str | None, typer.Option(help="Dask: tcp://…, slurm, pbs…; default: threads")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="jobs to send to slurm, pbs…")] = Workers.jobs,
    slide_mpp: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=_LEAST_MPP, help="µm per level-0 px of the slide, if unknown"),
    ] = None,
) -> None:
    """Lay the tile grid and drop what is blank, on Dask: one task per band of rows."""
    count = stages.tiles(
        source_of(slide),
        out,
        TileSpec(size_px, mpp, stride_px or size_px),
        BlankOptions(bright_level, max_bright, min_colour, min_contrast, max_ink, min_focus),
        min_tissue=min_tissue,
        allow_upsample=allow_upsample,
        tissue_path=tissue_geojson,
        tissue_options=TissueOptions(mask_mpp, any_stain=any_stain),
        edge=edge,
        origin=origin,
        scheduler=scheduler,
        jobs=jobs,
        mpp=slide_mpp,
    )
    err.print(f"{count} tiles to score")
