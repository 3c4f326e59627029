"""What OME-XML says of each image of a TIFF: a slide, its label and its macro may lie in one file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tifffile
from defusedxml import DefusedXmlException, ElementTree

from wsi.errors import SlideError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

# Parsed, it takes ten times as much.
_MAX_XML = 32 << 20
_LISTED = 6
# Both characters are in use for the same sign: micro and the Greek mu.
_UM_PER_UNIT = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}


@dataclass(frozen=True)
class OmeImage:
    """mpp: (x, y) µm per px; None where it is not stated, as is objective_power (magnification)."""

    name: str
    mpp: tuple[float, float] | None
    objective_power: float | None


def ome_images(tiff: tifffile.TiffFile) -> dict[int, OmeImage]:
    """The images by the index of their first page in the chain; none where the file is no OME-TIFF."""
    root = _root(tiff)
    if root is None:
        return {}
    powers = {
        objective.get("ID", ""): _positive(objective.get("NominalMagnification"))
        for objective in root.iterfind("{*}Instrument/{*}Objective")
    }
    found: dict[int, OmeImage] = {}
    for number, image in enumerate(root.iterfind("{*}Image")):
        if _other_file(tiff, image) is not None:
            continue
        settings = image.find("{*}ObjectiveSettings")
        power = powers.get(settings.get("ID", "")) if settings is not None else None
        page = _first_page(image, number)
        if page is not None:
            found.setdefault(page, OmeImage(image.get("Name", ""), _mpp(image.find("{*}Pixels")), power))
    return found


def elsewhere_notes(tiff: tifffile.TiffFile) -> tuple[str, ...]:
    """For people: that images of the same OME-XML lie in other files, which are not read with this one."""
    root = _root(tiff)
    images = [] if root is None else root.findall("{*}Image")
    files = sorted({name for image in images if (name := _other_file(tiff, image)) is not None})
    listed = ", ".join(files[:_LISTED]) + (f" and {len(files) - _LISTED} more" if len(files) > _LISTED else "")
    return (f"more images of it lie in other files, to be read by themselves: {listed}",) if files else ()


def _other_file(tiff: tifffile.TiffFile, image: Element) -> str | None:
    """The file beside this one in which the image lies; None where it is this one, or was renamed since."""
    uuid = image.find("{*}Pixels/{*}TiffData/{*}UUID")
    name, own = ("" if uuid is None else uuid.get("FileName", "")), Path(tiff.filehandle.path)
    return name if name and name != own.name and (own.parent / name).is_file() else None


def significant_bits(page: tifffile.TiffPage) -> int | None:
    """How many bits of a sample are in use, where the OME-XML says so; the most that any of its images uses."""
    root = _root(page.parent)
    pixels = [] if root is None else root.findall("{*}Image/{*}Pixels")
    stated = [each.get("SignificantBits", "") for each in pixels]
    return max((int(bits) for bits in stated if bits.isdecimal()), default=None)


def _root(tiff: tifffile.TiffFile) -> Element | None:
    """The OME-XML; None where there is none, or it is damaged. Raises SlideError where it is beyond any slide's."""
    if not tiff.is_ome or tiff.ome_metadata is None:
        return None
    if len(tiff.ome_metadata) > _MAX_XML:
        raise SlideError(
            f"{tiff.filehandle.path}: {len(tiff.ome_metadata):,} characters of OME-XML, more than a slide needs; "
            "write it anew"
        )
    try:
        root: Element = ElementTree.fromstring(tiff.ome_metadata)
    except (ElementTree.ParseError, DefusedXmlException, ValueError):
        return None
    return root


def _first_page(image: Element, number: int) -> int | None:
    """Where the image begins: its first TiffData's IFD, which is 0 where it is left out."""
    data = image.find("{*}Pixels/{*}TiffData")
    text = "0" if data is None and number == 0 else None if data is None else data.get("IFD", "0")
    return int(text) if text is not None and text.isdecimal() else None


def _mpp(pixels: Element | None) -> tuple[float, float] | None:
    if pixels is None:
        return None
    sides = []
    for axis in "XY":
        size = _positive(pixels.get(f"PhysicalSize{axis}"))
        scale = _UM_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        if size is None or scale is None:
            return None
        sides.append(size * scale)
    return sides[0], sides[1]


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
