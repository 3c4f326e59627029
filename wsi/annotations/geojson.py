"""GeoJSON as QuPath writes it: 0.3 (a bare list, measurements as a list) and 0.4 or later (a FeatureCollection)."""

from __future__ import annotations

import gc
import json
import math
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, mapping
from shapely.geometry.base import BaseGeometry

from wsi.annotations.content import read_text
from wsi.annotations.drawing import Drawing
from wsi.annotations.frame import NO_BOUNDS, Frame, about_of
from wsi.annotations.outlines import with_area
from wsi.annotations.region import Region
from wsi.atomic import writing
from wsi.errors import InputError, WsiError
from wsi.names import class_name

# Of a level-0 px, in files: 0.01 px is 2 to 5 nm. With all digits files are twice as large, and are read more slowly.
_DECIMALS = 2
_NO_COLOUR = (128, 128, 128)
_NO_AREAS = ("Point", "MultiPoint", "LineString", "MultiLineString", "GeometryCollection")


def read_geojson(path: Path, frame: Frame = NO_BOUNDS) -> list[Region]:
    """Regions of a QuPath GeoJSON file (`.geojson` or `.geojson.gz`), in level-0 px; `frame` says of which slide.

    Features without a classification are refused (a region without a class labels nothing), and so is what encloses
    no area: points, lines, collections. Measurements that are no finite number are left out.
    """
    return list(drawing_of(read_text(path, "GeoJSON"), path, frame).regions)


def drawing_of(text: str, path: Path, frame: Frame = NO_BOUNDS) -> Drawing:
    """As `read_geojson`, of a file's content; `path` is for messages, and for `Region.source`."""
    # Millions of small lists, none of which is garbage: looking through them for some takes most of the time.
    collected = gc.isenabled()
    gc.disable()
    try:
        return _drawing(json.loads(text), path, frame)
    except WsiError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable GeoJSON file ({error})") from error
    finally:
        if collected:
            gc.enable()


def _drawing(found: Any, path: Path, frame: Frame) -> Drawing:
    frame.require_slide(found, path)
    features = found.get("features", [found]) if isinstance(found, dict) else found
    if not isinstance(features, list):
        raise InputError(f"{path}: no list of GeoJSON features in it")
    frame.check_mpp(_mpp_said(about_of(found).get("slide_mpp")), "tesela.slide_mpp", path)
    notes: list[str] = []
    regions = [_region(path, number, feature, notes) for number, feature in enumerate(features, start=1)]
    moved = _moved(regions, frame.offset_px(found, path)) if regions else []
    return Drawing(moved, notes=tuple(notes))


def _mpp_said(found: Any) -> tuple[float, float] | None:
    if isinstance(found, list) and len(found) == 2 and all(type(value) in (int, float) for value in found):
        return float(found[0]), float(found[1])
    return None


def _moved(regions: Iterable[Region], by_px: tuple[int, int]) -> list[Region]:
    if by_px == (0, 0):
        return list(regions)
    return [replace(region, polygon=shapely.transform(region.polygon, lambda xy: xy + by_px)) for region in regions]


def _region(path: Path, number: int, feature: Any, notes: list[str]) -> Region:
    """The region of a feature; what is left out of it is added to `notes`."""
    where = f"{path}, feature {number}"
    found = feature.get("properties") if isinstance(feature, dict) else None
    properties: dict[str, Any] = found if isinstance(found, dict) else {}
    name = _class_name(properties.get("classification"))
    if not name:
        raise InputError(f"{where}: no classification name; give the region a class in QuPath, or delete it")
    try:
        drawn = _shape(feature["geometry"])
    except (KeyError, TypeError, ValueError, IndexError, shapely.errors.ShapelyError) as error:
        raise InputError(f"{where}: no polygon in it ({error})") from error
    if drawn is None:
        kind = feature["geometry"].get("type")
        raise InputError(f"{where}: the {kind} encloses no area of its own; draw it as polygons, or delete it")
    polygon = with_area(drawn, where)
    if isinstance(drawn, MultiPolygon) and (empty := sum(part.area == 0 for part in drawn.geoms)):
        notes.append(f"{where}: {empty} of its {len(drawn.geoms)} parts enclose no area: left out")
    return Region(polygon, name, path.name, _measurements(properties.get("measurements")))


