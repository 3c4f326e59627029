"""Tile labels from regions: a tile takes the name that covers most of it. Of tiles without one it is counted why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsi.annotations import Region
from wsi.annotations.place import check_place
from wsi.areas import ClassAreas, class_areas
from wsi.coverage import Coverage
from wsi.errors import InputError
from wsi.geometry import TileGrid
from wsi.labelcounts import LabelCounts, TileCounts
from wsi.names import alike_notes, class_name, is_ignored

EVERYWHERE_SEEN = shapely.Polygon()


def label_tiles(
    table: pa.Table,
    grid: TileGrid,
    regions: Sequence[Region],
    min_cover: float,
    outside: str | None = None,
    unseen: BaseGeometry = EVERYWHERE_SEEN,
    *,
    exclusions: int = 0,
    notes: Sequence[str] = (),
) -> pa.Table:
    """The tile table with columns `label` (string, null where nothing covers enough) and `cover` (float32, 0-1).

    min_cover: share of the tile that a region must cover to name it; the best covered name wins, and of two that cover
    as much neither. outside: the name of tiles of which at least this share lies in no region; the border tiles between
    have none. unseen: the part of the slide (level-0 px) where nobody looked, which is neither within a region nor
    outside. exclusions, notes: what else was found in the annotations' file, for the counts.

    `cover` is the share that the best covering name covers, also where that is too little for a label.
    Where regions of several names overlap, the innermost decides (`areas.class_areas`); where none lies within the
    other, and within regions whose name ends in a star, tiles have no label, and are not outside either.
    The metadata of the table holds `LabelCounts`.

    Raises InputError where a region lies outside of the slide: all tiles would be `outside`, in silence.
    """
    outside = None if outside is None else class_of(outside, "outside")
    place_notes = check_place(regions, (grid.slide_width, grid.slide_height))
    areas = class_areas(regions, exclusions)
    coverage = Coverage.of(areas, unseen, grid)
    label, state = _labels(coverage, min_cover, outside)
    if "blank" in table.column_names:
        state[table["blank"].to_numpy(zero_copy_only=False).astype(bool)] = "blank"
    tiles = _tile_counts(label, state)
    contested = _contested(areas, coverage, grid, state == "contested", min_cover)
    said = [*notes, *place_notes, *_contest_notes(contested), *_class_notes(regions, outside, tiles)]
    table = table.append_column("label", pa.array(label, pa.string()))
    table = table.append_column("cover", pa.array(coverage.best()[1]))
    return LabelCounts(areas.regions, tiles, contested, tuple(said)).kept_in(table)


def class_of(typed: str, option: str) -> str:
    """The class that a person gave as an option, such as `outside`; raises InputError where it is none."""
    name = class_name(typed)
    if name.casefold() in ("", "none", "null"):
        raise InputError(
            f"{option}: {typed!r} would be the name of a class; leave it out (--{option}, in a configuration "
            f"label.{option}) where there shall be none"
        )
    if is_ignored(name):
        raise InputError(f"{option}: {name!r} ends in a star, and what does so is ignored; give another name")
    return name


def _labels(
    coverage: Coverage, min_cover: float, outside: str | None
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """(n,) the label of each tile or None, and "labelled" or why there is none, as `TileCounts` has it."""
    best, covered, tied = coverage.best()
    contested, ignored, unseen, free = coverage.contested, coverage.ignored, coverage.unseen, coverage.free
    covered_enough = (covered > 0) & (covered >= min_cover)
    named = covered_enough & ~tied
    lies_outside = ~covered_enough & (free >= min_cover) & (free > np.maximum(contested, ignored))
    # What would have named the tile, had it not been for the share of another kind.
    most = np.maximum(covered, free)
    state = np.select(
        [
            named | (lies_outside & (outside is not None)),
            lies_outside,
            covered_enough | ((contested > 0) & (covered + contested >= min_cover)),
            (ignored > 0) & (most + ignored >= min_cover),
            (unseen > 0) & (most + unseen >= min_cover),
        ],
        ["labelled", "undrawn", "contested", "ignored", "unseen"],
        "border",
    ).astype(object)
    label: NDArray[np.object_] = np.full(len(free), None, object)
    label[named] = np.array(coverage.names, object)[best[named]]
    label[lies_outside] = outside
    return label, state


def _tile_counts(label: NDArray[np.object_], state: NDArray[np.object_]) -> TileCounts:
    counts = Counter(state.tolist())
    classes = Counter(label[state == "labelled"].tolist())
    del counts["labelled"]
    return TileCounts(len(label), dict(sorted(classes.items())), **counts)


def _contested(
    areas: ClassAreas, coverage: Coverage, grid: TileGrid, tiles: NDArray[np.bool_], min_cover: float
) -> dict[tuple[str, str], int]:
    """How many of the chosen tiles each two classes contest; most contested first."""
    boxes = grid.boxes()[tiles]
    squares = shapely.box(boxes[:, 0], boxes[:, 1], boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3])
    where, tile = shapely.STRtree(squares).query(areas.contested)
    meet = shapely.area(shapely.intersection(areas.contested[where], squares[tile])) > 0
    found = {(number, areas.rivals[k]) for k, number in zip(where[meet], tile[meet], strict=True)}
    # Two that cover a tile alike, and whose regions need not overlap.
    _, covered, tied = coverage.best()
    chosen = np.flatnonzero(tiles)
    for number in np.flatnonzero((tied & (covered >= min_cover))[tiles]):
        share = coverage.by_class[:, chosen[number]]
        first, second, *_ = np.flatnonzero(share == share.max())
        found.add((number, (coverage.names[first], coverage.names[second])))
    counts = Counter(pair for _, pair in found)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _contest_notes(contested: Mapping[tuple[str, str], int]) -> list[str]:
    return [
        f"{count} tiles have no class: {first} and {second} contest them (they overlap and neither lies within the "
        "other, or they cover as much of a tile)"
        for (first, second), count in contested.items()
    ]


def _class_notes(regions: Sequence[Region], outside: str | None, tiles: TileCounts) -> list[str]:
    """What is to be said of the classes: none drawn, one in two ways to write it, one without a tile."""
    drawn = Counter(region.name for region in regions if not is_ignored(region.name))
    notes = alike_notes([*drawn, *([] if outside is None else [outside])])
    if not drawn:
        what = "nothing is drawn but what is ignored" if regions else "nothing is drawn"
        notes.append(f"{what}: tiles are {outside or 'of no class'} as far as they lie outside")
    notes += [
        f"no tile is {name}, though {count} regions are: they cover too little of any tile that is not blank, or "
        "others lie over them"
        for name, count in sorted(drawn.items())
        if name not in tiles.classes
    ]
    return notes
