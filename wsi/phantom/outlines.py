"""Polygons of a label map."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry
from skimage.measure import find_contours

from wsi.phantom.noise import Image, Mask

# scikit-image leaves this function without types.
_contours: Callable[[Image, float], list[NDArray[np.float64]]] = find_contours


def polygon_of(mask: Mask, scale_px: int, width: int, height: int) -> BaseGeometry:
    """Outline `mask` as polygons with holes, `scale_px` px per map pixel, clipped to width × height px."""
    padded = np.pad(mask, 1).astype(np.float32)
    rings = [
        # Contours run through pixel centres; a pixel's centre lies half a pixel from its corner.
        shapely.linestrings((ring[:, ::-1] - 0.5) * scale_px)
        for ring in _contours(padded, 0.5)
    ]
    area = shapely.build_area(shapely.multilinestrings(rings))
    return shapely.intersection(shapely.make_valid(area), shapely.box(0, 0, width, height))
