"""Which way to normalise; its target found on training tiles, or read from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Literal

from models.stain.density import Pixels
from models.stain.macenko import Macenko
from models.stain.reinhard import Reinhard
from wsi.errors import InputError

Method = Literal["none", "reinhard", "macenko"]
Normaliser = Reinhard | Macenko

_METHODS: dict[str, type[Reinhard] | type[Macenko]] = {"reinhard": Reinhard, "macenko": Macenko}
FIT_TILES = 500  # the median of more moves by less than a grey level
_LEAST_MEASURED = 0.1


def fit_normaliser(method: Method, tiles: Iterable[Pixels]) -> Normaliser | None:
    """The normaliser whose target is the median of `tiles`; None for the method "none", which looks at no tile.

    tiles: (h, w, 3) uint8 RGB. Raises InputError where fewer than a tenth of them are stained by H&E.
    """
    if method == "none":
        return None
    kind = _METHODS[method]
    found = [kind.measure(tile) for tile in tiles]
    measured = [one for one in found if one is not None]
    if not measured or len(measured) < _LEAST_MEASURED * len(found):
        raise InputError(
            f"train.stain is {method}, but only {len(measured)} of {len(found)} training tiles show hematoxylin and "
            "eosin; set train.stain to none"
        )
    return kind.of(measured)


def normaliser_from_json(raw: Mapping[str, Any] | None) -> Normaliser | None:
    """What model.json says under `stain`; None where it says nothing, as older models do. Raises InputError."""
    if raw is None:
        return None
    kind = _METHODS.get(raw["method"])
    if kind is None:
        raise InputError(f"stain.method is {raw['method']!r}, not one of {', '.join(_METHODS)}")
    numbers = {
        field.name: tuple(float(number) for number in raw[field.name])
        for field in fields(kind)
        if field.name != "method"
    }
    return kind(**numbers)  # type: ignore[arg-type]  # checked by the class itself
