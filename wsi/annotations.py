"""Regions drawn by a person (or by a phantom that knows the truth), and their GeoJSON files."""

from __future__ import annotations

import gzip
import json
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, mapping, shape
from shapely.geometry.base import BaseGeometry

from wsi.atomic import writing
from wsi.errors import InputError

# Of a level-0 px, in files: 0.01 px is 2 to 5 nm. With all digits files are twice as large, and are read more slowly.
_DECIMALS = 2


@dataclass(frozen=True)
class Region:
    """A named area of a slide: polygon or multipolygon in level-0 px, where it came from, and numbers about it."""

    polygon: BaseGeometry
    name: str
    source: str
    measurements: Mapping[str, float] = field(default_factory=dict, hash=False)  # a dict has no hash


def read_geojson(path: Path) -> list[Region]:
    """Regions of a QuPath GeoJSON file (`.geojson` or `.geojson.gz`); coordinates are level-0 px.

    Features without a classification are refused: a region without a class labels nothing.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found: Any = json.loads(raw)
    except (OSError, ValueError, EOFError, zlib.error) as error:  # the last two: a cut or damaged .gz
        raise InputError(f"{path}: not a readable GeoJSON file ({error})") from error
    features = found.get("features", [found]) if isinstance(found, dict) else found
    if not isinstance(features, list):
        raise InputError(f"{path}: no list of GeoJSON features in it")
    return [_region(path, number, feature) for number, feature in enumerate(features, start=1)]


def _region(path: Path, number: int, feature: Any) -> Region:
    try:
        name = feature["properties"]["classification"]["name"]
    except (KeyError, TypeError):
        name = None
    if not isinstance(name, str) or not name.strip():
        raise InputError(
            f"{path}, feature {number}: no classification name; give the region a class in QuPath, or delete it"
        )
    try:
        polygon = shapely.make_valid(_shape(feature["geometry"]))
    except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        raise InputError(f"{path}, feature {number}: no polygon in it ({error})") from error
    if polygon.area == 0:
        raise InputError(f"{path}, feature {number}: the {polygon.geom_type} encloses no area")
    return Region(polygon, name, path.name)


def _shape(geometry: Mapping[str, Any]) -> BaseGeometry:
    """As shapely's `shape`; polygons through arrays, which takes a quarter of the time where outlines are long."""
    if geometry["type"] == "Polygon":
        return _polygon(geometry["coordinates"])
    if geometry["type"] == "MultiPolygon":
        return MultiPolygon([_polygon(rings) for rings in geometry["coordinates"]])
    return shape(geometry)


def _polygon(rings: Any) -> Polygon:
    arrays = [np.asarray(ring, np.float64) for ring in rings]
    return Polygon(arrays[0], arrays[1:]) if arrays else Polygon()


def write_geojson(
    path: Path, regions: Iterable[Region], colours: dict[str, tuple[int, int, int]] | None = None
) -> None:
    """Write regions as a QuPath FeatureCollection of locked annotations, in level-0 px."""
    features = [_feature(region, (colours or {}).get(region.name, (128, 128, 128))) for region in regions]
    with writing(path) as temporary:
        temporary.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _feature(region: Region, colour: Sequence[int]) -> dict[str, Any]:
    # uuid5 of the content: the same region gets the same id in every run, so that outputs compare equal.
    polygon = shapely.transform(region.polygon, lambda xy: np.round(xy, _DECIMALS))
    identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{region.name} {polygon.wkt}")
    return {
        "type": "Feature",
        "id": str(identity),
        "geometry": mapping(polygon),
        "properties": {
            "objectType": "annotation",
            "classification": {"name": region.name, "color": list(colour)},
            "isLocked": True,
            **({"measurements": dict(region.measurements)} if region.measurements else {}),
        },
    }
