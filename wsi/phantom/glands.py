"""Epithelium: normal crypts (NORM) and tumour (TUM)."""

from __future__ import annotations

import numpy as np

from wsi.phantom.noise import Image, Mask, Points, blur, cells, smoothstep
from wsi.phantom.nuclei import Angles, Kind, Sheet

_CRYPT_NUCLEUS = Kind(9.0, 5.0, 1.75, wobble=0.04)
_PLASMA_CELL = Kind(6.6, 5.8, 2.0, spread=0.1, chromatin=0.3)
_FIBROBLAST = Kind(13.0, 3.0, 1.6, spread=0.25)
_TUMOUR_NUCLEUS = Kind(11.5, 8.2, 1.15, spread=0.24, wobble=0.07, chromatin=0.2, rim=0.65, nucleoli=3)
_MITOSIS = Kind(10.0, 5.0, 2.6, spread=0.2, wobble=0.2, chromatin=0.4, rim=0.0)
_DEBRIS = Kind(3.0, 2.4, 2.0, spread=0.4, wobble=0.15)


def paint_normal(sheet: Sheet) -> None:
    """Round regular crypts: basal nuclei, goblet vacuoles, a small lumen; lamina propria between them."""
    depth = _gland_depth(sheet, spacing_um=82, wall_um=5.5, wander_um=5)
    gland = smoothstep(depth, -0.6, 0.6)
    _lamina_propria(sheet, depth)
    cytoplasm = 0.42 + 0.05 * sheet.noise(3) + 0.16 * smoothstep(-depth, -9, -2)
    _lay(sheet.eosin, cytoplasm, gland)
    _lay(sheet.hematoxylin, 0.2 + 0.05 * sheet.noise(4) + 0.25 * smoothstep(-depth, -10, -3), gland)
    _lay(sheet.mucin, np.zeros_like(gland), gland)
    _goblets(sheet, depth)
    lumen = smoothstep(depth + 1.5 * sheet.noise(12), 27.5, 29.5)
    _lay(sheet.eosin, 0.05 + 0.02 * sheet.noise(6), lumen)
    _lay(sheet.hematoxylin, np.full_like(lumen, 0.02), lumen)
    _lay(sheet.mucin, 0.1 + 0.04 * sheet.noise(9), lumen)
    radial = _inward(depth)
    points = sheet.scatter(5.2, (depth > 3.2) & (depth < 6.8), crowd=7)
    sheet.paint(_CRYPT_NUCLEUS, points, _at(radial, points) + sheet.rng.normal(0, 0.25, len(points)))


def paint_tumour(sheet: Sheet) -> None:
    """Crowded irregular glands with punched-out lumens and solid nests, large pleomorphic nuclei."""
    depth = _gland_depth(sheet, spacing_um=100, wall_um=4.0, wander_um=10)
    nest = smoothstep(depth, -0.6, 0.6)
    _desmoplasia(sheet, depth)
    lumens = _punched_lumens(sheet, depth)
    _, to_membrane = cells(sheet.scatter(11), sheet.size_px)
    membrane = np.exp(-np.square(to_membrane * sheet.mpp / 0.9))
    patchy = sheet.noise(60)
    _lay(sheet.eosin, 0.46 + 0.06 * sheet.noise(2.5) + 0.08 * patchy + 0.13 * membrane, nest)
    _lay(sheet.hematoxylin, 0.4 + 0.06 * sheet.noise(3) - 0.1 * patchy + 0.06 * membrane, nest)
    hollow = nest * smoothstep(lumens, 0.2, 1.4)
    _lay(sheet.eosin, 0.05 + 0.1 * smoothstep(sheet.noise(5), 0.6, 1.6), hollow)
    _lay(sheet.hematoxylin, np.full_like(nest, 0.02), hollow)
    solid = (depth > 3) & (lumens < -3.2)
    radial = _inward(np.minimum(depth, blur(-lumens, 3 / sheet.mpp)))
    points = sheet.scatter(9.6, solid, crowd=6)
    angles = _at(radial, points) + sheet.rng.normal(0, 0.45, len(points))
    sheet.paint(_TUMOUR_NUCLEUS, points, angles)
    few = sheet.scatter(55, solid)
    sheet.paint(_MITOSIS, few, sheet.angles(len(few)))
    sheet.paint(_DEBRIS, sheet.scatter(9, hollow > 0.9, crowd=0.35), 0.0)


