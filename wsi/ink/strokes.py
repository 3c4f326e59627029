"""Pen strokes on a low-power picture, by what their dye takes from the light and by their being lines.

Hematoxylin and eosin take more green than red or blue; the dyes of pens do not. Black takes all three alike, blue and
green take most of the red. So two numbers tell ink from stain, both optical densities:

- *neutral*, the smaller of red and blue: high in black and dark ink, low in stain (99th percentile of the tissue of
  the outlined slides that this was tuned on: 0.2 to 0.3, dense lymphatic tissue 0.56; black pens 0.7 and more);
- *excess*, neutral less its share in stain: above 0 only where something grey lies over the tissue.

A faded stroke over tissue is hardly darker than nuclei, but is a line: it stands out of what is wider than a pen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from wsi.stain import background_rgb, optical_density

Mask: TypeAlias = NDArray[np.bool_]
Density: TypeAlias = NDArray[np.float32]

# All lengths here are px of this many µm: a pen's stroke is then 10 to 40 px wide.
STROKE_MPP = 22.0

PENS = ("black", "blue", "green", "red")
# As they are shown to people.
PEN_RGB = dict(zip(PENS, ((40, 40, 40), (30, 70, 200), (20, 130, 70), (200, 30, 40)), strict=True))
_BLACK, _BLUE, _GREEN, _RED = range(1, 5)

# Optical densities, tuned on one half of 213 outlined slides; `make bench` reports the other (`ink.dice`).
# Neutral ÷ green in H&E is 0.44 to 0.58 between the 10th and 90th percentile; slides differ within these bounds.
_STAIN_NEUTRAL, _STAIN_QUANTILE, _LEAST_TISSUE_PX = (0.56, 0.6), 0.75, 500
_SURE_NEUTRAL, _POSSIBLE_NEUTRAL = 0.72, 0.66
_SURE_EXCESS, _POSSIBLE_EXCESS = 0.15, 0.07
_LINE_NEUTRAL, _LINE_EXCESS = 0.1, 0.02
_LINE_RADIUS_PX, _SOFT_EDGE_PX, _BESIDE_PX = 14, 20, 8
_EDGE_PX, _EDGE_SHARE = 25, 0.05


@dataclass(frozen=True)
class Strokes:
    """`pen` (h, w) uint8: 0 where there is no ink, else 1 + index into PENS.

    `edge` (h, w) bool: as dark as ink, but along the picture's edge: a slide's border, a scanner's line, cut letters.
    """

    pen: NDArray[np.uint8]
    edge: Mask

    @property
    def mask(self) -> Mask:
        """(h, w) where ink is, with its soft edge."""
        return np.asarray(self.pen > 0)


def find_strokes(rgb: NDArray[np.uint8], *, faded: bool) -> Strokes:
    """The ink on (h, w, 3) RGB of about `STROKE_MPP` µm/px.

    faded: also what continues a stroke but may be dense tissue beside it. Outlines need it, to be closed; a tissue
    mask does not: a doubtful pixel is tissue.
    """
    density = optical_density(rgb, background_rgb(rgb), offset=1.0)
    red, green, blue = np.moveaxis(np.asarray(cv2.GaussianBlur(density, (0, 0), 0.8), np.float32), 2, 0)
    coloured, redpen = _coloured(red, green, blue), _red(red, green, blue)
    dark, along = _dark(red, green, blue, faded)
    kinds = np.select(
        [redpen & ~coloured & ~dark, (red - green > 0.06) & (blue > 0.75 * green), red - green > 0.06],
        [_RED, _GREEN, _BLUE],
        default=_BLACK,
    ).astype(np.uint8)
    ink = kinds * (coloured | dark | redpen)
    # The edge's colour is that of the stroke beside it; a grown maximum is one of its neighbours.
    soft = cv2.dilate(ink, disc(1))
    return Strokes(np.where(ink > 0, ink, soft).astype(np.uint8), cv2.dilate(along.astype(np.uint8), disc(2)) > 0)


def stain_like_ink(share: float) -> bool:
    """Whether so large a share of the stained area (0-1) in an ink's colour is a stain: Giemsa is blue, as pens are.

    The pen around small biopsies makes up to 0.71 of it (213 outlined slides), blue stains 0.8 and more.
    """
    return share > 0.77


def ink_mask(rgb: NDArray[np.uint8], mpp: float) -> tuple[Mask, Mask]:
    """(h, w) bool, twice: ink, with its soft edge, on (h, w, 3) RGB of `mpp` µm/px; and `Strokes.edge`."""
    height, width = rgb.shape[:2]
    scale = mpp / STROKE_MPP
    if scale >= 1:
        found = find_strokes(rgb, faded=False)
        return found.mask, found.edge
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    found = find_strokes(np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8), faded=False)
    return _enlarged(found.mask, width, height), _enlarged(found.edge, width, height)


def _enlarged(mask: Mask, width: int, height: int) -> Mask:
    # Linear, so that the mask's outline keeps to the stroke's instead of to the coarse pixels.
    return np.asarray(cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_LINEAR) > 127)


def _coloured(red: Density, green: Density, blue: Density) -> Mask:
    """Blue and green pens: they take more red than green, which no tissue in H&E does."""
    sure = (red - green > 0.08) & (red > 0.25)
    possible = (red > 0.92 * green) & (red > 0.12) & (blue < red)
    return connected(opened(sure, 1), possible)


def _dark(red: Density, green: Density, blue: Density, faded: bool) -> tuple[Mask, Mask]:
    """Black pens, and any pen so dark, or over tissue so dark, that its colour is lost; and what is so at the edge."""
    neutral = np.minimum(red, blue)
    plain = neutral - _STAIN_NEUTRAL[0] * green
    everywhere = opened((neutral > _SURE_NEUTRAL) | ((plain > _SURE_EXCESS) & (neutral > 0.3)), 1)
    sure = _off_the_edge(everywhere)
    excess = neutral - _stain_neutral(neutral, green, sure) * green
    stands_out = neutral - cv2.morphologyEx(neutral, cv2.MORPH_OPEN, disc(_LINE_RADIUS_PX))
    line = opened((stands_out > _LINE_NEUTRAL) & (excess > _LINE_EXCESS), 1)
    if not faded:
        # Nests of lymphocytes beside a pen are as dark and as narrow, but neither long nor of an even width.
        beside = cv2.dilate(sure.astype(np.uint8), disc(_BESIDE_PX)) > 0
        line = (line & beside) | lines(line & ~beside)
    core = connected(sure, line)
    # Elsewhere than along a line, ink reaches no further than a soft edge does: dense tissue beside it is tissue.
    near = cv2.dilate(core.astype(np.uint8), disc(_SOFT_EDGE_PX)) > 0
    grey = (neutral > 0.1) & (neutral > 0.74 * green)
    possible = near & (grey | (excess > _POSSIBLE_EXCESS) | (neutral > _POSSIBLE_NEUTRAL))
    return connected(core, opened(possible, 1) | line), everywhere & ~sure


def _off_the_edge(sure: Mask) -> Mask:
    """Without what runs along the picture's edge: scanners leave dark lines there, and slides have dark borders."""
    _, labels = cv2.connectedComponents(sure.astype(np.uint8))
    margin = max(1, min(_EDGE_PX, round(_EDGE_SHARE * min(sure.shape))))
    inside = np.bincount(labels[margin:-margin, margin:-margin].ravel(), minlength=labels.max() + 1)
    runs_along = inside < 0.2 * np.bincount(labels.ravel())
    return np.asarray(sure & ~runs_along[labels])


