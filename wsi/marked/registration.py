"""Where a marked copy lies on its clean slide: features that both show, then a number for how well they agree."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.stain import background_rgb, optical_density

Pixels = NDArray[np.uint8]
Matrix = NDArray[np.float64]
Density = NDArray[np.float32]

# Features on each picture, px by which two that agree may differ, and how many must agree.
_FEATURES, _NEAR_PX, _LEAST_AGREEING = 6000, 3.0, 12
# Of two matches, the better must be this much better: tissue repeats itself.
_BEST_TO_SECOND = 0.8
# A fixed seed, for the same result in every run.
_SEED, _TRIES = 0, 5000
# Quality is measured in windows of this radius, on a picture smoothed as recompression and another scale smooth it,
# where the tissue has structure: standard deviation of optical density in the window.
_WINDOW_PX, _SMOOTH_PX, _LEAST_DEVIATION = 12, 1.5, 0.02


@dataclass(frozen=True)
class Registration:
    """matrix: (2, 3) from level-0 px of the clean slide to level-0 px of the copy, as (x, y).

    quality: the middle (median) of the correlations of small windows, -1 to 1. Ink covers few windows, and so does
    not change it. Of copies of a section 0.9 and more were measured, of other sections 0.
    agreeing: the number of features that agree.
    """

    matrix: Matrix
    quality: float
    agreeing: int


def register(clean: Pixels, copy: Pixels) -> tuple[Matrix, int]:
    """(2, 3) from px of `clean` to px of `copy`, (h, w, 3) RGB each, and how many features agree: 0 where too few do.

    Shift, rotation and one scale. Ink brings features that nothing on the clean slide agrees with, and is outvoted.
    """
    nothing = np.eye(2, 3), 0
    found = [_features(grey_density(rgb)) for rgb in (clean, copy)]
    (places, descriptors), (copy_places, copy_descriptors) = found
    if min(len(places), len(copy_places)) < _LEAST_AGREEING:
        return nothing
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(descriptors, copy_descriptors, k=2)
    good = [best for best, second in pairs if best.distance < _BEST_TO_SECOND * second.distance]
    if len(good) < _LEAST_AGREEING:
        return nothing
    start = places[[match.queryIdx for match in good]]
    end = copy_places[[match.trainIdx for match in good]]
    cv2.setRNGSeed(_SEED)
    matrix, agree = cv2.estimateAffinePartial2D(
        start, end, method=cv2.RANSAC, ransacReprojThreshold=_NEAR_PX, maxIters=_TRIES, confidence=0.999
    )
    if matrix is None or agree.sum() < _LEAST_AGREEING:
        return nothing
    return np.asarray(matrix, np.float64), int(agree.sum())


def onto_clean(values: NDArray[np.uint8], matrix: Matrix, shape: tuple[int, ...], outside: int) -> Pixels:
    """The copy's picture, (h, w[, 3]), as it lies on the clean one of `shape`; `outside` where the copy has nothing."""
    return np.asarray(
        cv2.warpAffine(
            values,
            matrix,
            (shape[1], shape[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderValue=(outside, outside, outside),
        ),
        np.uint8,
    )


def agreement(clean: Pixels, copy: Pixels, seen: NDArray[np.bool_]) -> float:
    """`Registration.quality` of two pictures that lie on each other; 0 where nothing with structure is `seen`."""
    first, second = (cv2.GaussianBlur(grey_density(rgb), (0, 0), _SMOOTH_PX) for rgb in (clean, copy))
    side = (2 * _WINDOW_PX + 1, 2 * _WINDOW_PX + 1)
    mean_first, mean_second = cv2.blur(first, side), cv2.blur(second, side)
    both = cv2.blur(first * second, side) - mean_first * mean_second
    spread_first = np.sqrt(np.maximum(cv2.blur(first * first, side) - mean_first**2, 0))
    spread_second = np.sqrt(np.maximum(cv2.blur(second * second, side) - mean_second**2, 0))
    whole = cv2.erode(seen.astype(np.uint8), np.ones(side, np.uint8), borderValue=0) > 0
    # Of the clean slide alone: a copy without structure there does not agree.
    judged = whole & (spread_first > _LEAST_DEVIATION)
    if not judged.any():
        return 0.0
    return float(np.median(both[judged] / (spread_first[judged] * spread_second[judged] + 1e-6)))


def grey_density(rgb: Pixels) -> Density:
    """(h, w) mean optical density of the channels."""
    return np.asarray(optical_density(rgb, background_rgb(rgb)).mean(axis=2), np.float32)


def _features(density: Density) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Places (N, 2: x, y) and descriptors (N, 128) of what stands out."""
    grey = np.asarray(np.clip(density * 255, 0, 255), np.uint8)
    points, descriptors = cv2.SIFT.create(nfeatures=_FEATURES).detectAndCompute(grey, None)
    places = np.array([point.pt for point in points], np.float32).reshape(-1, 2)
    return places, np.empty((0, 128), np.float32) if descriptors is None else np.asarray(descriptors, np.float32)
