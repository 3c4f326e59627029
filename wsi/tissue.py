"""Where there is tissue: a mask at low power, outlines in level-0 px, areas in mm²."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from wsi.annotations import Region
from wsi.ink import ink_mask, stain_like_ink
from wsi.pictures import write_jpeg
from wsi.slide import Slide
from wsi.stain import background_rgb, by_bands, colour_density, contrast
from wsi.tissuemask import TissueMask, mask_frame

# The least colour density of stain is this share of what Otsu's method says, within bounds. Below the lower one lie
# background steps and JPEG noise (0.016 at the 99th percentile of the real slides' glass); above the upper one pale
# stroma is left to texture alone.
_OTSU_SHARE = 0.8
_DENSITY_BOUNDS = (0.018, 0.08)
# Fat and mucus are nearly as pale as glass, but not as flat. Contrast of luminance (optical density) from here on is
# texture: at 8 µm/px glass has 0.004 at its 95th percentile, mucus 0.006 and fat 0.006 at their 5th.
_MIN_CONTRAST = 0.004
# JPEG rings around strong edges, with up to this share of their contrast, for its 8 px.
_RINGING, _RINGING_PX = 0.1, 8
# Contrast of that much is an edge as strong as stain makes it; ink and slide edges do not count for more.
_STRONG_CONTRAST = 0.09
# Colour contrast over luminance contrast: 0.14 (pale mucus) to 0.9 for whole pieces of phantoms and real slides; what
# is grey (dust, bubbles, slide edges) has hardly any.
_MIN_COLOURED = 0.07
# Fat and mucus are nearly as bright as glass. What is darker than this share of it (brightest channel) and has no stain
# is the slide's edge or a bubble's rim, and beside a piece of tissue its contrast seems to have that piece's colour.
_DARKEST_PALE = 0.6
# Fat cells are 60 µm wide and more: their membranes are joined to an area, then what stays thin is no tissue.
_JOIN_UM, _THIN_UM = 48, 28
# Steps between a scanner's fields are straight, along an axis, and thin.
_STEP_LENGTH_UM = 240
# From this share of the stained area on, a person should look whether it is ink.
_MUCH_INK = 0.5


@dataclass(frozen=True)
class TissueOptions:
    """mask_mpp: resolution of the mask. Areas in mm²: smaller pieces are dust, smaller holes are filled."""

    mask_mpp: float = 8.0
    min_area_mm2: float = 0.02
    max_hole_mm2: float = 0.02


@dataclass(frozen=True)
class Survey:
    """What a look at low power found: `rgb` (rows, cols, 3) at `px_um` µm/px, and masks of the same frame.

    `background`: (3,) RGB of glass; `density_threshold`: least colour density of stain; `notes`: for people.
    """

    rgb: NDArray[np.uint8]
    px_um: float
    mpp: tuple[float, float]
    tissue: TissueMask
    ink: NDArray[np.bool_]
    background: NDArray[np.uint8]
    density_threshold: float
    notes: tuple[str, ...]

    def regions(self) -> list[Region]:
        """Outlines in level-0 px, each with its area in mm²."""
        px_mm2 = self.mpp[0] * self.mpp[1] / 1e6
        return [
            replace(region, measurements={"area_mm2": round(region.polygon.area * px_mm2, 4)})
            for region in self.tissue.regions()
        ]

    def facts(self) -> dict[str, Any]:
        """What quality.json says of the mask."""
        return {
            "tissue_area_mm2": round(self.tissue.area_mm2(self.mpp), 4),
            "tissue_fraction": round(float(self.tissue.mask.mean()), 4),
            "ink_fraction": round(float(self.ink.mean()), 4),
            "background_rgb": [int(value) for value in self.background],
            "density_threshold": round(self.density_threshold, 4),
            "mask_mpp": self.px_um,
            "notes": list(self.notes),
        }


def find_tissue(slide: Slide, options: TissueOptions) -> tuple[TissueMask, dict[str, Any]]:
    """The tissue of a slide, and how it was found (for quality.json)."""
    found = survey(slide, options)
    return found.tissue, found.facts()


def survey(slide: Slide, options: TissueOptions) -> Survey:
    """Look at a slide at low power and find its tissue.

    Stain is told from background by its colour density, so that grey dust, coverslip lines, shading and the steps
    of a stitched background stay out. Fat and mucus are told from glass by their texture, where it has colour.
    """
    mpp = slide.require_mpp()
    px_um = max(options.mask_mpp, *mpp)
    shape, px_size = mask_frame(slide.size, px_um, mpp)
    rgb = slide.read_to(slide.bounds, (shape[1], shape[0]))
    background = background_rgb(rgb)
    # In thousandths: one byte a px for the whole slide, and a histogram for Otsu's method.
    density = by_bands(rgb.shape, 8, lambda rows: np.minimum(colour_density(rgb[rows], background) * 1000, 255))
    threshold = float(np.clip(_OTSU_SHARE * _otsu(density) / 1000, *_DENSITY_BOUNDS))
    stained = density > threshold * 1000
    (ink, edge), notes = ink_mask(rgb, px_um), []
    found = (stained | _pale(rgb, stained, background, px_um)) & ~edge
    ink_share = float((found & ink).sum() / max(1, found.sum()))
    if stain_like_ink(ink_share):
        notes.append(f"{ink_share:.0%} of the stained area has the colour of ink: taken as stain, nothing removed")
        ink = np.zeros_like(ink)
    elif ink_share > _MUCH_INK:
        notes.append(f"{ink_share:.0%} of the stained area has the colour of ink and was left out: is it ink?")
    px_mm2 = px_size[0] * mpp[0] * px_size[1] * mpp[1] / 1e6
    mask = tidied(found & ~ink, options.min_area_mm2 / px_mm2, options.max_hole_mm2 / px_mm2)
    return Survey(rgb, px_um, mpp, TissueMask(mask, px_size), ink, background, threshold, tuple(notes))


def _otsu(values: NDArray[np.uint8]) -> float:
    """Otsu's threshold; 255 where all values are one."""
    counts = cv2.calcHist([values], [0], None, [256], [0, 256]).ravel()
    return float(threshold_otsu(hist=counts)) if (counts > 0).sum() > 1 else 255.0


