"""Any annotation file: which program wrote it is told from its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from wsi.annotations import asap, geojson, imagescope
from wsi.annotations.content import read_text
from wsi.annotations.drawing import Drawing
from wsi.annotations.frame import NO_BOUNDS, Frame
from wsi.annotations.region import Region
from wsi.errors import InputError

_BY_ROOT: dict[str, Callable[[Element, Path, Frame], Drawing]] = {
    "ASAP_Annotations": asap.drawing_of,
    "Annotations": imagescope.drawing_of,
}


def read_regions(path: Path, frame: Frame = NO_BOUNDS) -> list[Region]:
    """The regions alone of `read_drawing`."""
    return list(read_drawing(path, frame).regions)


def read_drawing(path: Path, frame: Frame = NO_BOUNDS) -> Drawing:
    """What a QuPath GeoJSON, ASAP XML or Aperio ImageScope XML file holds, gzipped or not; level-0 px.

    frame: of which slide. From where it counts matters to GeoJSON; XML counts from the slide's corner.

    Raises InputError, with the place and what to do, where a region has no class or encloses no area, where nothing is
    drawn but exclusions, and where the file says that it was drawn on a slide of another mpp.
    """
    text = read_text(path, "annotation")
    if not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return geojson.drawing_of(text, path, frame)
    try:
        root = fromstring(text)
    except (ParseError, ValueError, LookupError, DefusedXmlException) as error:
        raise InputError(f"{path}: not a readable XML file ({error})") from error
    if root.tag not in _BY_ROOT:
        raise InputError(
            f"{path}: XML with the root <{root.tag}>; ASAP writes <ASAP_Annotations>, ImageScope <Annotations>. "
            "From other programs export GeoJSON"
        )
    return _BY_ROOT[root.tag](root, path, frame)
