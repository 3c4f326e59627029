"""What a slide is, and making it readable: inspect, ingest, convert."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table
from rich.text import Text

from pipelines import stages
from pipelines.commands.app import AsJson, SlideArgument, SlideMpp, app, show, show_json
from pipelines.console import progress_bar
from wsi.convert import ConvertOptions, Target, target_of
from wsi.icc import Icc
from wsi.source import source_of
from wsi.writers.pyramid import Codec


@app.command()
def inspect(slide: SlideArgument, mpp: SlideMpp = None, as_json: AsJson = False) -> None:
    """Show what ingest would find: size, levels, mpp, reader. A slide it cannot read: one clear line, exit 2."""
    from wsi.slide import open_slide

    with open_slide(slide, mpp) as opened:
        info = opened.info()
    if as_json:
        return show_json(asdict(info))
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
    return show(table)


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
        typer.Option(
            help="all but jpeg are lossless [default: the source's if copied; else deflate, or jpeg if it is lossy]"
        ),
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
    What is stored without loss stays so, unless you ask for JPEG. What lies at OUT is replaced only if Tesela wrote it.
    mpp, objective power, ICC profile and scanner settings are kept. Label, macro and other text are left out.
    """
    from wsi.convert import convert as write
    from wsi.slide import open_slide

    options = ConvertOptions(target_of(out, target), codec, quality, tile_px, frozenset(keep or ()))
    with open_slide(source_of(slide), mpp, "as-is") as opened, progress_bar(f"convert {opened.name}") as told:
        made = write(opened, out, options, told)
    show(Text(f"{out}: {made.line}"))
