"""OME-Zarr's metadata (NGFF 0.4 and 0.5) as it matters for a slide: axes, levels, mpp. No pixels, no store."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from wsi.errors import SlideError
from wsi.readers.base import MAX_LEVELS, MPP_UNKNOWN, believed_mpp

_VERSIONS = ("0.4", "0.5")

# Units of length that NGFF allows, in µm; the rest of its list (parsec...) measures no slide.
_UM_PER_UNIT = {
    "angstrom": 1e-4,
    "picometer": 1e-6,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "decimeter": 1e5,
    "meter": 1e6,
    "inch": 25_400.0,
    "foot": 304_800.0,
    "yard": 914_400.0,
    # Not in NGFF's list, but written.
    "nm": 1e-3,
    "um": 1.0,
    "µm": 1.0,
    "micron": 1.0,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}


@dataclass(frozen=True)
class Multiscale:
    """One image of an OME-Zarr: what its arrays' axes mean, and where the levels lie.

    axes: "x", "y", "c" (the channels, whatever they are called) or another name, in the arrays' order.
    paths: levels as listed. mpp: (x, y) µm per px of each listed level; None where the file does not say it.
    brightest: largest value that a channel can have by its display window; None where not stated.
    omero: what the file says of its channels, as it is.
    """

    axes: tuple[str, ...]
    paths: tuple[str, ...]
    mpp: tuple[tuple[float, float] | None, ...]
    brightest: float | None
    omero: Any
    name: str


def is_collection(attributes: dict[str, Any]) -> bool:
    """The group holds images in the layout of bioformats2raw, and is none itself."""
    ome = _ome(attributes)
    layout = ome.get("bioformats2raw.layout", attributes.get("bioformats2raw.layout"))
    return "multiscales" not in ome and layout is not None


def listed_series(attributes: dict[str, Any]) -> list[str]:
    """Paths of the images of a collection, as the attributes of its group "OME" list them; empty where they do not."""
    listed = _ome(attributes).get("series")
    return [str(path) for path in listed] if isinstance(listed, list) else []


def image_count(attributes: dict[str, Any]) -> int:
    """How many images a group's attributes describe; 1 also where that is for `multiscale_of` to refuse."""
    listed = _ome(attributes).get("multiscales")
    return max(1, len(listed)) if isinstance(listed, list) else 1


def multiscale_of(attributes: dict[str, Any], where: str, number: int = 0) -> Multiscale:
    """An image that a group's attributes describe. Raises SlideError where there is none, or none for us."""
    ome = _ome(attributes)
    if "plate" in ome or "well" in ome:
        raise SlideError(f"{where}: a plate of many images; give one of them, such as {where}/A/1/0")
    listed = ome.get("multiscales")
    if not isinstance(listed, list) or not listed or not isinstance(listed[number], dict):
        raise SlideError(f"{where}: a Zarr group without OME 'multiscales' in it; give the group of one image")
    found = listed[number]
    version = str(ome.get("version", found.get("version", _VERSIONS[0])))
    if not version.startswith(_VERSIONS):
        raise SlideError(
            f"{where}: OME-Zarr {version}; {' and '.join(_VERSIONS)} are read, convert it with a newer tool"
        )
    axes = _axes(found, where)
    datasets = found.get("datasets")
    if not isinstance(datasets, list) or not 0 < len(datasets) <= MAX_LEVELS:
        count = len(datasets) if isinstance(datasets, list) else 0
        raise SlideError(f"{where}: lists {count} levels, 1 to {MAX_LEVELS} are read; its metadata are damaged")
    um = _um_per_unit(found["axes"])
    mpp = tuple(_mpp(axes, um, dataset, found) for dataset in datasets)
    omero = ome.get("omero", attributes.get("omero"))
    return Multiscale(
        axes=axes,
        paths=tuple(str(dataset["path"]) for dataset in datasets),
        mpp=mpp,
        brightest=_brightest(omero),
        omero=omero,
        name=str(found.get("name") or ""),
    )


def credible_mpp(mpp: tuple[float, float] | None) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """(mpp or None, why it is unknown)."""
    if mpp is None:
        return None, ("no scale with a unit of length on x and y: mpp unknown",)
    return believed_mpp(mpp, _no_scale)


def _no_scale(mpp: tuple[float, float]) -> str:
    return f"a scale of {mpp[0]:g} × {mpp[1]:g} µm per px is not credible; mpp {MPP_UNKNOWN}"


def _ome(attributes: dict[str, Any]) -> dict[str, Any]:
    """0.5 keeps everything under "ome", 0.4 on top."""
    ome = attributes.get("ome", attributes)
    return ome if isinstance(ome, dict) else {}


def _axes(multiscale: dict[str, Any], where: str) -> tuple[str, ...]:
    listed = multiscale.get("axes")
    if not isinstance(listed, list) or not all(isinstance(axis, dict) and "name" in axis for axis in listed):
        raise SlideError(
            f"{where}: its axes are not described as OME-Zarr 0.4 and 0.5 do; convert it with a newer tool"
        )
    axes = tuple("c" if axis.get("type") == "channel" else str(axis["name"]) for axis in listed)
    if len(set(axes)) < len(axes) or not {"x", "y"} <= set(axes):
        raise SlideError(f"{where}: axes {', '.join(axes)} are no picture; x and y are needed, each once")
    return axes


def _um_per_unit(axes: list[dict[str, Any]]) -> dict[str, float | None]:
    return {str(axis["name"]): _UM_PER_UNIT.get(str(axis.get("unit") or "").lower()) for axis in axes}


def _mpp(
    axes: tuple[str, ...], um: dict[str, float | None], dataset: dict[str, Any], multiscale: dict[str, Any]
) -> tuple[float, float] | None:
    own = _scale(dataset.get("coordinateTransformations"), len(axes))
    common = _scale(multiscale.get("coordinateTransformations"), len(axes), default=1.0)
    if own is None or common is None:
        return None
    sides = []
    for axis in "xy":
        unit, at = um.get(axis), axes.index(axis)
        side = own[at] * common[at] * unit if unit else 0.0
        if not 0 < side < math.inf:
            return None
        sides.append(side)
    return sides[0], sides[1]


def _scale(transformations: Any, count: int, default: float | None = None) -> list[float] | None:
    """Product of the listed scales, one number an axis; None where none is listed or one cannot be understood."""
    product = [default] * count if default is not None else None
    for step in transformations if isinstance(transformations, list) else []:
        kind = step.get("type") if isinstance(step, dict) else None
        if kind in ("identity", "translation"):
            continue
        scale = step.get("scale") if kind == "scale" else None
        if not isinstance(scale, list) or len(scale) != count or not all(isinstance(n, int | float) for n in scale):
            return None
        product = [float(n) * (product[i] or 1.0) if product else float(n) for i, n in enumerate(scale)]
    return [n for n in product if n is not None] if product else None


def _brightest(omero: Any) -> float | None:
    channels = omero.get("channels") if isinstance(omero, dict) else None
    tops = []
    for channel in channels if isinstance(channels, list) else []:
        window = channel.get("window") if isinstance(channel, dict) else None
        top = window.get("max") if isinstance(window, dict) else None
        if isinstance(top, int | float) and 0 < top < math.inf:
            tops.append(float(top))
    # One for all channels: scaled apart, they would no longer add up to the slide's colours.
    return max(tops, default=None)
