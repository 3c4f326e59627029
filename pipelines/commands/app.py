"""The `tesela` application itself, and what its commands share: arguments and ways to answer."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any, Optional

import typer
from rich.console import Console

from wsi.annotations import Origin

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
FileOrigin = Annotated[
    Optional[Origin],  # noqa: UP045
    typer.Option(
        "--origin",
        help="for a slide with bounds (MRXS, SCN...): from where GeoJSON counts that does not say so itself; bounds: "
        "drawn in QuPath",
        show_default=False,
    ),
]
MODEL_HELP = "a trained model: its folder, or name or name@version (`tesela models list`)"
Threads = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--threads", min=1, help="processor threads; default: all", show_default=False),
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


def show(what: Any) -> None:
    """Print for a person; long lines are left whole, for programs that read them."""
    Console(soft_wrap=True).print(what)


def show_json(value: Any) -> None:
    """Print for a program."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
