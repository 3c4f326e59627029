"""What Tesela writes into an OME-Zarr beyond NGFF: facts of the slide that it has no words for, and its pictures."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsi.readers.base import LARGEST_ASSOCIATED_PX

# Attribute of the image's group: {"objective_power": 20.0, "icc_profile": base64, "description": text}, each optional.
# It is there if nothing is known too: by it, what Tesela wrote is recognised.
ATTRIBUTE = "tesela"
# Group of the label and macro, each an image of its own, beside the levels.
PICTURES = "associated"
# What file managers leave in any folder that they show.
_OF_FILE_MANAGERS = {".DS_Store", "Thumbs.db", "desktop.ini"}


def own_attributes(objective_power: float | None, icc_profile: bytes | None, description: str) -> dict[str, Any]:
    """The attribute."""
    known: dict[str, Any] = {}
    if objective_power is not None:
        known["objective_power"] = objective_power
    if icc_profile:
        known["icc_profile"] = base64.b64encode(icc_profile).decode()
    if description:
        known["description"] = description
    return {ATTRIBUTE: known}


def is_own(folder: Path) -> bool:
    """Whether Tesela wrote this image (a slide or a heatmap), and nobody has put anything else into it, such as labels.

    Only then may it be replaced by a newer one.
    """
    try:
        metadata = json.loads((folder / "zarr.json").read_text("utf-8"))
        multiscale = metadata["attributes"]["ome"]["multiscales"][0]
        # Heatmaps had no attribute before 0.2, but this name.
        marked = ATTRIBUTE in metadata["attributes"] or multiscale["name"] == "probabilities"
        expected = {"zarr.json", PICTURES} | {dataset["path"] for dataset in multiscale["datasets"]}
        names = {path.name for path in folder.iterdir()}
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return marked and names <= expected | _OF_FILE_MANAGERS


def own_facts(attributes: dict[str, Any]) -> tuple[float | None, bytes | None]:
    """(objective power, ICC profile) of a group that Tesela wrote; None where it says nothing, or nonsense."""
    known = attributes.get(ATTRIBUTE)
    known = known if isinstance(known, dict) else {}
    power, text = known.get("objective_power"), known.get("icc_profile")
    try:
        profile = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        profile = None
    return (float(power) if isinstance(power, int | float) and 0 < power < float("inf") else None), profile or None


def own_pictures(group: zarr.Group) -> dict[str, NDArray[np.uint8]]:
    """(h, w, 3) RGB by name."""
    found = {}
    for name in ("label", "macro", "thumbnail"):
        array = group.get(f"{PICTURES}/{name}/0")
        if not isinstance(array, zarr.Array) or array.size > 3 * LARGEST_ASSOCIATED_PX:
            continue
        if array.dtype == np.uint8 and array.ndim == 3 and array.shape[0] == 3:
            found[name] = np.ascontiguousarray(np.moveaxis(np.asarray(array[:]), 0, 2))
    return found
