"""A clean slide and the copy that a pathologist drew on: what the marks enclose, in level-0 px of the clean slide."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsi.annotations import Region
from wsi.errors import InputError
from wsi.ink.regions import pen_region
from wsi.ink.strokes import Mask, disc
from wsi.marked.difference import find_marks, pen_name
from wsi.marked.enclosing import outlined
from wsi.marked.registration import Registration, agreement, onto_clean, register
from wsi.shapes import polygons_of
from wsi.slide import Slide
from wsi.stain import background_rgb, colour_density

# Both are read with at most this many px on the longer side: of a whole slide that is about the 22 µm/px that
# `wsi.ink` measures strokes in, and a picture of part of one is drawn on with a pen as wide on the screen.
_LONGEST_PX = 2048
# Colour density of tissue, as `wsi.ink` has it: what encloses bare glass is writing.
_LEAST_DENSITY = 0.02
_BESIDE_PX = 8
_SOURCE = "tesela label --marked"


@dataclass(frozen=True)
class MarkedOptions:
    """least_quality: `Registration.quality` below which the pair is refused, 0-1."""

    least_quality: float = 0.7


@dataclass(frozen=True)
class MarkedRegions:
    """Regions in level-0 px of the clean slide, the largest first, each named after its pen ("blue pen").

    Measurements of each: `confidence`, the share of its outline that is ink (1: closed; the rest are gaps bridged by
    straight lines, or the picture's edge), and `area_mm2` where mpp is known. unseen: the part of the clean slide
    that the copy does not show. notes: what was found to be said.
    """

    regions: tuple[Region, ...]
    registration: Registration
    unseen: BaseGeometry
    notes: tuple[str, ...]


def marked_regions(clean: Slide, marked: Slide, options: MarkedOptions) -> MarkedRegions:
    """The areas that were outlined on the copy `marked` and not on the slide `clean`, up to the middle of the ink.

    The copy may lie elsewhere, a little turned, of another scale, recompressed; it needs no mpp, nor does the slide.
    What both have is no mark: tissue folds, stain, pen that was there before. Raises InputError where the two do not
    agree as pictures of one section do.
    """
    # Of a small copy no more can be told than it shows: the clean slide is read no larger.
    rgb, copy = clean.thumbnail(min(_LONGEST_PX, max(marked.size))), marked.thumbnail(_LONGEST_PX)
    matrix, agreeing = register(rgb, copy)
    lying = onto_clean(copy, matrix, rgb.shape, 255)
    seen = onto_clean(np.full(copy.shape[:2], 255, np.uint8), matrix, rgb.shape, 0) == 255
    quality = agreement(rgb, lying, seen) if agreeing else 0.0
    if quality < options.least_quality:
        raise InputError(
            f"{marked.name}: agrees with {clean.name} by {quality:.2f} ({agreeing} features), "
            f"{options.least_quality:g} is asked; give the copy of this very slide, not mirrored, "
            "with most of the tissue on it"
        )
    px_size = clean.size[0] / rgb.shape[1], clean.size[1] / rgb.shape[0]
    copy_px_size = marked.size[0] / copy.shape[1], marked.size[1] / copy.shape[0]
    regions, notes = _regions(rgb, lying, seen, px_size, clean.mpp)
    registration = Registration(_of_level_0(matrix, px_size, copy_px_size), quality, agreeing)
    unseen = shapely.union_all(polygons_of(~seen, px_size))
    return MarkedRegions(tuple(regions), registration, unseen, tuple(notes))


def _of_level_0(
    matrix: NDArray[np.float64], px: tuple[float, float], copy_px: tuple[float, float]
) -> NDArray[np.float64]:
    """A matrix between px indices, whose centres are at + 0.5, as one between level-0 positions."""
    to_index = np.array([[1 / px[0], 0, -0.5], [0, 1 / px[1], -0.5], [0, 0, 1]])
    from_index = np.array([[copy_px[0], 0, 0.5 * copy_px[0]], [0, copy_px[1], 0.5 * copy_px[1]], [0, 0, 1]])
    found: NDArray[np.float64] = from_index @ np.vstack([matrix, [0, 0, 1]]) @ to_index
    return found[:2]


def _regions(
    rgb: NDArray[np.uint8],
    lying: NDArray[np.uint8],
    seen: Mask,
    px_size: tuple[float, float],
    mpp: tuple[float, float] | None,
) -> tuple[list[Region], list[str]]:
    """Regions on the clean picture `rgb`, of the copy that lies on it, and what is to be said."""
    pens = find_marks(rgb, lying, seen)
    ink = pens > 0
    tissue = np.asarray(cv2.GaussianBlur(colour_density(rgb, background_rgb(rgb)), (0, 0), 1.4) > _LEAST_DENSITY)
    regions = []
    found = outlined(ink, tissue)
    for area in found.areas:
        polygons = polygons_of(area.mask, px_size)
        around = (cv2.dilate(area.mask.astype(np.uint8), disc(_BESIDE_PX)) > 0) & ink
        regions.append(pen_region(polygons, pen_name(pens[around]), area.closed, mpp, _SOURCE))
    notes = []
    if not ink.any():
        notes.append("no marks: the copy shows what the clean slide shows")
    if found.loose:
        notes.append(f"{found.loose} marks enclose no tissue (open outlines, writing, arrows): in no region")
    doubtful = [region for region in regions if region.measurements["confidence"] < 1]
    if doubtful:
        notes.append(
            f"{len(doubtful)} of {len(regions)} outlines are not closed by ink alone, but over gaps or by the "
            "picture's edge: look at them"
        )
    return regions, notes
