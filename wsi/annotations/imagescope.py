"""Aperio ImageScope's XML: layers (<Annotation>) of regions; a negative region is cut out of those of its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import shapely
from shapely.affinity import scale, translate
from shapely.geometry import Point, box
from shapely.geometry.base import BaseGeometry

from wsi.annotations.drawing import Drawing
from wsi.annotations.frame import Frame
from wsi.annotations.nesting import cut_out, lie_within
from wsi.annotations.outlines import polygon_of, with_area
from wsi.annotations.points import points_of
from wsi.annotations.region import Region
from wsi.errors import InputError
from wsi.names import class_name

_POLYGON, _RECTANGLE, _ELLIPSE = "0", "1", "2"
# Of an ellipse, straight lines to a quarter: they leave out 0.1 % of its area.
_QUARTER_LINES = 32


@dataclass(frozen=True)
class _Roa:
    """One drawn region (region of analysis). name: its class; "" where nothing says it. where: for errors."""

    layer: int
    name: str
    area: BaseGeometry
    negative: bool
    where: str


def drawing_of(root: Element, path: Path, frame: Frame) -> Drawing:
    """Regions of an <Annotations>, level-0 px: the positive ones, each without what negative ones take out of it.

    A negative region takes out of its own layer, and of other layers of the same class. A positive one that lies
    within it is an island, and stays.
    """
    frame.check_mpp(_mpp_of(root), "MicronsPerPixel", path)
    drawn = [
        _roa(number, layer, region, f"{path}, layer {number} (line colour {_colour(layer)}), region {place}")
        for number, layer in enumerate(root.iterfind("Annotation"), start=1)
        for place, region in enumerate(layer.iterfind("Regions/Region"), start=1)
    ]
    positive, negative = [one for one in drawn if not one.negative], [one for one in drawn if one.negative]
    layers, names = {one.layer for one in positive}, {one.name for one in positive}
    for one in negative:
        if one.layer not in layers and one.name not in names:
            raise InputError(
                f"{one.where}: nothing is drawn but exclusions (negative regions) in its layer, and in layers of the "
                "same name; draw what it is excluded from, or delete it"
            )
    areas, idle = _without(positive, negative)
    notes = tuple(f"{one.where}: excludes nothing, since no region of its class lies there" for one in idle)
    regions = [Region(area, one.name, path.name) for one, area in zip(positive, areas, strict=True)]
    return Drawing(regions, len(negative), notes)


def _without(positive: Sequence[_Roa], negative: Sequence[_Roa]) -> tuple[list[BaseGeometry], list[_Roa]]:
    """The areas that are left of the positive ones, and those negative ones that meet none of their class."""
    areas, holes = (np.array([one.area for one in kind], object) for kind in (positive, negative))
    hole, of = shapely.STRtree(areas).query(holes, predicate="intersects")
    same = np.array([_one_class(negative[k], positive[i]) for k, i in zip(hole, of, strict=True)], bool)
    hole, of = hole[same], of[same]
    island = lie_within(areas[of], holes[hole])
    left = cut_out(areas, of[~island], holes[hole[~island]])
    for one, area in zip(positive, left, strict=True):
        if area is None:
            raise InputError(f"{one.where}: exclusions (negative regions) leave nothing of it; delete it, or them")
    return list(left), [negative[k] for k in sorted(set(range(len(negative))) - set(hole.tolist()))]


def _one_class(one: _Roa, other: _Roa) -> bool:
    return one.layer == other.layer or one.name == other.name


def _roa(number: int, layer: Element, region: Element, where: str) -> _Roa:
    negative, name = region.get("NegativeROA", "").lower() in ("1", "true"), _class(layer, region)
    if not name and not negative:
        raise InputError(f"{where}: no class; in ImageScope name its layer, or write a text at the region")
    return _Roa(number, name, _area(region, where), negative, where)


def _class(layer: Element, region: Element) -> str:
    """The layer's name; where it has none, its description, else the text of the region; "" where there is none."""
    described = [each.get("Value", "") for each in layer.iterfind("Attributes/Attribute[@Name='Description']")]
    names = map(class_name, (layer.get("Name", ""), *described, region.get("Text", "")))
    return next(filter(None, names), "")


def _mpp_of(root: Element) -> tuple[float, float] | None:
    """µm per px of the slide that was drawn on; 0 where ImageScope did not know it."""
    try:
        mpp = float(root.get("MicronsPerPixel", ""))
    except ValueError:
        return None
    return mpp, mpp


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
