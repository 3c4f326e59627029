"""Tissue by light and texture, where there is no stain to go by; and what is there where none was found."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.stain import background_rgb, by_bands, contrast, optical_density
from wsi.tissuepixels import JOIN_UM, THIN_UM, Candidates, disc, otsu, steps, tidied

# The least density of tissue, as a share of what Otsu's method says.
_OTSU_SHARE = 0.8
# Where there is no stain to go by, tissue is what takes (or gives, on a dark background) so much light, or has texture.
_GREY_BOUNDS, _GREY_CONTRAST = (0.02, 0.2), 0.01
# What is neither glass nor tissue: texture above noise, JPEG and steps, thicker than dust, fibres and a bubble's rim,
# and not beside pen. Empty glass of phantoms with dust and JPEG has none, with six bubbles 0.10 mm².
_REMAINS_CONTRAST, _REMAINS_THICK_UM, _BESIDE_INK_UM = 0.01, 60, 80


def grey_tissue(rgb: NDArray[np.uint8], px_um: float, *, dark: bool) -> Candidates:
    """What takes light where there is no colour, or gives light on a dark background; and what has texture."""
    light = 255 - rgb.max(axis=2) if dark else rgb.min(axis=2)
    grey = np.repeat(np.asarray(light, np.uint8)[..., None], 3, axis=2)
    background = background_rgb(grey)
    density = by_bands(
        rgb.shape, 0, lambda rows: np.minimum(optical_density(grey[rows], background)[..., 0] * 1000, 255)
    )
    threshold = float(np.clip(_OTSU_SHARE * otsu(density) / 1000, *_GREY_BOUNDS))
    textured = by_bands(rgb.shape, 8, lambda rows: contrast(grey[rows], px_um)[0] > _GREY_CONTRAST)
    textured[steps(textured, px_um)] = 0
    joined = cv2.morphologyEx(
        np.maximum(textured, (density > threshold * 1000).astype(np.uint8)), cv2.MORPH_CLOSE, disc(JOIN_UM / px_um)
    )
    found = cv2.morphologyEx(joined, cv2.MORPH_OPEN, disc(THIN_UM / px_um)) > 0
    return replace(no_tissue(rgb), found=found, background=background, threshold=threshold)


def no_tissue(rgb: NDArray[np.uint8]) -> Candidates:
    """Where a slide is not looked at for tissue: none, and no ink."""
    none = np.zeros(rgb.shape[:2], bool)
    return Candidates(none, none, none, background_rgb(rgb), 0.0)


def remains_mm2(rgb: NDArray[np.uint8], excluded: NDArray[np.bool_], px_um: float, min_area_mm2: float) -> float:
    """Area in mm² that has texture and is not excluded: in pieces as thick and as large as tissue."""
    textured = by_bands(rgb.shape, 8, lambda rows: contrast(rgb[rows], px_um)[0] > _REMAINS_CONTRAST)
    textured[steps(textured, px_um)] = 0
    textured[cv2.dilate(excluded.astype(np.uint8), disc(_BESIDE_INK_UM / px_um)) > 0] = 0
    joined = cv2.morphologyEx(textured, cv2.MORPH_CLOSE, disc(THIN_UM / px_um))
    thick = cv2.morphologyEx(joined, cv2.MORPH_OPEN, disc(_REMAINS_THICK_UM / px_um)) > 0
    return float(tidied(thick, min_area_mm2 * 1e6 / px_um**2, 0).sum() * px_um**2 / 1e6)