def _stain_neutral(neutral: Density, green: Density, ink: Mask) -> float:
    """Neutral ÷ green in this slide's tissue, as dark as it gets, away from what is surely ink."""
    tissue = (green > 0.15) & (cv2.dilate(ink.astype(np.uint8), disc(10)) == 0)
    if tissue.sum() < _LEAST_TISSUE_PX:
        return _STAIN_NEUTRAL[0]
    return float(np.clip(np.quantile(neutral[tissue] / green[tissue], _STAIN_QUANTILE), *_STAIN_NEUTRAL))


def _red(red: Density, green: Density, blue: Density) -> Mask:
    """Red pens: the colour of blood, so that they must also be long lines of an even width."""
    return lines(opened((red < 0.16 * green) & (blue > 0.55 * green) & (green > 0.35), 1))


def lines(mask: Mask) -> Mask:
    """The parts of a mask that are long and of an even width."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    half_width = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    middle = skeletonize(mask)
    kept = np.zeros(count, bool)
    for label in range(1, count):
        along = half_width[middle & (labels == label)] if stats[label, cv2.CC_STAT_AREA] > 100 else np.empty(0)
        if len(along) > 25 and len(along) > 3.5 * 2 * along.mean():
            kept[label] = along.std() < 0.45 * along.mean()
    return np.asarray(kept[labels])


def connected(sure: Mask, possible: Mask) -> Mask:
    """Return `sure`, and whatever of `possible` hangs together with it."""
    _, labels = cv2.connectedComponents((possible | sure).astype(np.uint8), connectivity=8)
    touched = np.zeros(labels.max() + 1, bool)
    touched[labels[sure]] = True
    touched[0] = False
    return np.asarray(touched[labels])


def opened(mask: Mask, radius_px: int) -> Mask:
    """The mask without what is narrower than 2 · radius + 1; the picture's edge counts as more of the same."""
    padded = np.pad(mask.astype(np.uint8), radius_px, mode="edge")
    found = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc(radius_px))
    return np.asarray(found[radius_px:-radius_px, radius_px:-radius_px] > 0)


def disc(radius_px: int) -> NDArray[np.uint8]:
    """A round kernel."""
    side = 2 * radius_px + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
