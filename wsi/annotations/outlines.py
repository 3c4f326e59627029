"""Areas from points that a person clicked: valid ones, or an error that names the outline."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from wsi.errors import InputError


def polygon_of(points: NDArray[np.float64], where: str) -> BaseGeometry:
    """What an outline (N, 2: x, y) encloses; it closes itself, and may cross itself. `where` is for the error.

    What it goes round twice is inside, as where a person draws on past the point where the outline began.
    """
    if len(points) < 3:
        raise InputError(f"{where}: {len(points)} points enclose no area; draw it again, or delete it")
    with np.errstate(invalid="ignore"):  # a coordinate that is no number is told of with its place
        drawn = Polygon(points)
    return with_area(drawn, where)


def with_area(drawn: BaseGeometry, where: str) -> BaseGeometry:
    """The drawn area, made valid; raises InputError where there is none, or where a coordinate is no number."""
    polygon = drawn
    if not drawn.is_valid:  # as it is where a coordinate is no number; asking for all takes as long as all the rest
        if not np.isfinite(shapely.get_coordinates(drawn)).all():
            raise InputError(f"{where}: a coordinate is no finite number; draw it again, or delete it")
        # "structure": polygons alone, without the lines of a stroke out and back, and what is drawn over is no hole.
        polygon = shapely.make_valid(drawn, method="structure", keep_collapsed=False)
    if polygon.area == 0:
        raise InputError(f"{where}: the {drawn.geom_type} encloses no area; draw it again, or delete it")
    return polygon
