"""Before a project: pilot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from pipelines.commands.app import AsJson, Threads, app, show_json
from pipelines.console import err


@app.command()
def pilot(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG.yaml", help="the sections `tile` and `train`, as for `tesela train`", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder for pilot.html, pilot.json, plots/ and points/")],
    sizes: Annotated[int, typer.Option(min=2, help="training-set sizes, the last one all but the test part")] = 6,
    seeds: Annotated[int, typer.Option(min=1, help="draws of each size")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="only the cheap reader, without the network")] = False,
    slides: Annotated[
        list[Path] | None, typer.Option("--slide", help="folder with slide.json and labels.parquet")
    ] = None,
    cases: Annotated[Optional[list[str]], typer.Option("--case", help="case of each --slide, in order")] = None,  # noqa: UP045
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Tell from a small labelled set what more data would buy, and whether the task looks learnable.

    Draws a learning curve, of a cheap reader of colour and texture (seconds to minutes) and of the configuration's
    network, and extrapolates it with its uncertainty. Trainings that are done are kept: a pilot that was killed goes
    on when the same command is given again. Test tiles of the configuration are not touched.
    """
    from pipelines.config import load_train_file
    from pipelines.learning import training_slides
    from pipelines.piloting import pilot as run

    given = training_slides(slides or [], [], [], cases)
    found = run(load_train_file(config), out, given, sizes=sizes, seeds=seeds, quick=quick, threads=threads)
    if as_json:
        return show_json(found)
    for caution in found["cautions"]:
        err.print(f"warning: {caution}", style="yellow")
    for line in _told(found):
        err.print(line)
    return err.print(f"{out / 'pilot.html'}")


def _told(found: dict[str, Any]) -> list[str]:
    lines = []
    for curve in found["curves"]:
        lines += [f"{curve['name']}: {said}" for said in (*curve["sentences"], curve["misfit"]) if said]
    judged = found["verdict"]
    lines += [f"{reason['question']} {reason['finding']}" for reason in judged["reasons"]]
    return [*lines, judged["sentence"]]
