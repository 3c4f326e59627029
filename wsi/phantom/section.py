"""What happens to the section itself: folds, areas out of focus, small fragments torn off."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy import ndimage

from wsi.errors import InputError
from wsi.phantom.layout import Layout
from wsi.phantom.noise import Image, Mask, smooth_noise, smoothstep
from wsi.phantom.spec import CLASSES, MAP_DOWNSAMPLE, PhantomSpec

# Fragments are larger than dust (0.02 mm² is a disc of 80 µm) and far smaller than a piece.
_FRAGMENT_RADIUS_UM = (95, 160)
_FRAGMENT_GAP_UM = 50


def add_fragments(layout: Layout, spec: PhantomSpec, rng: np.random.Generator) -> Layout:
    """Place one fragment per name in `spec.fragments` on free glass, each a region of its own.

    Raises InputError where there is no room for them.
    """
    regions = layout.region_map.copy()
    px_um = spec.mpp * MAP_DOWNSAMPLE
    for _ in spec.fragments:
        radius = rng.uniform(*_FRAGMENT_RADIUS_UM) / px_um
        shape = _fragment(radius, rng)
        reach = max(shape.shape) * 0.6 + _FRAGMENT_GAP_UM / px_um
        free = np.pad(regions == 0, 1)  # the slide's edge counts as occupied
        room = ndimage.distance_transform_edt(free)[1:-1, 1:-1]
        places = np.argwhere(room > reach)
        if len(places) == 0:
            raise InputError(
                f"{spec.width} × {spec.height} px at {spec.mpp} mpp has no room for {len(spec.fragments)} fragments"
            )
        row, col = places[rng.integers(len(places))] - np.array(shape.shape) // 2
        part = regions[row : row + shape.shape[0], col : col + shape.shape[1]]
        part[shape] = int(regions.max()) + 1
    classes = np.array([CLASSES.index(name) for name in spec.fragments], dtype=np.uint8)
    return replace(layout, region_map=regions, region_classes=np.concatenate([layout.region_classes, classes]))


def _fragment(radius_px: float, rng: np.random.Generator) -> Mask:
    """(rows, cols) a ragged blob of about `radius_px`, in one piece, cut to its size."""
    side = 2 * int(np.ceil(1.5 * radius_px)) + 1
    y, x = (np.mgrid[0:side, 0:side].astype(np.float32) - side // 2) / radius_px
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1.0, 1.3)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    field = 1 - np.hypot(along / stretch, across * stretch) + 0.1 * smooth_noise(rng, (side, side), radius_px)
    labels, _ = ndimage.label(ndimage.binary_fill_holes(field > 0))
    blob = labels == labels[side // 2, side // 2]
    return np.asarray(blob[np.ix_(blob.any(axis=1), blob.any(axis=0))])


def draw_folds(spec: PhantomSpec, tissue: Mask, rng: np.random.Generator) -> Image:
    """(rows, cols) 0–1: how much the section lies on itself, along `spec.folds` bands that start in the tissue."""
    rows, cols = tissue.shape
    px_um = spec.mpp * MAP_DOWNSAMPLE
    folded = np.zeros((rows, cols), dtype=np.float32)
    places = np.argwhere(ndimage.binary_erosion(tissue, iterations=max(1, round(60 / px_um))) | _middle(tissue))
    for _ in range(spec.folds):
        y, x = places[rng.integers(len(places))].astype(float)
        length = min(rng.uniform(500, 1400) / px_um, 0.5 * min(rows, cols))
        headings = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.05, 40))
        steps = length / 40 * np.stack([np.cos(headings), np.sin(headings)], axis=1)
        path = np.cumsum(steps, axis=0) - steps.sum(axis=0) / 2 + (x, y)
        line = np.ones((rows, cols), dtype=np.uint8)
        cv2.polylines(line, [np.rint(path).astype(np.int32)], False, 0, 1)
        off = cv2.distanceTransform(line, cv2.DIST_L2, 5)
        half = max(rng.uniform(25, 50) / px_um, 1.5)
        folded = np.maximum(folded, smoothstep((half - off).astype(np.float32), -0.7, 0.7))
    return folded


def _middle(tissue: Mask) -> Mask:
    """The px farthest from the edge: a place even in tissue too thin to erode."""
    inward = ndimage.distance_transform_edt(tissue)
    return np.asarray(inward == inward.max())


def draw_defocus(tissue: Mask, rng: np.random.Generator) -> Image:
    """(rows, cols) 0–1: 1 where the focus was wrong: on one side of the slide, about 40 % of the tissue."""
    rows, cols = tissue.shape
    grid_y, grid_x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    across = grid_x * np.cos(turn) + grid_y * np.sin(turn)
    across += 0.05 * min(rows, cols) * smooth_noise(rng, (rows, cols), 0.5 * min(rows, cols))
    soft = max(2.0, 0.01 * min(rows, cols))
    return smoothstep((across - np.quantile(across[tissue], 0.6)).astype(np.float32), -soft, soft)
