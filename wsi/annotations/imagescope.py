"""Aperio ImageScope's XML: layers (<Annotation>) of regions; a negative region is cut out of its own layer."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

import shapely
from shapely.affinity import scale, translate
from shapely.geometry import Point, box
from shapely.geometry.base import BaseGeometry

from wsi.annotations.outlines import polygon_of, with_area
from wsi.annotations.points import points_of
from wsi.annotations.region import Region
from wsi.errors import InputError

_POLYGON, _RECTANGLE, _ELLIPSE = "0", "1", "2"
# Of an ellipse, straight lines to a quarter: they leave out 0.1 % of its area.
_QUARTER_LINES = 32


def regions_of(root: Element, path: Path) -> list[Region]:
    """Regions of an <Annotations>, level-0 px: the positive ones, each without the layer's negative ones."""
    found: list[Region] = []
    for number, layer in enumerate(root.iterfind("Annotation"), start=1):
        where = f"{path}, layer {number} (line colour {_colour(layer)})"
        drawn = [
            (region, _area(region, f"{where}, region {place}"))
            for place, region in enumerate(layer.iterfind("Regions/Region"), start=1)
        ]
        holes = shapely.union_all([area for region, area in drawn if _negative(region)])
        for place, (region, area) in enumerate(drawn, start=1):
            if not _negative(region):
                at = f"{where}, region {place}"
                found.append(Region(with_area(area.difference(holes), at), _class(layer, region, at), path.name))
    return found


def _class(layer: Element, region: Element, where: str) -> str:
    """The layer's name; where it has none, its description, else the text of the region."""
    described = [each.get("Value", "") for each in layer.iterfind("Attributes/Attribute[@Name='Description']")]
    for name in (layer.get("Name", ""), *described, region.get("Text", "")):
        if name.strip():
            return name.strip()
    raise InputError(f"{where}: no class; in ImageScope name its layer, or write a text at the region")


def _negative(region: Element) -> bool:
    return region.get("NegativeROA") == "1"


def _area(region: Element, where: str) -> BaseGeometry:
    kind = region.get("Type", _POLYGON)
    points = points_of(region.iterfind("Vertices/Vertex"), where)
    if kind == _POLYGON or (kind == _RECTANGLE and len(points) > 2):
        return polygon_of(points, where)
    if kind not in (_RECTANGLE, _ELLIPSE) or len(points) < 2:
        raise InputError(
            f"{where}: type {kind} with {len(points)} points encloses no area (0: polygon, 1: rectangle, 2: ellipse); "
            "draw it as one of these, or delete it"
        )
    # An ellipse is kept as the corners of the box around it: two, or all four.
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if kind == _RECTANGLE:
        return with_area(box(left, top, right, bottom), where)
    circle = scale(Point(0, 0).buffer(1, _QUARTER_LINES), (right - left) / 2, (bottom - top) / 2)
    return with_area(translate(circle, (left + right) / 2, (top + bottom) / 2), where)


def _colour(layer: Element) -> str:
    """#rrggbb; ImageScope keeps the number that Windows does, with red in its lowest byte."""
    value = layer.get("LineColor", "")
    if not value.isdecimal():
        return "unknown"
    number = int(value)
    return f"#{number & 255:02x}{number >> 8 & 255:02x}{number >> 16 & 255:02x}"