def _gland_depth(sheet: Sheet, spacing_um: float, wall_um: float, wander_um: float) -> Image:
    """Depth in µm below the surface of glands: above 0 inside, below 0 in the walls between them."""
    _, to_border = cells(sheet.scatter(spacing_um), sheet.size_px)
    rounded = blur(to_border, 7 / sheet.mpp)
    fine = sheet.bent(sheet.bent(rounded, wander_um, 85), 0.8, 14)
    # The blur lifts the walls' floor by about 5 µm; what stays below is the wall.
    return np.asarray(fine * sheet.mpp - wall_um - 5.0, dtype=np.float32)


def _lamina_propria(sheet: Sheet, depth: Image) -> None:
    fibres = smoothstep(np.abs(sheet.noise(9)), 0.05, 0.5)
    sheet.eosin[:] = 0.22 + 0.3 * (1 - fibres) + 0.05 * sheet.noise(3)
    sheet.hematoxylin[:] = 0.08
    # The membrane under the crypts.
    sheet.eosin[:] += 0.25 * np.exp(-np.square((depth + 1.2) / 0.9))
    outside = depth < -3
    points = sheet.scatter(8.5, outside, crowd=1.6)
    sheet.paint(_PLASMA_CELL, points, sheet.angles(len(points)))
    spindles = sheet.scatter(16, outside)
    along = _inward(depth) + np.float32(np.pi / 2)
    sheet.paint(_FIBROBLAST, spindles, _at(along, spindles))


def _desmoplasia(sheet: Sheet, depth: Image) -> None:
    strands = smoothstep(sheet.bent(sheet.noise(5, stretch=5), 6, 45), -1.6, 0.9)
    sheet.eosin[:] = 0.16 + 0.42 * strands + 0.05 * sheet.noise(2.2)
    sheet.hematoxylin[:] = 0.06 + 0.05 * strands
    points = sheet.scatter(12, depth < -3)
    sheet.paint(_FIBROBLAST, points, _at(_inward(depth) + np.float32(np.pi / 2), points))


def _punched_lumens(sheet: Sheet, depth: Image) -> Image:
    """Distance in µm into the lumens (above 0); some nests have many, some none."""
    _, to_border = cells(sheet.scatter(34), sheet.size_px)
    cribriform = sheet.noise(110)
    wide = blur(to_border, 2.5 / sheet.mpp) * sheet.mpp + 1.3 * sheet.noise(9)
    return np.asarray(np.minimum(wide - 11.5 + 4.0 * np.minimum(cribriform, 1.2), depth - 13), dtype=np.float32)


def _goblets(sheet: Sheet, depth: Image) -> None:
    ring: Mask = (depth > 13) & (depth < 22)
    points = sheet.scatter(11, ring, crowd=6)
    if len(points) == 0:
        return
    owner, to_border = cells(points, sheet.size_px)
    round_um = blur(to_border, 1.7 / sheet.mpp) * sheet.mpp
    full = sheet.rng.random(len(points)) < 0.85
    vacuole = smoothstep(round_um, 1.35, 2.2) * smoothstep(depth, 8.5, 10.5) * smoothstep(-depth, -26, -24)
    vacuole = vacuole * full[owner]
    _lay(sheet.eosin, np.full_like(depth, 0.06), vacuole)
    _lay(sheet.hematoxylin, 0.03 + 0.03 * sheet.noise(4), vacuole)
    _lay(sheet.mucin, 0.2 + 0.07 * sheet.noise(2.5) + 0.05 * sheet.noise(9), vacuole)


def _lay(channel: Image, value: Image, alpha: Image) -> None:
    channel += alpha * (value - channel)


def _inward(depth: Image) -> Image:
    """Angle (radians) of the steepest rise."""
    smooth = blur(depth, 3)
    rise_y, rise_x = np.gradient(smooth)
    return np.asarray(np.arctan2(rise_y, rise_x), dtype=np.float32)


def _at(field: Image, points: Points) -> Angles:
    index = np.floor(points).astype(int) % field.shape[0]
    return np.asarray(field[index[:, 1], index[:, 0]], dtype=np.float64)
