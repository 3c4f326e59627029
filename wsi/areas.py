"""The area of each class, where regions lie over each other: the innermost decides, and some places nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsi.annotations import Region
from wsi.annotations.nesting import merged, settle
from wsi.names import is_ignored

# A region of which less is left than this share decides nothing: outlines that are equal but for rounding leave it.
_LEAST_LEFT = 1e-3


@dataclass(frozen=True)
class RegionCounts:
    """What became of the regions that were drawn; `drawn` is the sum of the others.

    used: some part of it names a class. ignored: its name ends in a star. contested: where no smaller region decides,
    regions of other classes overlap it and neither lies within the other. covered: smaller regions decide all of it.
    exclusions: cut out of others.
    """

    drawn: int
    used: int = 0
    ignored: int = 0
    contested: int = 0
    covered: int = 0
    exclusions: int = 0


@dataclass(frozen=True)
class ClassAreas:
    """Areas in level-0 px, none of which overlaps another.

    by_name: of each class, in order of their names. ignored: of what is ignored. contested: (m,) where regions of two
    classes overlap and neither decides; rivals: (m,) which two, in order of their names.
    """

    by_name: Mapping[str, BaseGeometry]
    ignored: BaseGeometry
    contested: NDArray[np.object_]
    rivals: tuple[tuple[str, str], ...]
    regions: RegionCounts


def class_areas(regions: Sequence[Region], exclusions: int = 0) -> ClassAreas:
    """The areas of regions, level-0 px. Where some overlap, those that lie within another decide (`nesting`).

    A region of several parts is taken part by part. What is ignored (`names.is_ignored`) takes part in this as one
    class, and where it only overlaps another, that is ignored too. exclusions: for the counts.
    """
    names = sorted({region.name for region in regions if not is_ignored(region.name)})
    kind_of = {name: number for number, name in enumerate(names)}
    kinds = np.array([kind_of.get(region.name, -1) for region in regions], np.int64)
    drawn = np.array([region.polygon for region in regions], object)
    areas, owner = shapely.get_parts(drawn, return_index=True)
    kind = kinds[owner]
    found = settle(areas, kind)
    rivals = kind[np.stack([found.first, found.second], axis=1)]
    ignored = (rivals == -1).any(axis=1)
    return ClassAreas(
        {name: merged(found.kept[kind == number]) for name, number in kind_of.items()},
        merged(np.concatenate([found.kept[kind == -1], found.contested[ignored]])),
        found.contested[~ignored],
        tuple((names[low], names[high]) for low, high in np.sort(rivals[~ignored], axis=1)),
        _counted(
            kinds,
            left=_per_region(found.kept, owner, drawn),
            contested=_per_region(
                np.concatenate([found.contested, found.contested]),
                owner[np.concatenate([found.first, found.second])],
                drawn,
            ),
            exclusions=exclusions,
        ),
    )


def _per_region(areas: NDArray[np.object_], owner: NDArray[np.int64], drawn: NDArray[np.object_]) -> NDArray[np.bool_]:
    """(n,) whether areas that belong to each region make up some of it."""
    sums = np.bincount(owner, np.nan_to_num(shapely.area(areas)), len(drawn))
    some: NDArray[np.bool_] = sums >= _LEAST_LEFT * shapely.area(drawn)
    return some


def _counted(
    kinds: NDArray[np.int64], left: NDArray[np.bool_], contested: NDArray[np.bool_], exclusions: int
) -> RegionCounts:
    named = kinds >= 0
    return RegionCounts(
        drawn=len(kinds) + exclusions,
        used=int((named & left).sum()),
        ignored=int((~named).sum()),
        contested=int((named & ~left & contested).sum()),
        covered=int((named & ~left & ~contested).sum()),
        exclusions=exclusions,
    )
