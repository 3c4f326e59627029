"""A named area of a slide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class Region:
    """A named area of a slide: polygon or multipolygon in level-0 px, where it came from, and numbers about it."""

    polygon: BaseGeometry
    name: str
    source: str
    measurements: Mapping[str, float] = field(default_factory=dict, hash=False)  # a dict has no hash
