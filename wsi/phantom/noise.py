"""Toroidal building blocks of a texture: noise, warps, scattered points, cell borders.

Everything wraps around at the sheet's edges, so that a swatch can be repeated without a seam.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

# Noise is made on a coarse lattice with this many samples per wavelength, then enlarged: far cheaper than
# a transform at full size, and no different to the eye.
_SAMPLES_PER_WAVE = 5
_COARSEST = 64


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], wavelength_px: float, stretch: float = 1.0) -> Image:
    """(rows, cols) noise of mean 0 and deviation 1 whose features are about `wavelength_px` apart.

    `stretch` lengthens the features along x. Toroidal where rows and cols are multiples of 64.
    """
    rows, cols = shape
    step_y, step_x = _lattice_step(wavelength_px), _lattice_step(wavelength_px * stretch)
    coarse_rows, coarse_cols = max(2, -(-rows // step_y)), max(2, -(-cols // step_x))
    white = rng.standard_normal((coarse_rows, coarse_cols), dtype=np.float32)
    waves_y = np.fft.fftfreq(coarse_rows, d=step_y)[:, None] * wavelength_px
    waves_x = np.fft.rfftfreq(coarse_cols, d=step_x)[None, :] * wavelength_px * stretch
    waves = np.hypot(waves_y, waves_x)
    band = waves * np.exp(-0.5 * waves**2)
    filtered = np.fft.irfft2(np.fft.rfft2(white) * band, s=white.shape)
    coarse = (filtered / max(float(filtered.std()), 1e-9)).astype(np.float32)
    if step_y == step_x == 1:
        return coarse
    margin = 3
    padded = np.pad(coarse, margin, mode="wrap")
    size = (padded.shape[1] * step_x, padded.shape[0] * step_y)
    full = cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC)
    top, left = margin * step_y, margin * step_x
    return np.ascontiguousarray(full[top : top + rows, left : left + cols], dtype=np.float32)


def _lattice_step(wavelength_px: float) -> int:
    step = 1
    while step < _COARSEST and wavelength_px / (step * 2) >= _SAMPLES_PER_WAVE:
        step *= 2
    return step


def smoothstep(values: Image, low: float, high: float) -> Image:
    """0 below `low`, 1 above `high`, an S-curve between; elementwise."""
    ramp = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), dtype=np.float32)


def blur(image: Image, sigma_px: float) -> Image:
    """Toroidal Gaussian blur."""
    margin = min(int(np.ceil(3 * sigma_px)) + 1, *image.shape)
    padded = np.pad(image, margin, mode="wrap")
    smooth = cv2.GaussianBlur(padded, (0, 0), sigma_px)
    return np.ascontiguousarray(smooth[margin:-margin, margin:-margin], dtype=np.float32)


def warp(image: Image, dx: Image, dy: Image) -> Image:
    """`image` (rows, cols) or (rows, cols, n) looked up at (x + dx, y + dy) px; toroidal."""
    rows, cols = image.shape[:2]
    margin = int(np.ceil(max(float(np.abs(dx).max()), float(np.abs(dy).max())))) + 2
    edges = [(margin, margin), (margin, margin)] + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, edges, mode="wrap")
    grid_y, grid_x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    found = cv2.remap(padded, grid_x + (dx + margin), grid_y + (dy + margin), cv2.INTER_LINEAR)
    return np.asarray(found, dtype=np.float32)


def scatter(
    rng: np.random.Generator, size_px: int, spacing_px: float, where: Mask | None = None, crowd: float = 4.0
) -> Points:
    """(n, 2) points (x, y) no closer than `spacing_px` (toroidal), within `where` (size_px², all by default).

    `crowd` is how many candidates are thrown per place: fewer leave gaps, more pack tightly.
    """
    inside = size_px**2 if where is None else int(np.count_nonzero(where))
    count = int(crowd * inside / spacing_px**2)
    if count == 0 or inside == 0:
        return np.empty((0, 2))
    if where is None:
        points = rng.random((count, 2)) * size_px
    else:
        chosen = rng.choice(np.flatnonzero(where), count)
        points = np.stack([chosen % size_px, chosen // size_px], axis=1) + rng.random((count, 2))
    points = np.mod(points, size_px)
    close = cKDTree(points, boxsize=size_px).query_pairs(spacing_px, output_type="ndarray")
    # Earlier candidates win; sorted by the earlier one, each pair is settled when it is reached.
    kept = np.ones(count, dtype=bool)
    for first, second in close[np.lexsort((close[:, 1], close[:, 0]))].tolist():
        if kept[first]:
            kept[second] = False
    return np.asarray(points[kept])


def cells(points: Points, size_px: int) -> tuple[NDArray[np.int32], Image]:
    """Each pixel's nearest point (index) and its distance in px to the border between points; toroidal."""
    pad = size_px // 4
    side = size_px + 2 * pad
    shifts = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]) * size_px
    places = (np.floor(points)[None, :, :] + shifts[:, None, :] + pad).astype(np.int64).reshape(-1, 2)
    owners = np.tile(np.arange(len(points), dtype=np.int32), len(shifts))
    within = ((places >= 0) & (places < side)).all(axis=1)
    places, owners = places[within], owners[within]
    seeds = np.ones((side, side), dtype=np.uint8)
    seeds[places[:, 1], places[:, 0]] = 0
    _, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    table[labels[places[:, 1], places[:, 0]]] = owners
    nearest = table[labels]
    border = np.zeros((side, side), dtype=bool)
    border[:, 1:] |= nearest[:, 1:] != nearest[:, :-1]
    border[1:] |= nearest[1:] != nearest[:-1]
    distance = cv2.distanceTransform((~border).astype(np.uint8), cv2.DIST_L2, 5)
    crop = (slice(pad, pad + size_px), slice(pad, pad + size_px))
    return np.ascontiguousarray(nearest[crop]), np.ascontiguousarray(distance[crop], dtype=np.float32)
