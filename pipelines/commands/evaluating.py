"""How far a model can be believed: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from models.present import present_of
from models.registry import model_folder
from pipelines.commands.app import MODEL_HELP, AsJson, app, show_json
from pipelines.console import err


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP, show_default=False)],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="tiles of known class, a sub-folder each; or results/<run>: its labelled slides of the split test",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="folder for evaluation.html, evaluation.json and plots/")],
    source_mpp: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0.001, help="µm per px of the tile pictures, which do not say it", show_default=False),
    ] = None,
    baselines_from: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="TRAINDATA",
            help="the tiles that the model was trained on: the colour baselines are fitted on them",
            show_default=False,
        ),
    ] = None,
    case_pattern: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="regular expression: its group is the case, in a file's name; or give DATA a cases.csv"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on tiles of known class, and warn where its figures should not be believed.

    Beside it, a colour histogram and the mean colour are tried on the same tiles, and the model is tried on changed
    pictures of them. Choose nothing by these figures that you then report on the same tiles.
    """
    from pipelines.evaluating import evaluate as run

    found = run(
        model_folder(model), data, out, source_mpp=source_mpp, baselines_from=baselines_from, case_pattern=case_pattern
    )
    for warning in found["warnings"]:
        err.print(f"warning: {warning}", style="yellow")
    if as_json:
        return show_json(found)
    for line in _headline(found):
        err.print(line)
    return err.print(f"{out / 'evaluation.html'}")


def _headline(found: dict[str, Any]) -> list[str]:
    limits = found["intervals"]["balanced_accuracy"]
    between = f" (95 % interval {limits[0]:.3f} to {limits[1]:.3f})" if limits else ""
    return [
        f"balanced accuracy {found['balanced_accuracy']:.3f}{present_of(found)}{between}, "
        f"accuracy {found['accuracy']:.3f}, {found['tiles']} tiles",
        *(
            f"{entry['name']}: balanced accuracy {entry['balanced_accuracy']:.3f}, {entry['how']}"
            for entry in found["baselines"]
        ),
    ]
