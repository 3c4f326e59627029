"""mpp and objective power as the writers of TIFF slides state them. What is not stated stays None."""

from __future__ import annotations

import math
import re

import tifffile

from wsi.readers.base import FINEST_CREDIBLE_MPP, MPP_UNKNOWN, believed_mpp
from wsi.readers.tiff.ome import ome_images

Mpp = tuple[float, float]
_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)"


def mpp_of(tiff: tifffile.TiffFile, first: tifffile.TiffPage) -> tuple[Mpp | None, tuple[str, ...]]:
    """((x, y) µm per level-0 px or None, notes): from the vendor's text, OME-XML or the resolution tags."""
    if tiff.is_svs:
        found = _aperio_number(tiff.pages.first.description, "MPP")
        return believed_mpp((found, found) if found else None)
    if tiff.is_philips:
        return believed_mpp(_philips_mpp(tiff.pages.first.description))
    # Of this image alone: a macro's µm per px are not the slide's.
    image = ome_images(tiff).get(int(first.index))
    if image is not None and image.mpp is not None:
        return believed_mpp(image.mpp)
    return believed_mpp(_resolution_mpp(first), _no_resolution)


def objective_power_of(tiff: tifffile.TiffFile, first: tifffile.TiffPage) -> float | None:
    """Objective magnification where Aperio's text or the OME-XML states it."""
    if tiff.is_svs:
        return _aperio_number(tiff.pages.first.description, "AppMag")
    image = ome_images(tiff).get(int(first.index))
    return image.objective_power if image else None


def _no_resolution(mpp: Mpp) -> str:
    if min(mpp) < FINEST_CREDIBLE_MPP:
        return f"the file says {min(mpp):.2g} µm per px, finer than any microscope; {MPP_UNKNOWN}"
    return f"the file says {25_400 / mpp[0]:.0f} dots per inch, a program's default and no mpp; {MPP_UNKNOWN}"


def _aperio_number(description: str, key: str) -> float | None:
    found = re.search(rf"\b{key}\s*=\s*{_NUMBER}(?![0-9.])", description)
    return _positive(found[1]) if found else None


def _philips_mpp(xml: str) -> Mpp | None:
    """The first pixel spacing is level 0's: "row spacing" "column spacing" in mm, as in DICOM."""
    found = re.search(rf'"DICOM_PIXEL_SPACING"[^>]*>\s*(?:"|&quot;){_NUMBER}\D+?{_NUMBER}(?:"|&quot;)', xml)
    rows, columns = (_positive(found[1]), _positive(found[2])) if found else (None, None)
    return None if rows is None or columns is None else (columns * 1000, rows * 1000)


def _resolution_mpp(page: tifffile.TiffPage) -> Mpp | None:
    um_per_unit = {2: 25_400.0, 3: 10_000.0}.get(int(page.tags.valueof("ResolutionUnit") or 0))
    sides = []
    for name in ("XResolution", "YResolution"):
        numerator, denominator = page.tags.valueof(name) or (0, 1)
        if not (um_per_unit and numerator > 0 and denominator > 0):
            return None
        sides.append(um_per_unit * denominator / numerator)
    return sides[0], sides[1]


def _positive(text: str) -> float | None:
    value = float(text)
    return value if 0 < value < math.inf else None
