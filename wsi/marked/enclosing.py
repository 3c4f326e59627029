"""What the marks of a pair enclose. They are ink and nothing else, so that a closed outline is taken as it is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from skimage.morphology import skeletonize

from wsi.ink.enclosed import Enclosed, find_enclosed
from wsi.ink.strokes import Mask, disc

# Loops of letters, slivers between doubled strokes, and what holds hardly any tissue: as in `wsi.ink.enclosed`.
_LEAST_AREA_PX, _LEAST_HALF_WIDTH_PX, _LEAST_TISSUE = 1000, 5, 0.12
# Gaps up to twice this are closed, the narrow ones first: a stroke fades over dark tissue, and in a small copy.
_GAPS_PX = (3, 8)
# A stroke is done when this share of it runs along areas found. Shorter ones that are not are letters and specks.
_DONE, _LOOSE_PX = 0.6, 100


@dataclass(frozen=True)
class Outlined:
    """areas: (h, w) bool each, the largest first. loose: strokes of some length most of which runs along none."""

    areas: tuple[Enclosed, ...]
    loose: int


def outlined(ink: Mask, tissue: Mask) -> Outlined:
    """The areas that marks enclose, up to the middle of the stroke around them, holes filled.

    First what is closed by ink alone. The strokes that are left are then read as pens on a slide are: gaps are
    bridged, and the picture's edge may close them. An outline within another belongs to that.
    """
    closed: list[Enclosed] = []
    left = ink
    for gap_px in _GAPS_PX:
        ink = ink | _gaps(ink, gap_px)
        taken = _any(closed, ink.shape)
        closed += [area for area in _closed(ink, tissue) if _beside(area, left) and not (area.mask & taken).any()]
        left = _left(ink, _any(closed, ink.shape))
    taken = _any(closed, ink.shape)
    # A bridged area that swallows closed ones is more likely a wrong bridge than an outline: it is told as loose.
    gapped = [area for area in find_enclosed(left, tissue) if not (area.mask & taken).any()] if left.any() else []
    found = [_to_mid_ink(Enclosed(binary_fill_holes(area.mask), area.closed), ink) for area in [*closed, *gapped]]
    found = _outermost(sorted(found, key=lambda area: -int(area.mask.sum())))
    _, _, stats, _ = cv2.connectedComponentsWithStats(_left(ink, _any(found, ink.shape)).astype(np.uint8))
    loose = int((stats[1:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) >= _LOOSE_PX).sum())
    return Outlined(tuple(found), loose)


def _left(ink: Mask, taken: Mask) -> Mask:
    """The strokes most of whose length runs along nothing of `taken`."""
    count, stroke = cv2.connectedComponents(ink.astype(np.uint8), connectivity=8)
    middle = skeletonize(ink)
    half_width = cv2.distanceTransform(np.pad(ink, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    away = cv2.distanceTransform((~taken).astype(np.uint8), cv2.DIST_L2, 3) if taken.any() else np.full(ink.shape, 1e6)
    along = np.bincount(stroke[middle & (away < 1.5 * half_width + 4)], minlength=count)
    done = along > _DONE * np.bincount(stroke[middle], minlength=count)
    return np.asarray(ink & ~done[stroke])


def _gaps(ink: Mask, radius_px: int) -> Mask:
    margin = radius_px + 1  # else the picture's edge would count as ink
    closed = cv2.morphologyEx(np.pad(ink, margin).astype(np.uint8), cv2.MORPH_CLOSE, disc(radius_px)) > 0
    return np.asarray(closed[margin:-margin, margin:-margin] & ~ink)


def _closed(ink: Mask, tissue: Mask) -> list[Enclosed]:
    """The areas that ink alone parts from the picture's edge."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~ink).astype(np.uint8), connectivity=4)
    wanted = stats[:, cv2.CC_STAT_AREA] >= _LEAST_AREA_PX
    wanted &= np.bincount(labels[tissue], minlength=count) > _LEAST_TISSUE * stats[:, cv2.CC_STAT_AREA]
    wanted[0] = False
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        wanted[side] = False
    areas = [np.asarray(labels == label) for label in np.flatnonzero(wanted)]
    return [Enclosed(area, 1.0) for area in areas if _half_width_px(area) >= _LEAST_HALF_WIDTH_PX]


def _beside(area: Enclosed, strokes: Mask) -> bool:
    return bool((strokes & (cv2.dilate(area.mask.astype(np.uint8), disc(2)) > 0)).any())


def _half_width_px(area: Mask) -> float:
    return float(cv2.distanceTransform(area.astype(np.uint8), cv2.DIST_L2, 3).max())


def _to_mid_ink(area: Enclosed, ink: Mask) -> Enclosed:
    """The area up to the middle of the stroke around it: people draw along the border, not beside it."""
    inside = cv2.distanceTransform((~area.mask).astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((ink | area.mask).astype(np.uint8), cv2.DIST_L2, 5)
    return Enclosed(area.mask | (ink & (inside <= outside)), area.closed)


def _outermost(areas: list[Enclosed]) -> list[Enclosed]:
    """Those, of areas with the largest first, that do not lie in one before them."""
    kept: list[Enclosed] = []
    for area in areas:
        if not any((area.mask & other.mask).sum() > 0.5 * area.mask.sum() for other in kept):
            kept.append(area)
    return kept


def _any(areas: list[Enclosed], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    found = np.zeros(shape, bool)
    for area in areas:
        found |= area.mask
    return found
