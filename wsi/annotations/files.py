"""Any annotation file: which program wrote it is told from its content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from wsi.annotations import asap, geojson, imagescope
from wsi.annotations.content import read_content
from wsi.annotations.frame import NO_BOUNDS, Frame
from wsi.annotations.region import Region
from wsi.errors import InputError

_BY_ROOT: dict[str, Callable[[Element, Path], list[Region]]] = {
    "ASAP_Annotations": asap.regions_of,
    "Annotations": imagescope.regions_of,
}


def read_regions(path: Path, frame: Frame = NO_BOUNDS) -> list[Region]:
    """Regions of a QuPath GeoJSON, ASAP XML or Aperio ImageScope XML file, gzipped or not; level-0 px.

    frame: of which slide, for GeoJSON; XML counts from the slide's corner.

    Raises InputError, with the place and what to do, where a region has no class or encloses no area.
    """
    content = read_content(path, "annotation")
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return geojson.regions_of(content, path, frame)
    try:
        root = fromstring(content)
    except (ParseError, ValueError, LookupError, DefusedXmlException) as error:
        raise InputError(f"{path}: not a readable XML file ({error})") from error
    if root.tag not in _BY_ROOT:
        raise InputError(
            f"{path}: XML with the root <{root.tag}>; ASAP writes <ASAP_Annotations>, ImageScope <Annotations>. "
            "From other programs export GeoJSON"
        )
    return _BY_ROOT[root.tag](root, path)
