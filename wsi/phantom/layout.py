"""Where the tissue lies and which class is where, on maps of 1/8 the slide's size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsi.phantom.noise import Image, Mask, smooth_noise
from wsi.phantom.spec import BACKGROUND, CLASSES, MAP_DOWNSAMPLE, PhantomSpec

# Regions are this wide where the slide has room for more than one per class: some tiles each, as in a
# section of an organ.
_REGION_UM = 420
_LEAST_REGION_PX = 640
# On a large slide they grow instead of becoming a quilt.
_MOST_REGIONS_PER_CLASS = 6


@dataclass(frozen=True)
class Layout:
    """`region_map` (rows, cols) holds 0 for background, else a region; `region_classes[region]` its class."""

    region_map: NDArray[np.uint16]
    region_classes: NDArray[np.uint8]

    @property
    def class_map(self) -> NDArray[np.uint8]:
        """(rows, cols) uint8 index into CLASSES."""
        return self.region_classes[self.region_map]


@dataclass(frozen=True)
class _Slot:
    """A piece's own part of the map, so that pieces never touch."""

    top: int
    left: int
    rows: int
    cols: int


def lay_out(spec: PhantomSpec, rng: np.random.Generator) -> Layout:
    """Draw the pieces of tissue and divide them into regions; every class of the spec gets one or more."""
    rows, cols = spec.map_shape
    tissue = np.zeros((rows, cols), dtype=bool)
    for slot in _slots(_Slot(0, 0, rows, cols), spec.pieces):
        tissue[slot.top : slot.top + slot.rows, slot.left : slot.left + slot.cols] = _piece(slot, rng)
    return _divide(tissue, spec, rng)


def _slots(whole: _Slot, count: int) -> list[_Slot]:
    if count == 1:
        return [whole]
    first = count // 2
    if whole.cols >= whole.rows:
        cut = whole.cols * first // count
        left = _Slot(whole.top, whole.left, whole.rows, cut)
        right = _Slot(whole.top, whole.left + cut, whole.rows, whole.cols - cut)
        return _slots(left, first) + _slots(right, count - first)
    cut = whole.rows * first // count
    upper = _Slot(whole.top, whole.left, cut, whole.cols)
    lower = _Slot(whole.top + cut, whole.left, whole.rows - cut, whole.cols)
    return _slots(upper, first) + _slots(lower, count - first)


def _piece(slot: _Slot, rng: np.random.Generator) -> Mask:
    """(rows, cols) outline of one piece: a lobed, tilted ellipse with a ragged edge, holes and tears."""
    shape = (slot.rows, slot.cols)
    y, x = np.mgrid[0 : slot.rows, 0 : slot.cols].astype(np.float32)
    y, x = (y + 0.5) / slot.rows * 2 - 1, (x + 0.5) / slot.cols * 2 - 1
    # A superellipse fills a slot better than an ellipse, as sections fill a slide.
    tilt, power = rng.uniform(-0.35, 0.35), rng.uniform(2.0, 2.6)
    u, v = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    wide, high = rng.uniform(0.72, 0.84, 2)
    radius = (np.abs(u / wide) ** power + np.abs(v / high) ** power) ** (1 / power)
    short = min(shape)
    field = 1 - radius + 0.13 * smooth_noise(rng, shape, short * 0.55)
    field += 0.035 * smooth_noise(rng, shape, short * 0.13) + 0.012 * smooth_noise(rng, shape, 6)
    # Nothing reaches the slot's edge, or two pieces could become one.
    margin = np.maximum(np.abs(x), np.abs(y)) + 0.04 * smooth_noise(rng, shape, short * 0.3)
    field -= np.square(np.clip((margin - 0.74) / 0.16, 0, None))
    field[[0, -1], :] = -1
    field[:, [0, -1]] = -1
    solid = _largest(ndimage.binary_fill_holes(field > 0))
    open_ = solid & ~_holes(field, rng) & ~_tears(field, rng)
    return _largest(open_)


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def _holes(field: Image, rng: np.random.Generator) -> Mask:
    """Cut a few lumens and rips inside the piece, none at its edge."""
    shape = (field.shape[0], field.shape[1])
    rough = smooth_noise(rng, shape, 26, stretch=1.8) + 0.35 * smooth_noise(rng, shape, 8)
    return np.asarray((rough > 2.75) & (field > 0.12))


