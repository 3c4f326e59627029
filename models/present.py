"""Over how many classes a mean is: of a class without tiles nothing is known, and it is in no mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def present_of(found: Mapping[str, Any]) -> str:
    """Where some of the classes have no tiles: " (2 of 3 classes)", to stand behind a figure; else nothing.

    found: what has `per_class`, with `support` each, such as the figures in metrics.json.
    """
    supports = [entry["support"] for entry in found["per_class"].values()]
    present = sum(support > 0 for support in supports)
    return "" if present == len(supports) else f" ({present} of {len(supports)} classes)"