def _class_name(classification: Any) -> str:
    """The class; of a derived one, which later versions of QuPath list as `names`, as QuPath shows it: "A: B".

    Empty where there is none.
    """
    if not isinstance(classification, dict):
        return ""
    names = classification.get("names")
    parts = names if isinstance(names, list) else [classification.get("name")]
    return ": ".join(filter(None, (class_name(part) for part in parts if isinstance(part, str))))


def _measurements(found: Any) -> dict[str, float]:
    """Numbers by name, of an object or of a list of {"name", "value"}."""
    if isinstance(found, list):
        found = {entry.get("name"): entry.get("value") for entry in found if isinstance(entry, dict)}
    if not isinstance(found, dict):
        return {}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(name, str)
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


def _shape(geometry: Mapping[str, Any]) -> BaseGeometry | None:
    """The polygon or multipolygon, through arrays: in a quarter of shapely's time. None for kinds without area."""
    if geometry["type"] == "Polygon":
        return _polygon(geometry["coordinates"])
    if geometry["type"] == "MultiPolygon":
        return MultiPolygon([_polygon(rings) for rings in geometry["coordinates"]])
    if geometry["type"] in _NO_AREAS:
        return None
    raise ValueError(f"type {geometry['type']!r}")


def _polygon(rings: Any) -> Polygon:
    arrays = [np.asarray(ring, np.float64)[:, :2] for ring in rings]
    with np.errstate(invalid="ignore"):  # a coordinate that is no number is told of with its place
        return Polygon(arrays[0], arrays[1:]) if arrays else Polygon()


def write_geojson(
    path: Path,
    regions: Iterable[Region],
    colours: dict[str, tuple[int, int, int]] | None = None,
    about: Mapping[str, Any] | None = None,
    offset_px: tuple[int, int] = (0, 0),
    *,
    identity: str = "",
) -> None:
    """Write regions, in level-0 px, as a QuPath FeatureCollection of locked annotations.

    Outer rings run counter-clockwise and holes clockwise, as RFC 7946 asks, of x and y as numbers: on a screen, where y
    grows downwards, they seem to run the other way round.

    offset_px: level-0 (x, y) from which the file counts, the slide's `bounds_offset`: there QuPath begins to show it.
    about: what the file says of itself beside that, which QuPath passes over.
    identity: of the slide, so that features of two slides have different ids; default: the member `slide` of `about`,
    its fingerprint.
    """
    moved = _moved(regions, (-offset_px[0], -offset_px[1]))
    said = {**(about or {}), "offset_px": list(offset_px)}
    features = _features(moved, colours or {}, identity or str(said.get("slide", "")))
    with writing(path) as temporary:
        temporary.write_text(json.dumps({"type": "FeatureCollection", "tesela": said, "features": features}))


def _features(
    regions: Sequence[Region], colours: Mapping[str, tuple[int, int, int]], identity: str
) -> list[dict[str, Any]]:
    polygons = np.array([region.polygon for region in regions], object)
    polygons = shapely.orient_polygons(shapely.transform(polygons, lambda xy: np.round(xy, _DECIMALS)))
    written: Counter[uuid.UUID] = Counter()
    features = []
    for region, polygon, outline in zip(regions, polygons, shapely.to_wkb(polygons, hex=True), strict=True):
        # uuid5 of the content: the same region gets the same id in every run, so that outputs compare equal.
        own = uuid.uuid5(uuid.NAMESPACE_OID, f"{identity} {region.name} {outline}")
        written[own] += 1
        features.append(
            {
                "type": "Feature",
                "id": str(own if written[own] == 1 else uuid.uuid5(own, f"{written[own]}")),
                "geometry": mapping(polygon),
                "properties": {
                    "objectType": "annotation",
                    "classification": {
                        "name": region.name,
                        "color": list(colours.get(region.name, _NO_COLOUR)),
                    },
                    "isLocked": True,
                    **({"measurements": dict(region.measurements)} if region.measurements else {}),
                },
            }
        )
    return features
