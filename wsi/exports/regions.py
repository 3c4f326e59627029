"""regions.geojson: for each class, the tiles at or above its threshold, merged and slightly rounded.

A tile stands for its cell (`TileGrid.cell`: with overlapping tiles, the middle one stride wide), so that no place is
counted twice. Cells that share a side are one region; holes stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsi.annotations import Region, write_geojson
from wsi.colours import class_colours
from wsi.exports.about import thresholds_json
from wsi.exports.outlines import rounded_outlines
from wsi.exports.scored import cell_edges
from wsi.scores import Threshold, TileScores


def write_regions(
    path: Path,
    scores: TileScores,
    thresholds: Mapping[str, Threshold],
    about: dict[str, Any],
    offset_px: tuple[int, int],
) -> None:
    """Write the regions as locked QuPath annotations; `about` and the thresholds become the member "tesela".

    offset_px: level-0 (x, y) of the file's (0, 0).
    """
    said = {**about, "thresholds": thresholds_json(thresholds), "outline": _OUTLINE}
    write_geojson(path, score_regions(scores, thresholds), class_colours(scores.classes), said, offset_px)


_OUTLINE = (
    "corners are rounded by less than a fifth of a tile; area_um2 is that of the tiles themselves, as in summary.json; "
    "regions of two classes may overlap where both thresholds are low"
)


def score_regions(scores: TileScores, thresholds: Mapping[str, Threshold]) -> list[Region]:
    """The regions of every class, in level-0 px, the largest of a class first.

    Measurements: area_um2 (of the cells, as far as they lie on the slide), tiles, mean_probability, threshold.
    """
    edges = cell_edges(scores.grid)
    areas_um2 = scores.grid.cell_areas_mm2() * 1e6
    found: list[Region] = []
    for number, name in enumerate(scores.classes):
        threshold = thresholds[name].value
        probability = scores.probabilities[:, number]
        chosen = np.flatnonzero(probability >= threshold)  # NaN, not scored, is not
        outlines, owner = _merged(chosen, scores.grid.cols)
        tiles = np.bincount(owner, minlength=len(outlines))
        areas = np.bincount(owner, areas_um2[chosen], len(outlines))
        means = np.bincount(owner, probability[chosen], len(outlines)) / np.maximum(tiles, 1)
        polygons = rounded_outlines(outlines, *edges)
        found += [
            Region(
                polygons[i],
                name,
                "tesela",
                {
                    "area_um2": round(float(areas[i]), 2),
                    "tiles": int(tiles[i]),
                    "mean_probability": round(float(means[i]), 4),
                    "threshold": threshold,
                },
            )
            for i in np.argsort(-areas, kind="stable")
        ]
    return found


def _merged(chosen: NDArray[np.int64], cols: int) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """(outlines in cells, region of each of the `chosen` tiles): tile (col, row) is the unit square from there on."""
    row, col = np.divmod(chosen, cols)
    if not len(chosen):
        return np.empty(0, object), np.empty(0, np.int64)
    outlines = shapely.get_parts(shapely.coverage_union_all(shapely.box(col, row, col + 1, row + 1)))
    owner = np.empty(len(chosen), np.int64)
    middles = shapely.STRtree(shapely.points(col + 0.5, row + 0.5))
    region, tile = middles.query(outlines, predicate="contains")
    owner[tile] = region
    return outlines, owner
