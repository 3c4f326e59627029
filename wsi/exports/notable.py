"""What a reader of summary.json looks at first: the hottest tiles, the uncertain ones, and one score a class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.exports.about import thresholds_json
from wsi.exports.scored import ScoredTiles
from wsi.overlay import UNPAINTED
from wsi.scores import AREA_RULES, TileScores

_LONGEST_LIST = 12
_HOTTEST = 10
# A tile that misses a threshold by more is no near miss.
_NEAR = 0.1

_RULES = {
    "top_tiles": f"of each class the {_LONGEST_LIST} most probable tiles at or above its threshold",
    "uncertain": f"the {_LONGEST_LIST} tiles whose most probable class leads the second by least",
    "below_threshold": f"the {_LONGEST_LIST} tiles that miss a class's threshold by least, and by {_NEAR:g} at most; "
    "not those of background",
    "slide_score": "share: of the scored tissue, at or above the class's threshold; "
    f"hottest_mean: mean probability of its {_HOTTEST} most probable tiles, or of all where there are fewer",
}


def notable(scores: TileScores) -> dict[str, Any]:
    """Keys of summary.json: `thresholds`, `slide_score`, `top_tiles`, `uncertain`, `below_threshold`, `rules`.

    A tile is {"class", "probability", "box": [x, y, width, height] in level-0 px, cut at the slide's edge}.
    """
    tiles = ScoredTiles.of(scores)
    thresholds = {name: scores.threshold(name) for name in scores.classes}
    limits = np.array([thresholds[name].value for name in scores.classes], np.float32)
    return {
        "thresholds": thresholds_json(thresholds),
        "slide_score": _slide_score(scores, tiles, limits),
        "top_tiles": _top(tiles, limits),
        "uncertain": _uncertain(tiles),
        "below_threshold": _below(tiles, limits),
        "rules": {"area": AREA_RULES[scores.area_of], **_RULES},
    }


def _slide_score(scores: TileScores, tiles: ScoredTiles, limits: NDArray[np.float32]) -> dict[str, Any]:
    """By class; None where nothing was scored."""
    areas = scores.areas_mm2()[scores.scored]
    total = areas.sum()  # 0 also where no scored tile has tissue in its middle, beside which others overlap it
    found: dict[str, Any] = {}
    for number, name in enumerate(tiles.classes):
        column = tiles.probabilities[:, number]
        hottest = np.sort(column)[-_HOTTEST:]
        found[name] = {
            "share": round(float(areas[column >= limits[number]].sum() / total), 4) if total else None,
            "hottest_mean": round(float(hottest.mean()), 4) if len(tiles) else None,
        }
    return found


def _top(tiles: ScoredTiles, limits: NDArray[np.float32]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, limit in enumerate(limits):
        column = tiles.probabilities[:, number]
        hot = np.flatnonzero(column >= limit)
        hottest = hot[np.argsort(-column[hot], kind="stable")[:_LONGEST_LIST]]
        found += [_entry(tiles, int(tile), number) for tile in hottest]
    return found


def _uncertain(tiles: ScoredTiles) -> list[dict[str, Any]]:
    """Of a single class none: there is no second one that it could be."""
    if len(tiles.classes) < 2:
        return []
    first_two = np.sort(tiles.probabilities, axis=1)[:, -2:]
    order = np.argsort(first_two[:, -1] - first_two[:, 0], kind="stable")[:_LONGEST_LIST]
    return [_entry(tiles, int(tile), int(tiles.winners[tile])) for tile in order]


def _below(tiles: ScoredTiles, limits: NDArray[np.float32]) -> list[dict[str, Any]]:
    missed = limits - tiles.probabilities
    worth = np.array([name not in UNPAINTED for name in tiles.classes])  # what is hardly glass is no near miss
    near = np.argwhere((missed > 0) & (missed <= _NEAR) & worth)
    order = np.argsort(missed[tuple(near.T)], kind="stable")[:_LONGEST_LIST]
    return [_entry(tiles, int(tile), int(number)) for tile, number in near[order]]


def _entry(tiles: ScoredTiles, tile: int, number: int) -> dict[str, Any]:
    return {
        "class": tiles.classes[number],
        "probability": round(float(tiles.probabilities[tile, number]), 4),
        "box": tiles.boxes[tile].tolist(),
    }
