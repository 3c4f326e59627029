"""mpp and objective power as the writers of TIFF slides state them. What is not stated stays None."""

from __future__ import annotations

import math
import re

import tifffile

from wsi.readers.base import COARSEST_CREDIBLE_MPP

Mpp = tuple[float, float]
_UM_PER_UNIT = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}
_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)"


def mpp_of(tiff: tifffile.TiffFile, first: tifffile.TiffPage) -> tuple[Mpp | None, tuple[str, ...]]:
    """((x, y) µm per level-0 px or None, notes): from the vendor's text, OME-XML or the resolution tags."""
    if tiff.is_svs:
        found = _aperio_number(tiff.pages.first.description, "MPP")
        return _credible((found, found)) if found else (None, ())
    if tiff.is_philips:
        return _credible(_philips_mpp(tiff.pages.first.description))
    mpp = _ome_mpp(tiff.ome_metadata) if tiff.is_ome else None
    return _credible(mpp or _resolution_mpp(first))


def objective_power_of(tiff: tifffile.TiffFile) -> float | None:
    """Objective magnification where Aperio's text or the OME-XML states it."""
    if tiff.is_svs:
        return _aperio_number(tiff.pages.first.description, "AppMag")
    found = re.search(rf'NominalMagnification="{_NUMBER}"', tiff.ome_metadata or "")
    return _positive(found[1]) if found else None


def _credible(mpp: Mpp | None) -> tuple[Mpp | None, tuple[str, ...]]:
    if mpp is None or max(mpp) <= COARSEST_CREDIBLE_MPP:
        return mpp, ()
    dpi = 25_400 / mpp[0]
    return None, (f"the file says {dpi:.0f} dots per inch, a program's default and no mpp; taken as unknown",)


def _aperio_number(description: str, key: str) -> float | None:
    found = re.search(rf"\b{key}\s*=\s*{_NUMBER}(?![0-9.])", description)
    return _positive(found[1]) if found else None


def _philips_mpp(xml: str) -> Mpp | None:
    """The first pixel spacing is level 0's: "row spacing" "column spacing" in mm, as in DICOM."""
    found = re.search(rf'"DICOM_PIXEL_SPACING"[^>]*>\s*(?:"|&quot;){_NUMBER}\D+?{_NUMBER}(?:"|&quot;)', xml)
    rows, columns = (_positive(found[1]), _positive(found[2])) if found else (None, None)
    return None if rows is None or columns is None else (columns * 1000, rows * 1000)


def _ome_mpp(xml: str | None) -> Mpp | None:
    sides = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="{_NUMBER}"', xml or "")
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', xml or "")
        scale = _UM_PER_UNIT.get(unit[1] if unit else "µm")
        value = _positive(size[1]) if size else None
        if value is None or scale is None:
            return None
        sides.append(value * scale)
    return sides[0], sides[1]


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
