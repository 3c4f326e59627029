"""Searching for better settings: tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from pipelines.commands.app import AsJson, Threads, app, show_json
from pipelines.console import err


@app.command()
def tune(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG", help="YAML with the sections `tile`, `train`, `tune`", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="folder of the search")],
    trials: Annotated[int, typer.Option(min=1, help="trainings in all, with those of a search that goes on")] = 30,
    seconds: Annotated[Optional[float], typer.Option(min=0, help="begin no further trial after so long")] = None,  # noqa: UP045
    folds: Annotated[Optional[int], typer.Option(min=2, help="a trial is the mean over so many folds")] = None,  # noqa: UP045
    slides: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--slide", help="folder with slide.json and labels.parquet"),
    ] = None,
    val_slides: Annotated[Optional[list[Path]], typer.Option("--val-slide", help="to measure trials on")] = None,  # noqa: UP045
    cases: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--case", help="case of each --slide, then of each --val-slide, in order"),
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Search for better settings of a training: best.yaml, tune.json, trials.csv, plots/.

    Each trial is a training with other values, measured by `train.choose_by` on validation tiles (held out, or with
    --folds every tile once); poor ones end early. The test folder is never touched: train with best.yaml to learn
    what the model is worth.

    What is searched is the section `tune`: `learning_rate: {low: 0.0001, high: 0.01, log: true}`,
    `augmentation: [light, strong]`. Without it: learning_rate, weight_decay, label_smoothing and augmentation.

    A search that was killed goes on when the same command is given again. It needs Optuna: `pip install
    'tesela[tune]'`.
    """
    from models.tuning import TuneOptions
    from pipelines import tuning
    from pipelines.config import load_train_file
    from pipelines.learning import training_slides

    given = training_slides(slides or [], val_slides or [], [], cases)
    found = tuning.tune(load_train_file(config), out, TuneOptions(trials, seconds, folds), given, threads)
    if as_json:
        return show_json(found)
    for line in _told(found, out):
        err.print(line)
    return None


def _told(found: dict[str, Any], out: Path) -> list[str]:
    best, counts = found["best"], found["trials"]
    own = "" if found["own"] is None else f"; as configured {found['own']:.4f}"
    return [
        f"{counts['finished']} trials finished, {counts['pruned']} pruned, {counts['failed']} failed",
        f"best: {found['choose_by']} {best['value']:.4f} (trial {best['trial']}){own}, median {found['median']:.4f}",
        *(f"warning: {warning}" for warning in found["warnings"]),
        f"tesela train --config {out / 'best.yaml'} --out ...",
    ]
