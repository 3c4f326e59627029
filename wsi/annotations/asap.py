"""ASAP's XML: annotations, each of a type and of a group; the group is the class.

ASAP knows no holes. What is left out of an area it draws as another group, and that group's place in the order of
painting decides (its `AnnotationToMask`): here it is a class like any other, and `wsi.labels` lets the inner area win.
It says nothing of the slide's mpp.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from wsi.annotations.drawing import Drawing
from wsi.annotations.frame import Frame
from wsi.annotations.outlines import polygon_of
from wsi.annotations.points import points_of
from wsi.annotations.region import Region
from wsi.errors import InputError
from wsi.names import class_name

# Of a spline, too, ASAP's own masks take the points that were clicked, with straight lines between them.
_AREAS = ("Polygon", "Spline", "Rectangle")
_NO_GROUP = ("", "None")


def drawing_of(root: Element, path: Path, frame: Frame) -> Drawing:
    """Regions of an <ASAP_Annotations>, level-0 px."""
    del frame  # there is nothing to hold against it
    annotations = enumerate(root.iterfind("Annotations/Annotation"), start=1)
    return Drawing(
        tuple(
            _region(annotation, f"{path}, annotation {number} ({annotation.get('Name', 'no name')})", path)
            for number, annotation in annotations
        )
    )


def _region(annotation: Element, where: str, path: Path) -> Region:
    group, kind = class_name(annotation.get("PartOfGroup", "")), annotation.get("Type", "")
    if kind not in _AREAS:
        raise InputError(f"{where}: a {kind or 'nothing'} encloses no area; draw it as a polygon, or delete it")
    if group in _NO_GROUP:
        raise InputError(f"{where}: in no group; give it one in ASAP (the group is the class), or delete it")
    try:
        coordinates = sorted(annotation.iterfind("Coordinates/Coordinate"), key=lambda each: int(each.get("Order", 0)))
    except ValueError as error:
        raise InputError(f"{where}: Order of a point is no number ({error})") from error
    return Region(polygon_of(points_of(coordinates, where), where), group, path.name)
