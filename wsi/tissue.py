"""Where there is tissue: a mask at low power, outlines in level-0 px, areas in mm²."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.annotations import Region
from wsi.appearance import Appearance, appearance_of, look
from wsi.greytissue import grey_tissue, no_tissue, remains_mm2
from wsi.padding import without_padding
from wsi.pictures import write_jpeg
from wsi.slide import Slide
from wsi.stainedtissue import stained_tissue
from wsi.tissuemask import TissueMask, mask_frame
from wsi.tissuepixels import tidied


@dataclass(frozen=True)
class TissueOptions:
    """mask_mpp: resolution of the mask. Areas in mm²: smaller pieces are dust, smaller holes are filled.

    any_stain: whether tissue is also looked for, by light and texture, on what is no bright-field picture of a stain
    (fluorescence, grey, inverted: see `wsi.appearance`); without it none is found there.
    """

    mask_mpp: float = 8.0
    min_area_mm2: float = 0.02
    max_hole_mm2: float = 0.02
    any_stain: bool = False


@dataclass(frozen=True)
class Survey:
    """What a look at low power found: `rgb` (rows, cols, 3) at `px_um` µm/px, and masks of the same frame.

    `background`: (3,) RGB of glass; `density_threshold`: least colour density of stain (of light taken or given, where
    there is no colour); `notes`: for people. `dust_mm2`: stained, but left out as too small. `remains_mm2`: neither
    glass nor pen nor tissue, None where tissue was found or the slide is no picture of a stain.
    """

    rgb: NDArray[np.uint8]
    px_um: float
    mpp: tuple[float, float]
    tissue: TissueMask
    ink: NDArray[np.bool_]
    background: NDArray[np.uint8]
    density_threshold: float
    notes: tuple[str, ...]
    appearance: Appearance
    min_area_mm2: float
    dust_mm2: float
    remains_mm2: float | None

    @property
    def _px_mm2(self) -> float:
        return self.tissue.px_size[0] * self.mpp[0] * self.tissue.px_size[1] * self.mpp[1] / 1e6

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
            "slide_area_mm2": round(self.tissue.mask.size * self._px_mm2, 4),
            "min_area_mm2": self.min_area_mm2,
            "tissue_fraction": round(float(self.tissue.mask.mean()), 4),
            "ink_fraction": round(float(self.ink.mean()), 4),
            "background_rgb": [int(value) for value in self.background],
            "density_threshold": round(self.density_threshold, 4),
            "mask_mpp": self.px_um,
            "dust_mm2": round(self.dust_mm2, 4),
            "remains_mm2": None if self.remains_mm2 is None else round(self.remains_mm2, 4),
            "appearance": self.appearance.as_json(),
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
    appearance = appearance_of(look(slide))
    rgb = slide.read_to(slide.bounds, (shape[1], shape[0]))
    if appearance.scorable:
        rgb = without_padding(rgb)
        stained = stained_tissue(rgb, px_um)
    elif options.any_stain:
        # What glows, turned over, has a light background again.
        dark = not appearance.bright_field and float(np.median(rgb)) < 128
        stained = grey_tissue(rgb, px_um, dark=dark)
    else:
        stained = no_tissue(rgb)
    px_mm2 = px_size[0] * mpp[0] * px_size[1] * mpp[1] / 1e6
    mask = tidied(stained.found, options.min_area_mm2 / px_mm2, options.max_hole_mm2 / px_mm2)
    unexplained = appearance.scorable and not mask.any()
    remains = remains_mm2(rgb, stained.excluded, px_um, options.min_area_mm2) if unexplained else None
    return Survey(
        rgb,
        px_um,
        mpp,
        TissueMask(mask, px_size),
        stained.ink,
        stained.background,
        stained.threshold,
        stained.notes,
        appearance,
        options.min_area_mm2,
        float((stained.found & ~mask).sum() * px_mm2),
        remains,
    )


def write_outline_preview(path: Path, slide: Slide, mask: TissueMask, longest_px: int = 1024) -> None:
    """thumbnail.jpg: the slide with its tissue outlined, to see at a glance what was taken."""
    picture = slide.thumbnail(longest_px)
    size = (picture.shape[1], picture.shape[0])
    small = cv2.resize(mask.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, (0, 120, 60), 2)
    write_jpeg(path, picture)
