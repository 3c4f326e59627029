"""regions.geojson: for each class, the tiles at or above its threshold, merged and cut along the tissue.

A tile stands for its cell (`TileGrid.cell_edges`: with overlapping tiles, the middle one stride wide), so that no place
is counted twice. Cells that share a side are one region; holes stay, and so do gaps between pieces of tissue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from wsi.annotations import Region, write_geojson
from wsi.colours import class_colours
from wsi.exports.about import thresholds_json
from wsi.exports.outlines import outlines_of
from wsi.scores import Threshold, TileScores

# Lines nearer to each other than that, in level-0 px, are one: files have two decimals.
_SAME_LINE_PX = 0.05


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
    said = {**about, "thresholds": thresholds_json(thresholds), "outline": _OUTLINE[scores.area_of]}
    write_geojson(path, score_regions(scores, thresholds), class_colours(scores.classes), said, offset_px)


_OVERLAP = "regions of two classes may overlap where both thresholds are low"
_OUTLINE = {
    "tissue": "tiles that share a side, cut along the tissue; area_um2 is what the outline encloses, as in "
    f"summary.json; tiles in whose cell there is no tissue make no region; {_OVERLAP}",
    "tiles": f"tiles that share a side, whole; area_um2 is what the outline encloses, as in summary.json; {_OVERLAP}",
}


def score_regions(scores: TileScores, thresholds: Mapping[str, Threshold]) -> list[Region]:
    """The regions of every class, in level-0 px, the largest of a class first.

    Measurements: area_um2 (of the tissue in the cells, where it is known), tiles, mean_probability, threshold.
    """
    pieces, areas_um2 = _Pieces.of(scores), scores.areas_mm2() * 1e6
    shape, found = (scores.grid.rows, scores.grid.cols), list[Region]()
    for number, name in enumerate(scores.classes):
        threshold = thresholds[name].value
        probability = scores.probabilities[:, number]
        chosen = (probability >= threshold) & (areas_um2 > 0)  # NaN, not scored, is not
        count, components = cv2.connectedComponents(chosen.reshape(shape).astype(np.uint8), connectivity=4)
        labels = np.asarray(components, np.int32)
        owner = labels.ravel()[chosen]
        tiles = np.bincount(owner, minlength=count)
        areas = np.bincount(owner, areas_um2[chosen], count)
        means = np.bincount(owner, probability[chosen], count) / np.maximum(tiles, 1)
        shapes = pieces.shapes(labels, count)
        found += [
            Region(
                shapes[i],
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
            if shapes[i] is not None
        ]
    return found


@dataclass(frozen=True)
class _Pieces:
    """The slide parted by the lines between cells and those between px of the tissue's mask.

    x, y: level-0 lines between pieces, ascending. col, row: of every column and row of pieces the cell they are in.
    tissue: (rows, cols) pieces that are tissue; None: all are.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    col: NDArray[np.int64]
    row: NDArray[np.int64]
    tissue: NDArray[np.bool_] | None

    @classmethod
    def of(cls, scores: TileScores) -> _Pieces:
        """Those of a slide's scores; where the tissue is not known, a piece is a cell."""
        x, y = scores.grid.cell_edges()
        if scores.tissue is None:
            return cls(x, y, np.arange(len(x) - 1), np.arange(len(y) - 1), None)
        mask, (px_x, px_y) = scores.tissue.mask, scores.tissue.px_size
        lines_x, lines_y = (
            np.arange(count, dtype=np.float64) * px for count, px in zip(mask.shape[::-1], (px_x, px_y), strict=True)
        )
        fine_x, fine_y = _parted(x, lines_x), _parted(y, lines_y)
        middle_x, middle_y = (fine_x[:-1] + fine_x[1:]) / 2, (fine_y[:-1] + fine_y[1:]) / 2
        in_mask = scores.tissue.px_at(middle_y, 0), scores.tissue.px_at(middle_x, 1)
        col, row = np.searchsorted(x, middle_x, "right") - 1, np.searchsorted(y, middle_y, "right") - 1
        return cls(fine_x, fine_y, col, row, mask.take(in_mask[0], axis=0).take(in_mask[1], axis=1))

    def shapes(self, labels: NDArray[np.int32], count: int) -> list[shapely.Geometry | None]:
        """Of each label of (rows, cols) cells its tissue, in one part or in several; None of 0, and where none is."""
        some = np.flatnonzero((labels > 0).any(axis=1)), np.flatnonzero((labels > 0).any(axis=0))
        found: list[shapely.Geometry | None] = [None] * count
        if not len(some[0]):
            return found
        rows, cols = _within(self.row, some[0]), _within(self.col, some[1])
        mask = (labels > 0).take(self.row[rows], axis=0).take(self.col[cols], axis=1)
        if self.tissue is not None:
            mask &= self.tissue[rows, cols]
        outlines = outlines_of(mask, self.x[cols.start : cols.stop + 1], self.y[rows.start : rows.stop + 1])
        owner = labels[self.row[rows][outlines.row], self.col[cols][outlines.col]]
        order = np.argsort(owner, kind="stable")
        for parts in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
            polygons = outlines.polygons[parts]
            if len(parts):
                found[owner[parts[0]]] = polygons[0] if len(parts) == 1 else shapely.multipolygons(polygons)
        return found


def _parted(edges: NDArray[np.float64], lines: NDArray[np.float64]) -> NDArray[np.float64]:
    """The edges of cells, and what lies between them of other lines, but for those that are nearly an edge."""
    inside = lines[(lines > edges[0]) & (lines < edges[-1])]
    following = np.searchsorted(edges, inside)
    off = np.minimum(inside - edges[following - 1], edges[following] - inside)
    return np.sort(np.concatenate([edges, inside[off > _SAME_LINE_PX]]))


def _within(cell: NDArray[np.int64], chosen: NDArray[np.int64]) -> slice:
    """The pieces from the first of the chosen cells to the last one's."""
    return slice(int(np.searchsorted(cell, chosen[0], "left")), int(np.searchsorted(cell, chosen[-1], "right")))
