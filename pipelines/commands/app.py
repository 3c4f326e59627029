"""The `tesela` application itself, and what its commands share: arguments and ways to answer."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any, Optional

import typer
from rich.table import Table
from typer.core import TyperGroup

from pipelines.console import console
from wsi.annotations import Origin

# Characters of a line for what is no terminal: a file or a program takes it whole.
_WIDE = 10_000


class _Commands(TyperGroup):
    """Takes `~` for the home folder wherever it begins a path: shells leave it in `--out=~/out` and in quotes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [_at_home(word) for word in args])


def _at_home(word: str) -> str:
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{option}{equals}{os.path.expanduser(value)}"


app = typer.Typer(
    cls=_Commands,
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
        metavar="SLIDE",
        help="a slide, its slide.json, or the address of an OME-Zarr image; of several scenes in it the largest, "
        "of SLIDE#1 the second largest",
        show_default=False,
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
AnyStain = Annotated[
    bool, typer.Option("--any-stain", help="also take what is no bright-field H&E: fluorescence, grey, inverted")
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
    """Print for a person: a cell that is too long for the terminal goes on in the next line; nothing is cut off."""
    for column in what.columns if isinstance(what, Table) else ():
        column.overflow = "fold"
    console(width=None if sys.stdout.isatty() else _WIDE).print(what)


def show_json(value: Any) -> None:
    """Print for a program."""
    # Where the terminal has few letters, the others are written as JSON writes them.
    letters = (sys.stdout.encoding or "").lower().startswith("utf")
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=not letters) + "\n")
