"""cohort.parquet: one row a slide, for those who go on from here with a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import pyarrow as pa

from pipelines.reporting.cards import Card

# Columns out of quality.json; docs/quality.md says what each means.
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


def cohort_table(cards: Sequence[Card]) -> pa.Table:
    """The sheet's columns, each slide's state, its areas in mm², its quality; null where unknown.

    mpp is the one that was used, µm per px along x (mpp_y: along y), wherever it is from (mpp_source: file, given).
    """
    names = sorted({row.name for card in cards for row in card.classes})
    rows = []
    for card in cards:
        areas = {row.name: row.area_mm2 for row in card.classes}
        rows.append(
            {
                **{name: value for name, value in asdict(card.slide).items() if name != "fault"},  # it is the reason
                "mpp": card.mpp[0] if card.mpp else card.slide.mpp,
                "mpp_y": card.mpp[1] if card.mpp else card.slide.mpp,
                "mpp_source": card.info.get("mpp_source"),
                "fingerprint": card.info.get("fingerprint"),
                "state": card.status.state,
                "reason": card.status.reason,
                "tissue_area_mm2": card.tissue_area_mm2,
                "scored_area_mm2": card.summary.get("scored_area_mm2"),
                **{name: card.quality.get(name) for name in _QUALITY_COLUMNS},
                **{f"area_mm2_{name}": areas.get(name) for name in names},
            }
        )
    return pa.Table.from_pylist(rows)