def _tears(field: Image, rng: np.random.Generator) -> Mask:
    """Wandering white cracks that start at the edge and end inside."""
    canvas = np.zeros(field.shape, dtype=np.uint8)
    rows, cols = np.nonzero((field > 0) & (field < 0.02))
    rise_y, rise_x = np.gradient(cv2.GaussianBlur(field, (0, 0), 3))
    short = min(field.shape)
    for _ in range(int(rng.integers(1, 4))):
        if len(rows) == 0:
            break
        start = int(rng.integers(len(rows)))
        y, x = float(rows[start]), float(cols[start])
        heading = float(np.arctan2(rise_y[int(y), int(x)], rise_x[int(y), int(x)]))
        steps = int(rng.integers(8, 22))
        for step in range(steps):
            ahead = (x + short * 0.018 * np.cos(heading), y + short * 0.018 * np.sin(heading))
            thickness = max(1, round(short * 0.012 * (1 - step / steps)))
            cv2.line(canvas, (round(x), round(y)), (round(ahead[0]), round(ahead[1])), 1, thickness)
            (x, y), heading = ahead, heading + float(rng.normal(0, 0.28))
    return np.asarray(canvas > 0)


def _divide(tissue: Mask, spec: PhantomSpec, rng: np.random.Generator) -> Layout:
    """Split the tissue into warped Voronoi regions and give each a class."""
    rows, cols = tissue.shape
    area = int(np.count_nonzero(tissue))
    wanted_px = max(_REGION_UM / spec.mpp, _LEAST_REGION_PX) / MAP_DOWNSAMPLE
    least = len(spec.classes)
    count = int(np.clip(area / wanted_px**2, least, least * _MOST_REGIONS_PER_CLASS))
    seeds = _spread(tissue, count, rng)
    size = float(np.sqrt(area / count))
    # Room for the warp to look past the edge: a clipped look-up would draw straight borders there.
    pad = round(size)
    nearest = _nearest((rows + 2 * pad, cols + 2 * pad), seeds + pad)
    shift_x, shift_y = (
        0.22 * size * smooth_noise(rng, (rows, cols), size * 0.9)
        + 0.05 * size * smooth_noise(rng, (rows, cols), size * 0.25)
        for _ in range(2)
    )
    y, x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    source_x = np.clip(np.rint(x + shift_x) + pad, 0, nearest.shape[1] - 1).astype(np.int64)
    source_y = np.clip(np.rint(y + shift_y) + pad, 0, nearest.shape[0] - 1).astype(np.int64)
    regions = np.where(tissue, nearest[source_y, source_x] + 1, 0).astype(np.uint16)
    return Layout(regions, _classes(regions, spec, rng))


def _spread(tissue: Mask, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(count, 2) (row, col) of points in the tissue, each about as far as can be from those before."""
    places = np.argwhere(tissue)
    places = places[rng.choice(len(places), min(len(places), 40 * count), replace=False)]
    far = np.full(len(places), np.inf)
    chosen = [0]
    while len(chosen) < min(count, len(places)):
        far = np.minimum(far, np.square(places - places[chosen[-1]]).sum(axis=1))
        chosen.append(int(far.argmax()))
    return np.asarray(places[chosen], dtype=np.int64)


def _nearest(shape: tuple[int, ...], seeds: NDArray[np.int64]) -> NDArray[np.int32]:
    field = np.ones(shape, dtype=np.uint8)
    field[seeds[:, 0], seeds[:, 1]] = 0
    _, labels = cv2.distanceTransformWithLabels(field, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros(int(labels.max()) + 1, dtype=np.int32)
    table[labels[seeds[:, 0], seeds[:, 1]]] = np.arange(len(seeds), dtype=np.int32)
    return np.asarray(table[labels])


def _classes(regions: NDArray[np.uint16], spec: PhantomSpec, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give each region a class: spread evenly, the larger regions first so that no class has only a sliver."""
    sizes = np.bincount(regions.ravel(), minlength=int(regions.max()) + 1)[1:]
    order = np.argsort(-sizes, kind="stable") + 1
    wanted = np.array([CLASSES.index(name) for name in spec.classes], dtype=np.uint8)
    turns = [rng.permutation(wanted) for _ in range(-(-len(order) // len(wanted)))]
    classes = np.full(len(sizes) + 1, BACKGROUND, dtype=np.uint8)
    classes[order] = np.concatenate(turns)[: len(order)]
    return classes
