"""Where a pen was lifted: straight lines that close the gaps between the ends of strokes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from skimage.morphology import skeletonize

from wsi.ink.strokes import Mask

_EDGE_REACH_PX = 20
# An end leads back to its own stroke only where the way along the ink is this much longer than the way across.
_DETOUR, _LEAST_DETOUR_PX = 3.0, 30.0


@dataclass(frozen=True, order=True)
class Bridge:
    """A straight line over a gap of `length_px`, from `start` to `end`, both (x, y) in px."""

    length_px: float
    start: tuple[int, int]
    end: tuple[int, int]


@dataclass(frozen=True)
class _Skeleton:
    """Middle lines of strokes: px (n,) x, y and stroke, lengths between neighbours (n, n), and which px are ends."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    stroke: NDArray[np.int32]
    steps: csr_array
    ends: NDArray[np.int64]


def bridges(ink: Mask, reach_px: NDArray[np.float32]) -> list[Bridge]:
    """Lines over the gaps that the ends of strokes leave; shortest first.

    From every end to the nearest other stroke, to its own stroke where that is a long way round, and off the picture
    where its edge is near. reach_px: (h, w) how long a bridge that starts or ends at each px of ink may be.
    """
    lines = _skeleton(ink)
    if len(lines.ends) == 0:
        return []
    found: set[Bridge] = set()
    reach = reach_px[lines.y, lines.x]
    # What is further along the ink is far enough, as another stroke is.
    furthest = _DETOUR * float(reach.max()) + _LEAST_DETOUR_PX
    for end in lines.ends:
        along = dijkstra(lines.steps, indices=end, limit=furthest)
        x, y = int(lines.x[end]), int(lines.y[end])
        across = np.hypot(lines.x - x, lines.y - y)
        near = across < np.minimum(reach, reach[end])
        others = lines.stroke != lines.stroke[end]
        own = ~others & (along > _DETOUR * across + _LEAST_DETOUR_PX)
        for reachable in (others & near, own & near):
            places = np.flatnonzero(reachable)
            if len(places):
                to = places[across[places].argmin()]
                found.add(Bridge(float(across[to]), *_ordered((x, y), (int(lines.x[to]), int(lines.y[to])))))
        found |= _off_the_picture(x, y, ink.shape)
    return sorted(found)


def _off_the_picture(x: int, y: int, shape: tuple[int, ...]) -> set[Bridge]:
    right, bottom = shape[1] - 1, shape[0] - 1
    ways = [(x, (0, y)), (right - x, (right, y)), (y, (x, 0)), (bottom - y, (x, bottom))]
    return {Bridge(float(length), (x, y), to) for length, to in ways if length < _EDGE_REACH_PX}


def _ordered(a: tuple[int, int], b: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    return (a, b) if a <= b else (b, a)


def _skeleton(ink: Mask) -> _Skeleton:
    middle = skeletonize(ink)
    y, x = np.nonzero(middle)
    number = np.full(np.add(ink.shape, 2), -1)
    number[y + 1, x + 1] = np.arange(len(y))
    froms, tos, lengths = [], [], []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1), (0, -1), (-1, 0), (-1, -1), (-1, 1)):
        neighbour = number[y + 1 + dy, x + 1 + dx]
        there = np.flatnonzero(neighbour >= 0)
        froms.append(there)
        tos.append(neighbour[there])
        lengths.append(np.full(len(there), np.hypot(dy, dx)))
    degree = np.bincount(np.concatenate(froms), minlength=len(y)) if len(y) else np.empty(0, int)
    steps = coo_array((np.concatenate(lengths), (np.concatenate(froms), np.concatenate(tos))), (len(y), len(y)))
    steps = steps.tocsr()
    return _Skeleton(x, y, connected_components(steps)[1], steps, np.flatnonzero(degree <= 1))
