"""Where there is tissue: a mask at low power, outlines in level-0 px, areas in mm²."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from skimage.morphology import remove_small_holes, remove_small_objects

from wsi.annotations import Region
from wsi.geometry import TileGrid
from wsi.ink import ink_mask
from wsi.pictures import write_jpeg
from wsi.shapes import box_fractions, polygons_of, rasterise
from wsi.slide import Slide

TISSUE = "tissue"

# Bounds on what Otsu may choose, in optical density of colour (see `stain_density`). Below the lower one JPEG noise
# and background steps begin; above the upper one pale stroma is lost. Set by eye on the real slides and phantoms.
_DENSITY_BOUNDS = (0.05, 0.12)
# Luminance std (0-255) within 24 µm. Measured at 8 µm/px: background of the real slides has 3.1 at its 95th
# percentile, with JPEG noise and stitching steps; phantom mucus 4.6 and fat 8.9 at their 5th and 25th.
_MIN_TEXTURE = 4.0
# A picture in which this share of the stained area has an ink's colour is stained so (Giemsa is blue), not drawn on.
_STAIN_NOT_INK = 0.5


@dataclass(frozen=True)
class TissueOptions:
    """mask_mpp: resolution of the mask. Areas in mm²: smaller pieces are dust, smaller holes are filled."""

    mask_mpp: float = 8.0
    min_area_mm2: float = 0.02
    max_hole_mm2: float = 0.02


@dataclass(frozen=True)
class TissueMask:
    """`mask` (rows, cols) bool over the whole slide; `px_size`: level-0 px per mask px, (x, y)."""

    mask: NDArray[np.bool_]
    px_size: tuple[float, float]

    @classmethod
    def of_regions(
        cls, regions: list[Region], size: tuple[int, int], px_um: float, mpp: tuple[float, float]
    ) -> TissueMask:
        """The mask of outlines in level-0 px (as ingest or a person wrote them), with pixels of `px_um` µm."""
        shape, px_size = _mask_frame(size, px_um, mpp)
        return cls(rasterise(shapely.union_all([region.polygon for region in regions]), shape, px_size), px_size)

    def fractions(self, grid: TileGrid) -> NDArray[np.float32]:
        """(rows * cols,) share of every tile that is tissue."""
        return box_fractions(self.mask, grid.boxes(), self.px_size)

    def regions(self) -> list[Region]:
        """Outlines in level-0 px."""
        return [Region(polygon, TISSUE, "tesela tissue") for polygon in polygons_of(self.mask, self.px_size)]

    def area_mm2(self, mpp: tuple[float, float]) -> float:
        """Area of the mask, for a slide of `mpp` (x, y)."""
        px_mm2 = self.px_size[0] * mpp[0] * self.px_size[1] * mpp[1] / 1e6
        return float(self.mask.sum() * px_mm2)


def _mask_frame(
    size: tuple[int, int], px_um: float, mpp: tuple[float, float]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Shape (rows, cols) and level-0 px per px of a mask of about `px_um` µm a px."""
    cols = max(1, round(size[0] * mpp[0] / px_um))
    rows = max(1, round(size[1] * mpp[1] / px_um))
    return (rows, cols), (size[0] / cols, size[1] / rows)


