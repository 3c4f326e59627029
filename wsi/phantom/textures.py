"""The swatch of each tissue class: a toroidal sheet of stain concentrations at any mpp."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.phantom.glands import paint_normal, paint_tumour
from wsi.phantom.loose import paint_fat, paint_mucus, paint_muscle, paint_stroma
from wsi.phantom.noise import Image, blur, cells, smoothstep
from wsi.phantom.nuclei import Kind, Sheet
from wsi.phantom.spec import CLASSES
from wsi.phantom.stain import Stain

_SWATCH_PX = 1024
# Coarser slides are drawn at this mpp or finer and averaged down, as a scanner's pyramid is: drawing a
# nucleus of four pixels directly would not look like one.
_COARSEST_DRAWN_MPP = 0.6
# What the objective and the section's thickness blur.
_OPTICS_UM = 0.24

_LYMPHOCYTE = Kind(6.8, 6.4, 2.0, spread=0.1, wobble=0.04, chromatin=0.22, rim=0.15)
_BLAST = Kind(9.5, 8.5, 1.1, spread=0.12, wobble=0.05, chromatin=0.25, rim=0.5, nucleoli=2)
_DUST = Kind(2.4, 2.0, 1.5, spread=0.4, wobble=0.1)


@dataclass(frozen=True)
class Swatch:
    """A class's texture before staining: toroidal concentrations (side, side, 3).

    They are `reduction` times finer than the mpp asked for.
    """

    concentrations: Image
    reduction: int

    @classmethod
    def drawn(cls, name: str, seed: int, mpp: float) -> Swatch:
        """Draw the texture of class `name` at `mpp` µm/px; each seed gives another."""
        reduction = max(1, math.ceil(mpp / _COARSEST_DRAWN_MPP))
        # Sides are multiples of 64, for noise to wrap around, and of the reduction.
        side = 64 * reduction * max(1, round(_SWATCH_PX / (64 * reduction)))
        sheet = Sheet(np.random.default_rng([seed, CLASSES.index(name)]), side, mpp / reduction)
        _PAINTERS[name](sheet)
        channels = [blur(np.maximum(sheet.stains[:, :, i], 0), _OPTICS_UM / sheet.mpp) for i in range(3)]
        return cls(np.stack(channels, axis=-1), reduction)

    def rgb(self, stain: Stain) -> NDArray[np.uint8]:
        """(side, side, 3) uint8 RGB on white, toroidal; side is about 1024 px over the reduction."""
        colours = stain.rgb(self.concentrations)
        if self.reduction == 1:
            return colours
        side = colours.shape[0] // self.reduction
        return np.asarray(cv2.resize(colours, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _paint_background(sheet: Sheet) -> None:
    sheet.stains[:] = 0


def _paint_debris(sheet: Sheet) -> None:
    """Necrosis: granular, pink, cracked, ghosts of cells but no nuclei."""
    _, to_border = cells(sheet.scatter(12), sheet.size_px)
    to_border = sheet.bent(to_border, 1.4, 10) * sheet.mpp
    open_here = smoothstep(sheet.noise(26), 0.0, 1.3)
    crack = np.exp(-np.square(to_border / (0.4 + 0.9 * open_here))) * (0.25 + 0.75 * open_here)
    grain = 0.12 * sheet.noise(2.2) + 0.06 * sheet.noise(4.5) + 0.05 * sheet.noise(60)
    ghost = smoothstep(sheet.noise(11), 0.9, 1.8)
    sheet.eosin[:] = (0.72 + grain) * (1 - 0.6 * crack)
    sheet.hematoxylin[:] = (0.12 + 0.04 * sheet.noise(3) + 0.1 * ghost) * (1 - 0.5 * crack)
    dust = sheet.scatter(14, sheet.noise(60) > 0.6, crowd=0.6)
    sheet.paint(_DUST, dust, 0.0)


def _paint_lymphocytes(sheet: Sheet) -> None:
    """Sheets of small dark nuclei with hardly any cytoplasm; paler centres with larger cells."""
    centre = sheet.noise(130)
    sheet.eosin[:] = 0.26 + 0.06 * sheet.noise(4) + 0.05 * sheet.noise(60)
    sheet.hematoxylin[:] = 0.22 + 0.06 * sheet.noise(5)
    gap = smoothstep(sheet.noise(12, stretch=1.5), 0.9, 1.7)
    sheet.stains *= (1 - 0.8 * gap)[:, :, None]
    pale = centre > 1.3
    blasts = sheet.scatter(9, pale)
    sheet.paint(_BLAST, blasts, sheet.angles(len(blasts)))
    small = sheet.scatter(5.9, ~pale & (gap < 0.5), crowd=5)
    sheet.paint(_LYMPHOCYTE, small, sheet.angles(len(small)))


_PAINTERS: dict[str, Callable[[Sheet], None]] = {
    "ADI": paint_fat,
    "BACK": _paint_background,
    "DEB": _paint_debris,
    "LYM": _paint_lymphocytes,
    "MUC": paint_mucus,
    "MUS": paint_muscle,
    "NORM": paint_normal,
    "STR": paint_stroma,
    "TUM": paint_tumour,
}