def _pale(
    rgb: NDArray[np.uint8], stained: NDArray[np.bool_], background: NDArray[np.uint8], px_um: float
) -> NDArray[np.bool_]:
    """(h, w) areas of fat and mucus: texture that has colour, joined over fat cells, and nowhere thin."""
    halo = _RINGING_PX + round(48 / px_um) + 4
    darkest = _DARKEST_PALE * float(background.max())
    textured = by_bands(rgb.shape, halo, lambda rows: _textured(rgb[rows], darkest, px_um))
    textured[_steps(textured, px_um)] = 0
    joined = cv2.morphologyEx(np.maximum(textured, stained), cv2.MORPH_CLOSE, _disc(_JOIN_UM / px_um))
    thick = cv2.morphologyEx(joined, cv2.MORPH_OPEN, _disc(_THIN_UM / px_um))
    # Not what was joined between two pieces of firm tissue: gaps and tears stay open.
    return np.asarray((thick > 0) & (cv2.dilate(textured, _disc(_JOIN_UM / px_um)) > 0))


def _textured(rgb: NDArray[np.uint8], darkest: float, px_um: float) -> NDArray[np.bool_]:
    """(h, w) contrast above noise and JPEG ringing, made by something coloured, and not where it is dark."""
    luminance, colour = contrast(rgb, px_um)
    around = 2 * _RINGING_PX + 1
    stain = np.minimum(np.minimum(luminance, 3 * colour), _STRONG_CONTRAST)
    least = np.maximum(_MIN_CONTRAST, _RINGING * cv2.dilate(stain, np.ones((around, around), np.uint8)))
    coloured = cv2.blur(colour, (5, 5)) > _MIN_COLOURED * cv2.blur(luminance, (5, 5))
    found = ((luminance > least) & coloured & (rgb.max(axis=2) > darkest)).astype(np.uint8)
    # An edge is blurred over 8 µm, and the window of `contrast` reaches as far beyond: that is taken back.
    return np.asarray(cv2.erode(found, _disc(16 / px_um)), bool)


def _steps(textured: NDArray[np.uint8], px_um: float) -> NDArray[np.bool_]:
    """(h, w) straight thin lines along an axis, which the steps between a scanner's fields make."""
    length = max(8, round(_STEP_LENGTH_UM / px_um))
    along_x = cv2.morphologyEx(textured, cv2.MORPH_OPEN, np.ones((1, length), np.uint8))
    along_y = cv2.morphologyEx(textured, cv2.MORPH_OPEN, np.ones((length, 1), np.uint8))
    thick = cv2.morphologyEx(textured, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    return np.asarray(np.maximum(along_x, along_y) > thick)


def _disc(radius_px: float) -> NDArray[np.uint8]:
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


def write_outline_preview(path: Path, slide: Slide, mask: TissueMask, longest_px: int = 1024) -> None:
    """thumbnail.jpg: the slide with its tissue outlined, to see at a glance what was taken."""
    picture = slide.thumbnail(longest_px)
    size = (picture.shape[1], picture.shape[0])
    small = cv2.resize(mask.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, (0, 120, 60), 2)
    write_jpeg(path, picture)
