"""Fat, mucus, muscle and stroma: membranes, strands and fibres."""

from __future__ import annotations

import numpy as np

from wsi.phantom.noise import cells, smoothstep
from wsi.phantom.nuclei import Kind, Sheet

_MUSCLE_NUCLEUS = Kind(13.0, 3.6, 1.0, spread=0.3, wobble=0.04, chromatin=0.15)
_SPINDLE = Kind(11.0, 2.8, 1.35, spread=0.3, chromatin=0.18)
_FLAT = Kind(10.0, 2.6, 1.5, spread=0.25)
_ROUND_CELL = Kind(6.6, 6.0, 1.8, spread=0.12)


def paint_fat(sheet: Sheet) -> None:
    """Large empty vacuoles, thin membranes, a flat nucleus here and there."""
    _, to_border = cells(sheet.scatter(60), sheet.size_px)
    distance_um = sheet.bent(to_border, 3.5, 55) * sheet.mpp
    septum = smoothstep(sheet.noise(85), 0.3, 1.7)
    width_um = 1.3 + 4.5 * septum + 0.4 * sheet.noise(25)
    wall = np.exp(-np.square(distance_um / np.maximum(width_um, 0.9)))
    texture = 0.06 * sheet.noise(2.2) + 0.1 * smoothstep(sheet.noise(4.5), 0, 1.5)
    sheet.eosin[:] = 0.015 + wall * (0.34 + texture + 0.08 * septum)
    sheet.hematoxylin[:] = wall * (0.1 + 0.5 * texture)
    # Membranes cut at a slant leave a pale veil on one side.
    slant = smoothstep(sheet.noise(60), 0.3, 1.2) * smoothstep(-distance_um, -12, -1)
    sheet.eosin[:] += slant * (0.09 + 0.02 * sheet.noise(3))
    nuclei = sheet.scatter(34, distance_um < 1.0)
    rise_y, rise_x = np.gradient(distance_um)
    corner = np.floor(nuclei).astype(int) % sheet.size_px
    along = np.arctan2(rise_y, rise_x)[corner[:, 1], corner[:, 0]] + np.pi / 2
    sheet.paint(_FLAT, nuclei, along.astype(np.float64))


def paint_mucus(sheet: Sheet) -> None:
    """Pale bluish pools with swirling strands; hardly a cell."""
    base = 0.12 + 0.06 * sheet.noise(110) + 0.018 * sheet.noise(2.5) + 0.02 * sheet.noise(7, stretch=4)
    here = smoothstep(sheet.noise(70), -0.6, 1.2)
    strands = np.exp(-np.square(sheet.noise(45, stretch=3) / 0.06)) * here
    threads = np.exp(-np.square(sheet.noise(10, stretch=8) / 0.18)) * smoothstep(sheet.noise(40), 0.2, 1.5)
    film = smoothstep(sheet.noise(50, stretch=2), 0.6, 1.9)
    sheet.mucin[:] = base + 0.18 * strands + 0.1 * threads + 0.12 * film
    sheet.hematoxylin[:] = 0.01 + 0.07 * strands + 0.03 * threads
    sheet.eosin[:] = 0.015 + 0.04 * film + 0.02 * strands
    sheet.bend(11, 110)
    sheet.bend(2.2, 22)
    loose = sheet.scatter(48, smoothstep(sheet.noise(90), 0.4, 0.5) > 0.5, crowd=0.8)
    sheet.paint(_ROUND_CELL, loose, 0.0)


def paint_muscle(sheet: Sheet) -> None:
    """Dense parallel eosinophilic fibres, cigar-shaped nuclei along them, a few clefts."""
    fibre, thread = sheet.noise(4, stretch=16), sheet.noise(1.9, stretch=10)
    furrow = np.exp(-np.square(sheet.noise(8, stretch=12) / 0.13)) * smoothstep(sheet.noise(50), -0.8, 0.8)
    sheet.eosin[:] = 0.8 + 0.07 * fibre + 0.06 * thread + 0.05 * sheet.noise(70) - 0.28 * furrow
    sheet.hematoxylin[:] = 0.13 + 0.03 * sheet.noise(20, stretch=4) + 0.02 * thread
    cleft = smoothstep(sheet.noise(12, stretch=6), 1.85, 2.05)
    sheet.stains *= (1 - 0.93 * cleft)[:, :, None]
    points = sheet.scatter(14, cleft < 0.1, crowd=0.9)
    sheet.paint(_MUSCLE_NUCLEUS, points, sheet.rng.normal(0, 0.09, len(points)))
    sheet.bend(6, 150)
    sheet.bend(0.5, 22)


def paint_stroma(sheet: Sheet) -> None:
    """Loose wavy collagen bundles with pale gaps between, spindle nuclei, some round cells."""
    bundle, thread = sheet.noise(10, stretch=6), sheet.noise(3, stretch=7)
    loose = sheet.noise(80)
    collagen = smoothstep(0.6 * bundle + 0.75 * thread + 0.5 * loose, -0.7, 0.9)
    slit = smoothstep(-bundle - 0.5 * thread - 0.4 * loose, 1.4, 1.8)
    sheet.eosin[:] = 0.16 + 0.5 * collagen + 0.07 * sheet.noise(1.8, stretch=5)
    sheet.hematoxylin[:] = 0.07 + 0.05 * collagen + 0.03 * sheet.noise(12)
    sheet.mucin[:] = 0.09 * (1 - collagen)
    sheet.stains *= (1 - 0.9 * slit)[:, :, None]
    sheet.bend(1.5, 20)
    points = sheet.scatter(12, slit < 0.2, crowd=1.0)
    sheet.paint(_SPINDLE, points, sheet.rng.normal(0, 0.25, len(points)))
    cuff = sheet.scatter(9, sheet.noise(90) > 1.4, crowd=1.2)
    sheet.paint(_ROUND_CELL, cuff, 0.0)
    sheet.bend(5.5, 80)
