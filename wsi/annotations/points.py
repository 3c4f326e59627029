"""Points of an outline from the attributes X and Y of XML elements."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InputError


def points_of(elements: Iterable[Element], where: str) -> NDArray[np.float64]:
    """(N, 2) x, y in level-0 px, in the order of the elements; raises InputError where one is no number."""
    pairs = [(element.get("X", ""), element.get("Y", "")) for element in elements]
    try:
        return np.array([(float(x), float(y)) for x, y in pairs], np.float64).reshape(-1, 2)
    except ValueError as error:
        raise InputError(f"{where}: a point without numbers in X and Y ({error})") from error
