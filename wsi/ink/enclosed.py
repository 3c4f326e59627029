"""What strokes enclose: closed outlines first, then those that a bridge over a gap, or the slide's edge, closes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.draw import line
from skimage.morphology import skeletonize

from wsi.ink.bridges import Bridge, bridges
from wsi.ink.strokes import STROKE_MPP, Mask, disc

# Of a region, in µm and mm²: the loops of letters and the slivers between doubled strokes are less.
_LEAST_AREA_MM2 = 0.5
_LEAST_HALF_WIDTH_UM = 130
# Share of a region that is tissue. Loops of writing beside the tissue have next to none.
_LEAST_TISSUE = 0.12
# How far an end reaches over a gap; less where its stroke encloses something already.
_REACH_UM, _REACH_OF_CLOSED_UM = 3800, 1350
# A stroke is done when this share of it runs along regions found.
_DONE = 0.6
# An outline that leaves the picture is longer than the stretch of edge that it cuts off: a mere line is not.
_LEAST_CLOSED, _LEAST_CLOSED_AT_EDGE = 0.6, 0.52
_MOST_OF_PICTURE = 0.6
_LEAST_STROKE_PX = 150

_PX_MM2 = (STROKE_MPP / 1000) ** 2


@dataclass(frozen=True)
class Enclosed:
    """An area within strokes, (h, w) bool, without their ink; `closed`: share of its outline that is ink, 0-1."""

    mask: Mask
    closed: float


def find_enclosed(ink: Mask, tissue: Mask) -> list[Enclosed]:
    """The areas that ink encloses and that hold tissue, both (h, w) at `STROKE_MPP`; they do not overlap."""
    search = _Search(ink, tissue & ~ink)
    search.take(np.zeros_like(ink))
    while search.take_bridged():
        pass
    return search.found


class _Search:
    """Regions found so far on one picture."""

    def __init__(self, ink: Mask, tissue: Mask) -> None:
        self.ink, self.tissue = ink, tissue
        self.found: list[Enclosed] = []
        self._taken = np.zeros_like(ink)
        count, stroke = cv2.connectedComponents(ink.astype(np.uint8))
        self._stroke = np.asarray(stroke, np.int32)
        # Padded, for a picture that is all ink.
        self._half_width = cv2.distanceTransform(np.pad(ink, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        self._middle = skeletonize(ink)
        self._length = np.bincount(self._stroke[self._middle], minlength=count)
        large = np.bincount(self._stroke.ravel(), minlength=count) >= _LEAST_STROKE_PX
        self._strokes_to_join = ink & large[self._stroke]

    def take(self, lines: Mask) -> bool:
        """Add what ink and `lines` enclose and is new; says whether there was any."""
        before = len(self.found)
        labels, wanted, on_edge = _closed_areas(self.ink | lines)
        area_px = np.bincount(labels.ravel(), minlength=len(wanted))
        wanted &= np.bincount(labels[self._taken], minlength=len(wanted)) <= 0.5 * area_px
        wanted &= np.bincount(labels[self.tissue], minlength=len(wanted)) > _LEAST_TISSUE * area_px
        for label in np.flatnonzero(wanted):
            area = np.asarray(labels == label)
            closed = self._closed(area) if _is_wide(area) else 0.0
            if closed >= (_LEAST_CLOSED_AT_EDGE if on_edge[label] else _LEAST_CLOSED):
                self.found.append(Enclosed(area, closed))
                self._taken |= area
        return len(self.found) > before

    def take_bridged(self) -> bool:
        """Draw bridges, the shortest first, until they enclose something new; says whether they did."""
        reach_um = np.where(self._done(), _REACH_OF_CLOSED_UM, _REACH_UM).astype(np.float32)
        reach_px = (reach_um / STROKE_MPP)[self._stroke]
        lines = np.zeros(self.ink.shape, np.uint8)
        joined = _Joined(self._stroke)
        for bridge in bridges(self._strokes_to_join, reach_px):
            cv2.line(lines, bridge.start, bridge.end, (1,), 3)
            if joined.closes(bridge) and self.take(lines > 0):
                return True
        return False

    def _done(self) -> NDArray[np.bool_]:
        """For each stroke, whether most of it runs along regions found."""
        away = cv2.distanceTransform((~self._taken).astype(np.uint8), cv2.DIST_L2, 3)
        beside = self._middle & (away < 1.5 * self._half_width + 4) & bool(self._taken.any())
        along = np.bincount(self._stroke[beside], minlength=len(self._length))
        done: NDArray[np.bool_] = along > _DONE * self._length
        return done

    def _closed(self, area: Mask) -> float:
        """Share of the area's outline that is ink; the rest are bridges, or the picture's edge."""
        padded = np.pad(area, 3).astype(np.uint8)
        outline = (cv2.dilate(padded, disc(3)) > 0) & (padded == 0)
        return float((outline & np.pad(self.ink, 3)).sum() / outline.sum())


class _Joined:
    """Which strokes hang together by bridges: only a bridge between such can enclose anything, and they are few."""

    def __init__(self, stroke: NDArray[np.int32]) -> None:
        self._stroke = stroke
        self._parent = np.arange(stroke.max() + 1)
        # 0 stands for the picture's edge, which strokes that reach it hang on.
        for label in np.unique(np.concatenate([stroke[0], stroke[-1], stroke[:, 0], stroke[:, -1]])):
            self._parent[label] = 0

    def closes(self, bridge: Bridge) -> bool:
        """Join what the bridge touches; says whether any two of it hung together before."""
        (x0, y0), (x1, y1) = bridge.start, bridge.end
        along = self._stroke[line(y0, x0, y1, x1)]
        ends = [int(along[0]), int(along[-1])]
        touched = [*ends, *(label for label in np.unique(along[along > 0]).tolist() if label not in ends)]
        roots = [self._root(label) for label in touched]
        self._parent[roots] = min(roots)
        return len(set(roots)) < len(roots)

    def _root(self, label: int) -> int:
        while self._parent[label] != label:
            label = int(self._parent[label])
        return label


def _is_wide(area: Mask) -> bool:
    """Whether it is more than a sliver between doubled strokes."""
    x, y, width, height = cv2.boundingRect(area.astype(np.uint8))
    alone = np.pad(area[y : y + height, x : x + width], 1).astype(np.uint8)
    return bool(cv2.distanceTransform(alone, cv2.DIST_L2, 3).max() * STROKE_MPP >= _LEAST_HALF_WIDTH_UM)


def _closed_areas(barrier: Mask) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
    """The areas between the barrier: labels (h, w), and of each label whether it is closed, and at the edge.

    Closed is what is large enough and does not lie outside of every outline.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~barrier).astype(np.uint8), connectivity=4)
    edge_px = np.zeros(count, np.int64)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        edge_px += np.bincount(side, minlength=count)
    edge_px[0] = 0
    on_edge = edge_px > 0
    area_px = stats[:, cv2.CC_STAT_AREA]
    closed = (area_px * _PX_MM2 >= _LEAST_AREA_MM2) & ~(on_edge & (area_px > _MOST_OF_PICTURE * barrier.size))
    closed[[0, int(edge_px.argmax())]] = False
    return np.asarray(labels, np.int32), closed, on_edge