def find_tissue(slide: Slide, options: TissueOptions) -> tuple[TissueMask, dict[str, Any]]:
    """The tissue of a slide, and how it was found (for quality.json).

    Stain is told from background by its colour density, so that grey dust, coverslip lines, shading and the steps
    of a stitched background stay out. From there the mask grows into what is connected and either weakly stained or
    textured: fat and mucus are nearly as pale as glass, but not as flat.
    """
    mpp = slide.require_mpp()
    px_um = max(options.mask_mpp, *mpp)
    shape, px_size = _mask_frame(slide.size, px_um, mpp)
    rgb = slide.read_to(slide.bounds, (shape[1], shape[0]))
    background = background_rgb(rgb)
    density = stain_density(rgb, background, blur_px=max(0.6, 10 / px_um))
    threshold = float(np.clip(threshold_otsu(density) if np.ptp(density) > 0 else 1.0, *_DENSITY_BOUNDS))
    # The window of `texture` reaches a px beyond what it measures: that px is taken back.
    textured = cv2.erode((texture(rgb, px_um) > _MIN_TEXTURE).astype(np.uint8), np.ones((3, 3), np.uint8))
    stained = _grown(density > threshold, (density > 0.6 * threshold) | (textured > 0))
    ink = ink_mask(rgb, px_um)
    ink_share = float((stained & ink).sum() / max(1, stained.sum()))
    notes = []
    if ink_share > _STAIN_NOT_INK:
        notes.append(f"{ink_share:.0%} of the stained area has the colour of ink: taken as stain, nothing removed")
        ink[:] = False
    px_mm2 = px_size[0] * mpp[0] * px_size[1] * mpp[1] / 1e6
    mask = TissueMask(_tidy(stained & ~ink, px_um, px_mm2, options), px_size)
    quality = {
        "tissue_area_mm2": round(mask.area_mm2(mpp), 4),
        "tissue_fraction": round(float(mask.mask.mean()), 4),
        "ink_fraction": round(float(ink.mean()), 4),
        "background_rgb": [int(value) for value in background],
        "density_threshold": round(threshold, 4),
        "mask_mpp": px_um,
        "notes": notes,
    }
    return mask, quality


def background_rgb(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(3,) the most frequent bright, colourless shade; white where there is none."""
    bright = rgb[(rgb.min(axis=2) > 190) & (np.ptp(rgb, axis=2) < 25)]
    if len(bright) < 0.001 * rgb.shape[0] * rgb.shape[1]:
        return np.full(3, 255, np.uint8)
    level = bright.astype(np.int32).sum(axis=1) // 3
    mode = int(np.argmax(np.bincount(level)))
    return np.asarray(np.median(bright[np.abs(level - mode) <= 2], axis=0)).astype(np.uint8)


def stain_density(rgb: NDArray[np.uint8], background: NDArray[np.uint8], blur_px: float) -> NDArray[np.float32]:
    """(h, w) how coloured each pixel is: largest minus smallest optical density over the three channels.

    Optical density, -log10(I / background), by Beer and Lambert: grey absorbers cancel out, stains do not.
    """
    ratio = (rgb.astype(np.float32) + 1) / (background.astype(np.float32) + 1)
    density = -np.log10(np.minimum(ratio, 1.0))
    smooth = cv2.GaussianBlur(density, (0, 0), blur_px)
    return np.asarray(smooth.max(axis=2) - smooth.min(axis=2), np.float32)


def texture(rgb: NDArray[np.uint8], px_um: float) -> NDArray[np.float32]:
    """(h, w) standard deviation of luminance (0-255) in a window of about 24 µm, 3 px at the least."""
    side = 2 * max(1, round(12 / px_um)) + 1
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.blur(grey, (side, side))
    variance = cv2.blur(grey * grey, (side, side)) - mean * mean
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float32)


def _grown(sure: NDArray[np.bool_], possible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return `sure`, and whatever of `possible` hangs together with it."""
    _, labels = cv2.connectedComponents((possible | sure).astype(np.uint8), connectivity=8)
    touched = np.zeros(labels.max() + 1, bool)
    touched[labels[sure]] = True
    touched[0] = False
    grown: NDArray[np.bool_] = touched[labels]
    return grown


def _tidy(mask: NDArray[np.bool_], px_um: float, px_mm2: float, options: TissueOptions) -> NDArray[np.bool_]:
    """Close the gaps between fat cells' membranes, drop dust, fill small holes."""
    radius = max(1, round(24 / px_um))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel).astype(bool)
    kept = remove_small_objects(closed, max_size=math.ceil(options.min_area_mm2 / px_mm2) - 1)
    filled: NDArray[np.bool_] = remove_small_holes(kept, max_size=math.ceil(options.max_hole_mm2 / px_mm2) - 1)
    return filled


def write_outline_preview(path: Path, slide: Slide, mask: TissueMask, longest_px: int = 1024) -> None:
    """thumbnail.jpg: the slide with its tissue outlined, to see at a glance what was taken."""
    picture = slide.thumbnail(longest_px)
    size = (picture.shape[1], picture.shape[0])
    small = cv2.resize(mask.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, (0, 120, 60), 2)
    write_jpeg(path, picture)
