"""mpp and objective power as the writers of TIFF slides state them. What is not stated stays None."""

from __future__ import annotations

import re

import tifffile

from wsi.readers.base import COARSEST_CREDIBLE_MPP

_UM_PER_UNIT = {"µm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4}


def mpp_of(tiff: tifffile.TiffFile) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """((x, y) µm per level-0 px or None, notes): from Aperio's text, OME-XML or the resolution tags."""
    page = tiff.pages.first
    if tiff.is_svs:
        found = _aperio_number(page.description, "MPP")
        return ((found, found) if found else None), ()
    mpp = _ome_mpp(tiff.ome_metadata) if tiff.is_ome else None
    mpp = mpp or _resolution_mpp(page)
    if mpp is not None and max(mpp) > COARSEST_CREDIBLE_MPP:
        dpi = 25_400 / mpp[0]
        return None, (f"the file says {dpi:.0f} dots per inch, a program's default and no mpp; taken as unknown",)
    return mpp, ()


def objective_power_of(tiff: tifffile.TiffFile) -> float | None:
    """Objective magnification where Aperio's text or the OME-XML states it."""
    if tiff.is_svs:
        return _aperio_number(tiff.pages.first.description, "AppMag")
    found = re.search(r'NominalMagnification="([0-9.]+)"', tiff.ome_metadata or "")
    return float(found[1]) if found else None


def _aperio_number(description: str, key: str) -> float | None:
    found = re.search(rf"\b{key}\s*=\s*([0-9.]+)", description)
    try:
        value = float(found[1]) if found else 0.0
    except ValueError:
        return None
    return value or None


def _ome_mpp(xml: str | None) -> tuple[float, float] | None:
    sides = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="([0-9.eE+-]+)"', xml or "")
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', xml or "")
        scale = _UM_PER_UNIT.get(unit[1] if unit else "µm")
        if size is None or scale is None or not float(size[1]) > 0:
            return None
        sides.append(float(size[1]) * scale)
    return sides[0], sides[1]


def _resolution_mpp(page: tifffile.TiffPage) -> tuple[float, float] | None:
    um_per_unit = {2: 25_400.0, 3: 10_000.0}.get(int(page.tags.valueof("ResolutionUnit") or 0))
    sides = []
    for name in ("XResolution", "YResolution"):
        numerator, denominator = page.tags.valueof(name) or (0, 1)
        if not (um_per_unit and numerator > 0 and denominator > 0):
            return None
        sides.append(um_per_unit * denominator / numerator)
    return sides[0], sides[1]
