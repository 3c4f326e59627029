"""What an export says of itself, for who finds the file alone."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsi.scores import AREA_RULES, Threshold, TileScores

RESEARCH_USE = "Research use only. Not for diagnosis."


def about(scores: TileScores, offset_px: tuple[int, int], predictions: str) -> dict[str, Any]:
    """Slide (its fingerprint), model, tiles, and the frame of the coordinates.

    offset_px: level-0 (x, y) of the file's (0, 0). predictions: SHA-256 of the table that the scores are from.
    """
    return {
        "slide": scores.slide,
        "predictions": predictions,
        "model": scores.model,
        "tile": asdict(scores.grid.spec),
        "slide_px": [scores.grid.slide_width, scores.grid.slide_height],
        "slide_mpp": list(scores.grid.slide_mpp),
        "offset_px": list(offset_px),
        "frame": _FRAME if offset_px == (0, 0) else _FRAME_OF_BOUNDS,
        "edge": "what reaches over the slide's edge is cut there",
        "area": AREA_RULES[scores.area_of],
        **({"overlap": _OVERLAP} if scores.grid.spec.stride_px < scores.grid.spec.size_px else {}),
        "use": RESEARCH_USE,
    }


def export_predictions(path: Path) -> str:
    """SHA-256 of the predictions that a regions.geojson or tiles.geojson.gz says it is of; "" where it does not say.

    Both say it before the first feature: only the head is read.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(b"\x1f\x8b"):
        head = zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    found = _PREDICTIONS.search(head)
    return found[1].decode() if found else ""


_HEAD_BYTES = 1 << 14
_PREDICTIONS = re.compile(rb'"predictions": ?"([0-9a-f]{64})"')
_OVERLAP = (
    "in GeoJSON an overlapping tile is its middle, one stride wide, and at the slide's edge all to there; in tables "
    "its box is the whole tile"
)
_FRAME = "level-0 px (x, y) from the slide's top-left corner"
_FRAME_OF_BOUNDS = (
    "level-0 px (x, y) from offset_px, the corner of the slide's bounds, at which QuPath begins to show it; add "
    "offset_px for px of the whole level 0"
)


def thresholds_json(thresholds: Mapping[str, Threshold]) -> dict[str, Any]:
    """By class: the probability, and whether it was given, is the model's or the default."""
    return {name: {"value": found.value, "from": found.source} for name, found in thresholds.items()}
