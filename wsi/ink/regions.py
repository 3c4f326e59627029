"""What a pathologist outlined with a pen: the tissue enclosed, as polygons in level-0 px."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes

from wsi.annotations import Region
from wsi.ink.enclosed import Enclosed, find_enclosed
from wsi.ink.strokes import PENS, STROKE_MPP, Mask, Strokes, disc, find_strokes, opened, stain_like_ink
from wsi.shapes import polygons_of, rasterise
from wsi.slide import Slide
from wsi.stain import background_rgb, colour_density

Area: TypeAlias = Literal["tissue", "all"]

# Where mpp is unknown, a picture of a whole slide is taken to be 1,024 px at most of `STROKE_MPP`.
_UNKNOWN_LONGEST_PX = 1024
# Colour density (see `stain.colour_density`) of the palest tissue: lower than for a tissue mask, because within an
# outline glass is rare and a person has said that this is tissue.
_LEAST_DENSITY = 0.02
# As people draw around tissue: over gaps of 2 · 18 px, and off the soft edge of the ink.
_CLOSED_GAP_PX, _OFF_INK_PX, _ROUGHNESS_PX = 18, 4, 3
# Pieces smaller than this, and than this share of the largest, are dust.
_LEAST_PIECE_MM2, _LEAST_PIECE_SHARE = 0.1, 0.03
# Share of the ink around a region that has a colour, from which on the pen has it. Of black pens 0 to 0.1 has one.
_COLOURED = 0.2


@dataclass(frozen=True)
class InkOptions:
    """area: "tissue": the tissue within each outline, holes filled; "all": everything within, glass too."""

    area: Area = "tissue"


@dataclass(frozen=True)
class InkRegions:
    """One region an outline, named after the pen ("blue pen"), the largest first.

    Measurements of each: `confidence`, the share of its outline that is ink (1: closed; the rest are gaps bridged by
    straight lines, or the picture's edge), and `area_mm2` where mpp is known. `notes`: what was assumed.
    """

    regions: tuple[Region, ...]
    notes: tuple[str, ...]


def ink_regions(slide: Slide, options: InkOptions) -> InkRegions:
    """The areas outlined by pen on a slide, or on a picture of one, without the ink.

    Reads at `STROKE_MPP` µm/px. Loops of writing and outlines around bare glass are no regions.
    """
    rgb, notes = _picture(slide)
    px_size = slide.size[0] / rgb.shape[1], slide.size[1] / rgb.shape[0]
    strokes = find_strokes(rgb, faded=True)
    tissue = _tissue(rgb)
    share = float((tissue & strokes.mask).sum() / max(1, tissue.sum()))
    if stain_like_ink(share):
        return InkRegions((), (*notes, f"{share:.0%} of the stained area has the colour of ink: taken as stain"))
    regions = []
    for enclosed in find_enclosed(strokes.mask, tissue):
        area = enclosed.mask if options.area == "all" else tissue_within(enclosed.mask, strokes.mask, tissue)
        polygons = polygons_of(area, px_size)
        if polygons:
            regions.append(pen_region(polygons, _pen_around(enclosed, strokes), enclosed.closed, slide.mpp))
    if not regions:
        notes.append("no outline found" if strokes.mask.any() else "no ink found")
    return InkRegions(tuple(sorted(regions, key=lambda region: -region.polygon.area)), tuple(notes))


def _picture(slide: Slide) -> tuple[NDArray[np.uint8], list[str]]:
    """The slide at `STROKE_MPP`, as far as that can be known, and what was assumed."""
    if slide.mpp is None:
        rgb = slide.thumbnail(_UNKNOWN_LONGEST_PX)
        return rgb, [f"mpp unknown: taken as a picture of a whole slide, about {STROKE_MPP:g} µm/px; no areas in mm²"]
    return slide.read(slide.bounds, STROKE_MPP), []


def _tissue(rgb: NDArray[np.uint8]) -> Mask:
    return np.asarray(cv2.GaussianBlur(colour_density(rgb, background_rgb(rgb)), (0, 0), 1.4) > _LEAST_DENSITY)


def tissue_within(enclosed: Mask, ink: Mask, tissue: Mask) -> Mask:
    """(h, w) the tissue in an enclosed area: gaps closed, holes filled, dust and the ink's soft edge left out."""
    found = tissue & enclosed & ~ink
    margin = _CLOSED_GAP_PX + 1
    padded = np.pad(found, margin).astype(np.uint8)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc(_CLOSED_GAP_PX))[margin:-margin, margin:-margin] > 0
    beside_ink = cv2.dilate(ink.astype(np.uint8), disc(_OFF_INK_PX)) > 0
    whole = binary_fill_holes(opened(closed & enclosed & ~beside_ink, _ROUGHNESS_PX)) & enclosed
    _, labels, stats, _ = cv2.connectedComponentsWithStats(whole.astype(np.uint8))
    areas_px = stats[:, cv2.CC_STAT_AREA].astype(np.float64)
    areas_px[0] = 0
    least_px = max(_LEAST_PIECE_MM2 / (STROKE_MPP / 1000) ** 2, _LEAST_PIECE_SHARE * areas_px.max())
    return np.asarray((areas_px >= least_px)[labels])


def _pen_around(enclosed: Enclosed, strokes: Strokes) -> str:
    """The colour of the ink around an area; where coloured ink is thick or over tissue, most of it looks black."""
    filled = binary_fill_holes(enclosed.mask)
    around = (cv2.dilate(filled.astype(np.uint8), disc(8)) > 0) & ~filled
    counts = np.bincount(strokes.pen[around & strokes.mask], minlength=len(PENS) + 1)[1:]
    coloured = counts[1:]
    black = coloured.sum() < _COLOURED * counts.sum()
    return PENS[0 if black else 1 + int(coloured.argmax())]


def pen_region(
    polygons: Iterable[shapely.Polygon],
    pen: str,
    closed: float,
    mpp: tuple[float, float] | None,
    source: str = "tesela ink",
) -> Region:
    """What a pen outlined: `closed` (0-1), how much of the outline is ink, is its confidence."""
    outline = shapely.union_all(list(polygons))
    measured = {"confidence": round(closed, 3)}
    if mpp is not None:
        measured["area_mm2"] = round(outline.area * mpp[0] * mpp[1] / 1e6, 4)
    return Region(outline, f"{pen} pen", source, measured)


def regions_mask(regions: Iterable[Region], size: tuple[int, int], longest_px: int = 4096) -> Mask:
    """(h, w) bool: regions of a slide of `size` (level-0 width, height), drawn at most `longest_px` large."""
    shrink = max(1.0, max(size) / longest_px)
    shape = max(1, round(size[1] / shrink)), max(1, round(size[0] / shrink))
    whole = shapely.union_all([region.polygon for region in regions])
    return rasterise(whole, shape, (size[0] / shape[1], size[1] / shape[0]))
