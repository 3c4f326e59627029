"""report.html: the whole run on one page that needs no network; with it status.json and cohort.parquet."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.cohort import Cohort
from pipelines.reporting.cards import card_of, rules_of
from pipelines.reporting.models import models_of
from pipelines.reporting.page import write_page
from pipelines.reporting.pictures import Budget
from pipelines.reporting.provenance import provenance_of
from pipelines.reporting.table import cohort_table
from pipelines.status import status_of, to_json
from wsi.atomic import write_json
from wsi.preview import RESEARCH_USE
from wsi.tiles import write_table


def write_report(run: Path) -> dict[str, Any]:
    """Write report.html, status.json and cohort.parquet of a run, whether or not all slides are done.

    Returns what status.json says. Raises InputError where `run` is not a run's folder.
    """
    cohort = Cohort.load(run / "cohort.csv")
    statuses = status_of(run, cohort)
    budget = Budget.of(len(statuses))
    cards = [card_of(run, slide, status, budget) for slide, status in zip(cohort.slides, statuses, strict=True)]
    status = to_json(statuses, cohort.intake)
    write_table(run / "cohort.parquet", cohort_table(cards))
    write_page(
        run / "report.html",
        "report",
        run=run.resolve().name,
        cards=cards,
        counts=status["counts"],
        intake=cohort.intake,
        class_names=list(dict.fromkeys(row.name for card in cards for row in card.classes)),
        rules=rules_of(cards),
        models=models_of(run),
        provenance=provenance_of(run, cards),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        research_use=RESEARCH_USE,
    )
    write_json(run / "status.json", status)
    return status
