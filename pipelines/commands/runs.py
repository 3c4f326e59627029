"""Whole runs: report, check, cohort, demo."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.text import Text

from pipelines.cohort import COLUMNS, Cohort, load_cohort
from pipelines.commands.app import AsJson, app, show_json
from pipelines.console import err


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="results/<run>", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Write report.html, status.json and cohort.parquet of a run, finished or not; every slide is listed."""
    from pipelines.report import write_report

    status = write_report(run)
    if as_json:
        return show_json(status)
    for slide in status["slides"]:
        if slide["state"] == "failed":
            err.print(Text.assemble(("failed", "red"), f" {slide['id']}: {slide['reason']}"))
    counts = ", ".join(f"{count} {state}" for state, count in status["counts"].items())
    return err.print(f"{counts} · {run / 'report.html'}")


@app.command()
def check(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="a run's configuration", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Check a configuration and its cohort sheet, without running anything."""
    from pipelines.workflow import Workflow

    workflow = Workflow.load(config)
    err.print(f"{config}: {len(workflow.cohort.slides)} slides, results in {workflow.config.folder}")
    _show_intake(workflow.cohort)
    if as_json:
        show_json([asdict(slide) for slide in workflow.cohort.slides])


def _show_intake(cohort: Cohort) -> None:
    """What went in and what did not, and what a person should look at."""
    if cohort.intake is not None:
        err.print(cohort.intake.sentence)
        for warning in cohort.intake.warnings:
            err.print(f"warning: {warning}", style="yellow")
    for slide in cohort.slides:
        if slide.fault:
            err.print(f"warning: {slide.id} will fail: {slide.fault}", style="yellow")


@app.command()
def cohort(
    out: Annotated[Path, typer.Option(help="cohort.csv to write")],
    slides: Annotated[Path | None, typer.Option(help="folder of slides; with --sheet, where its paths start")] = None,
    sheet: Annotated[Path | None, typer.Option(help=f"CSV: {', '.join(COLUMNS)}")] = None,
) -> None:
    """Write the cohort as it is understood: every slide with its id and full path; beside it cohort.json, the counts.

    Faults are listed all at once.
    """
    found = load_cohort(slides, sheet)
    found.write(out)
    _show_intake(found)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="where to put the demo's slides and results")] = Path("demo"),
    cores: Annotated[Optional[int], typer.Option(help="processor cores; default: all")] = None,  # noqa: UP045
) -> None:
    """Generate phantom slides, then train, predict, overlay and report on them with the whole workflow."""
    from pipelines.demo import run_demo

    raise typer.Exit(run_demo(folder, cores))
