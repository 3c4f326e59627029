"""report.html: the whole run on one page that needs no network; with it status.json and cohort.parquet."""

from __future__ import annotations

import base64
import io
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import shapely
from jinja2 import Environment, PackageLoader, select_autoescape
from PIL import Image

from pipelines.cohort import Cohort, CohortSlide
from pipelines.status import SlideStatus, reached, read_json, status_of, to_json
from wsi.annotations import read_geojson
from wsi.atomic import write_json, writing
from wsi.colours import class_colours, hex_of
from wsi.errors import InputError
from wsi.preview import RESEARCH_USE
from wsi.tiles import write_table

# A card's picture: sharp on a screen, and small enough that a page of some hundred slides stays light.
_PREVIEW_PX = 900
_JPEG_QUALITY = 82
# Columns of cohort.parquet out of quality.json; docs/quality.md says what each means.
_QUALITY_COLUMNS = (
    "focus_median",
    "out_of_focus_share",
    "fold_hint_share",
    "bubble_hint_count",
    "ink_fraction",
    "hematoxylin_density",
    "eosin_density",
    "background_step_levels",
)


@dataclass(frozen=True)
class Card:
    """One slide as the page shows it. `classes`: rows of (name, colour, area_mm2, share).

    `tissue_area_mm2` is that of the outlines as they are now: a person may have corrected them. None where unknown.
    """

    slide: CohortSlide
    status: SlideStatus
    info: dict[str, Any] | None
    quality: dict[str, Any] | None
    tissue_area_mm2: float | None
    summary: dict[str, Any] | None
    classes: list[tuple[str, str, float, float | None]]
    picture: str


def write_report(run: Path) -> dict[str, Any]:
    """Write report.html, status.json and cohort.parquet of a run, whether or not all slides are done.

    Returns what status.json says. Raises InputError where `run` is not a run's folder.
    """
    cohort = Cohort.load(run / "cohort.csv")
    statuses = status_of(run, cohort)
    cards = [_card(run, slide, status) for slide, status in zip(cohort.slides, statuses, strict=True)]
    status = to_json(statuses)
    write_table(run / "cohort.parquet", _cohort_table(cards))
    page = Environment(
        loader=PackageLoader("pipelines"), autoescape=select_autoescape(default=True), trim_blocks=True
    ).get_template("report.html.j2")
    html = page.render(
        run=run.name,
        cards=cards,
        counts=status["counts"],
        models=_models(run),
        version=version("tesela"),
        research_use=RESEARCH_USE,
    )
    with writing(run / "report.html") as temporary:
        temporary.write_text(html, "utf-8")
    write_json(run / "status.json", status)
    return status


def _card(run: Path, slide: CohortSlide, status: SlideStatus) -> Card:
    folder = run / "slides" / slide.id
    there = reached(status)
    summary = _maybe_json(folder / "summary.json", there)
    info = _maybe_json(folder / "slide.json", there)
    # A failed slide shows what was reached: the thumbnail says more than nothing.
    shown = folder / "overlay.png" if status.state != "failed" else folder / "thumbnail.jpg"
    return Card(
        slide,
        status,
        info,
        _quality(folder / "quality.json", there),
        _outlined_mm2(folder / "tissue.geojson", info) if "tissue.geojson" in there else None,
        summary,
        _class_rows(summary) if summary else [],
        _data_url(shown) if shown.exists() else "",
    )


def _class_rows(summary: dict[str, Any]) -> list[tuple[str, str, float, float | None]]:
    colours = class_colours(tuple(summary["classes"]))
    return [
        (name, hex_of(colours[name]), entry["area_mm2"], entry["share"]) for name, entry in summary["classes"].items()
    ]


def _maybe_json(path: Path, there: set[str]) -> dict[str, Any] | None:
    return read_json(path) if path.name in there and path.exists() else None


def _quality(path: Path, there: set[str]) -> dict[str, Any] | None:
    """quality.json with every column; None in those that a file of an older version does not have."""
    found = _maybe_json(path, there)
    return None if found is None else dict.fromkeys(_QUALITY_COLUMNS) | found


def _outlined_mm2(path: Path, info: dict[str, Any] | None) -> float | None:
    """Area in mm² within the outlines of tissue.geojson, whoever drew them; None where it cannot be told."""
    if info is None or info["mpp"] is None or not path.exists():
        return None
    try:
        regions = read_geojson(path)
    except InputError:
        return None  # the stage that cuts tiles said so: the slide's reason shows it
    area_px = float(shapely.union_all([region.polygon for region in regions]).area)
    return round(area_px * float(info["mpp"][0]) * float(info["mpp"][1]) / 1e6, 4)


def _data_url(path: Path) -> str:
    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((_PREVIEW_PX * 2, _PREVIEW_PX))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _cohort_table(cards: list[Card]) -> pa.Table:
    """One row a slide: the sheet's columns, its state, its areas in mm², its quality (null where unknown)."""
    names = sorted({name for card in cards for name, *_ in card.classes})
    rows = []
    for card in cards:
        areas = {name: area for name, _, area, _ in card.classes}
        rows.append(
            {
                **asdict(card.slide),
                "state": card.status.state,
                "reason": card.status.reason,
                "tissue_area_mm2": card.tissue_area_mm2,
                "scored_area_mm2": card.summary["scored_area_mm2"] if card.summary else None,
                **{name: (card.quality or {}).get(name) for name in _QUALITY_COLUMNS},
                **{f"area_mm2_{name}": areas.get(name) for name in names},
            }
        )
    return pa.Table.from_pylist(rows)


def _models(run: Path) -> list[dict[str, Any]]:
    """The models this run trained, with their figures and plots."""
    found = []
    for folder in sorted((run / "models").glob("*")):
        if not (folder / "metrics.json").exists() or not (folder / "model.json").exists():
            continue
        metrics, model = read_json(folder / "metrics.json"), read_json(folder / "model.json")
        on = "test" if metrics.get("test") else "val"
        plots = [_data_url(plot) for plot in sorted((folder / "plots").glob("*.png"))]
        found.append({"name": folder.name, "model": model, "figures": metrics[on], "on": on, "plots": plots})
    return found
