"""What all ways to find tissue on (h, w, 3) RGB share: candidates, a threshold, shapes, and pieces worth keeping."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

# Fat cells are 60 µm wide and more: their membranes are joined to an area, then what stays thin is no tissue.
JOIN_UM, THIN_UM = 48, 28
# Steps between a scanner's fields are straight, along an axis, and thin.
_STEP_LENGTH_UM = 240


@dataclass(frozen=True)
class Candidates:
    """Tissue before it is tidied, with how it was found; `excluded`: what cannot be tissue (ink, dark edges)."""

    found: NDArray[np.bool_]
    ink: NDArray[np.bool_]
    excluded: NDArray[np.bool_]
    background: NDArray[np.uint8]
    threshold: float
    notes: tuple[str, ...] = ()


def otsu(values: NDArray[np.uint8]) -> float:
    """Otsu's threshold; 255 where all values are one."""
    counts = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel()
    return float(threshold_otsu(hist=counts)) if (counts > 0).sum() > 1 else 255.0


def steps(textured: NDArray[np.uint8], px_um: float) -> NDArray[np.bool_]:
    """(h, w) straight thin lines along an axis, which the steps between a scanner's fields make."""
    length = max(8, round(_STEP_LENGTH_UM / px_um))
    along_x = cv2.morphologyEx(textured, cv2.MORPH_OPEN, np.ones((1, length), np.uint8))
    along_y = cv2.morphologyEx(textured, cv2.MORPH_OPEN, np.ones((length, 1), np.uint8))
    thick = cv2.morphologyEx(textured, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    return np.asarray(np.maximum(along_x, along_y) > thick)


def disc(radius_px: float) -> NDArray[np.uint8]:
    """A round kernel, of one px around its middle at least."""
    radius = max(1, round(radius_px))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def tidied(mask: NDArray[np.bool_], min_px: float, max_hole_px: float) -> NDArray[np.bool_]:
    """`mask` without pieces of less than `min_px` px (dust), its holes of less than `max_hole_px` px filled.

    Pieces hang together over corners, holes do not. What reaches the edge of the picture is no hole.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    wanted = stats[:, cv2.CC_STAT_AREA] >= min_px
    wanted[0] = False
    kept = wanted[labels]
    # A rim of background joins all that reaches the edge to one area.
    outside = np.pad(~kept, 1, constant_values=True).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=4)
    hole = stats[:, cv2.CC_STAT_AREA] < max_hole_px
    hole[[0, labels[0, 0]]] = False
    return np.asarray(kept | hole[labels[1:-1, 1:-1]])
