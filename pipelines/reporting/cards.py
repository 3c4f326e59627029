"""One slide as the page shows it, made of whatever the slide left behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely

from pipelines.cohort import CohortSlide
from pipelines.reporting.gallery import Gallery, gallery_of
from pipelines.reporting.pictures import Budget, Picture, overview, share_bar
from pipelines.status import SlideStatus, reached, read_json
from wsi.annotations import read_geojson
from wsi.annotations.tissue import TissueOutlines
from wsi.colours import class_colours, hex_of
from wsi.errors import InputError
from wsi.scores import AREA_RULES

# What a person may want to open beside the page: file, what a slide must have reached for it to be of now, what it is.
_LINKED = (
    ("overlay.ome.tif", "overlay.ome.tif", "overlay for QuPath and OpenSlide"),
    ("overlay.png", "overlay.png", "overlay as a picture"),
    ("regions.geojson", "predictions.parquet", "regions for QuPath"),
    ("tiles.geojson.gz", "predictions.parquet", "tiles for QuPath"),
    ("tissue.geojson", "tissue.geojson", "tissue outlines"),
)


@dataclass(frozen=True)
class ClassRow:
    """A class on a slide: colour `#rrggbb`, area and share of the scored area where it is the most probable.

    threshold, above, hottest: the slide's score, see the rules in summary.json. None where not known.
    """

    name: str
    colour: str
    area_mm2: float
    share: float | None
    threshold: float | None = None
    above: float | None = None
    hottest: float | None = None


@dataclass(frozen=True)
class Card:
    """One slide. info, quality, summary: what slide.json, quality.json and summary.json say, empty where not reached.

    `tissue_area_mm2` is that of the outlines as they are now: a person may have corrected them. None where unknown.
    `shown` says what the picture is, `links` are (file beside the report, what it is).
    """

    slide: CohortSlide
    status: SlideStatus
    info: Mapping[str, Any]
    quality: Mapping[str, Any]
    summary: Mapping[str, Any]
    tissue_area_mm2: float | None
    classes: tuple[ClassRow, ...]
    picture: Picture | None
    shown: str
    gallery: Gallery
    links: tuple[tuple[str, str], ...]

    @property
    def bar(self) -> str:
        """The shares of the classes as one bar, as a data address; '' where nothing was scored."""
        return share_bar([(row.share, row.colour) for row in self.classes if row.share])

    @property
    def facts(self) -> list[str]:
        """What else is known of the slide, a line each."""
        found = []
        if self.summary:
            precision = self.summary.get("precision", "unknown precision")
            found.append(f"{self.summary['tiles_scored']} tiles scored by {self.summary.get('model')!r}, {precision}")
        if self.info:
            power = self.info.get("objective_power")
            found.append(
                f"{self.info['width']} × {self.info['height']} px" + (f", objective {power:g}×" if power else "")
            )
            found.append(f"reader {self.info.get('reader', 'unknown')}")
        if self.quality.get("focus_median") is not None:
            found.append(f"Focus {self.quality['focus_median']:.2f} · pen on {self.quality['ink_fraction']:.1%}")
        if self.status.labels is not None:
            found += self.status.labels.lines()
        if self.info:
            found.append(f"fingerprint {self.info['fingerprint']}")
        return found

    def share_of(self, name: str) -> float | None:
        """Share of the scored area that a class has; None where nothing was scored, or not for that class."""
        return next((row.share for row in self.classes if row.name == name), None)

    def colour_of(self, name: str) -> str:
        """`#rrggbb` of a class; grey for one that the summary does not name."""
        return next((row.colour for row in self.classes if row.name == name), "#888888")

    @property
    def mpp(self) -> tuple[float, float] | None:
        """(x, y) µm per level-0 px; None where unknown."""
        found: tuple[float, float] | None = self.info.get("mpp")
        return found


def card_of(run: Path, slide: CohortSlide, status: SlideStatus, budget: Budget) -> Card:
    """What the page shows of a slide; nothing that it left behind can fail."""
    folder = run / "slides" / slide.id
    there = reached(status)
    info, quality, summary = (
        read_json(folder / name) if name in there else {} for name in ("slide.json", "quality.json", "summary.json")
    )
    # A failed slide shows what was reached: the thumbnail says more than nothing.
    shown = "overlay.png" if status.state != "failed" else "thumbnail.jpg"
    return Card(
        slide,
        status,
        info,
        quality,
        summary,
        _outlined_mm2(folder / "tissue.geojson", info) if "tissue.geojson" in there else None,
        _class_rows(summary),
        _overview(folder / shown, budget) if shown in there else None,
        "Overlay" if shown == "overlay.png" else "Thumbnail",
        gallery_of(folder, summary, budget) if summary.get("tiles_scored") else Gallery(),
        tuple(
            (f"slides/{slide.id}/{name}", text)
            for name, needed, text in _LINKED
            if needed in there and (folder / name).exists()
        ),
    )


def rules_of(cards: Iterable[Card]) -> list[tuple[str, str]]:
    """(what, by which rule) of the slides' scores and lists of tiles, as summary.json states them, each once."""
    # A summary of an older version, which does not say of what its areas are, has them of whole tiles.
    rules = [{"area": AREA_RULES["tiles"], **card.summary.get("rules", {})} for card in cards if card.summary]
    found = {(name, rule): None for one in rules for name, rule in one.items()}
    return [(name.replace("_", " ").capitalize(), rule) for name, rule in found]


def _overview(path: Path, budget: Budget) -> Picture | None:
    try:
        return overview(path, budget.overview_bytes)
    except (OSError, ValueError):
        return None


def _class_rows(summary: Mapping[str, Any]) -> tuple[ClassRow, ...]:
    classes = summary.get("classes", {})
    colours, scores, thresholds = (
        class_colours(tuple(classes)),
        summary.get("slide_score", {}),
        summary.get("thresholds", {}),
    )
    return tuple(
        ClassRow(
            name,
            hex_of(colours[name]),
            entry["area_mm2"],
            entry["share"],
            thresholds.get(name, {}).get("value"),
            scores.get(name, {}).get("share"),
            scores.get(name, {}).get("hottest_mean"),
        )
        for name, entry in classes.items()
    )


def _outlined_mm2(path: Path, info: Mapping[str, Any]) -> float | None:
    """Area in mm² of the tissue that tissue.geojson outlines, whoever drew it; None where it cannot be told."""
    if info.get("mpp") is None or not path.exists():
        return None
    try:
        regions = TissueOutlines.of(read_geojson(path)).regions
    except InputError:
        return None  # the stage that cuts tiles said so: the slide's reason shows it
    area_px = float(shapely.union_all([region.polygon for region in regions]).area)
    return round(area_px * float(info["mpp"][0]) * float(info["mpp"][1]) / 1e6, 4)
