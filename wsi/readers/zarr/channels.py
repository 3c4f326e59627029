"""Which channels of an OME-Zarr are red, green and blue: by their colours, else by their names, in NGFF's "omero"."""

from __future__ import annotations

import re
from typing import Any

from wsi.errors import SlideError

_COLOURS = ("FF0000", "00FF00", "0000FF")
_NAMES = ("red", "green", "blue")
# Six digits, and perhaps two of opacity.
_HEX = re.compile("#?([0-9A-Fa-f]{6})([0-9A-Fa-f]{2})?")


def rgb_order(omero: Any, count: int, where: str) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """(indices of red, green, blue and perhaps alpha among `count` channels, or None where they lie so; notes).

    Where the file names neither colours nor channels they are taken as RGB: few programs write "omero". So are channels
    that are shown in grey, and that is said. Raises SlideError where they are other colours, such as stains that glow.
    """
    listed = omero.get("channels") if isinstance(omero, dict) else None
    channels = [each if isinstance(each, dict) else {} for each in listed] if isinstance(listed, list) else []
    if count < 3 or len(channels) != count:
        return None, ()
    colours = [_colour(channel.get("color")) for channel in channels]
    names = [str(channel.get("label") or "").strip().lower() for channel in channels]
    # Of four, the last is alpha: it has no colour of its own.
    alpha = count == 3 or _is_grey(colours[3]) or names[3] in ("a", "alpha")
    order = _order(colours[:3], _COLOURS) or _order(names[:3], _NAMES) or _order(names[:3], tuple("rgb"))
    if order is None and all(_is_grey(colour) for colour in colours):
        stated = any(colours)
        return None, (f"its {count} channels are in no colours but {_listed(colours)}: taken as RGB",) if stated else ()
    if order is None or not alpha:
        raise SlideError(
            f"{where}: its {count} channels are shown in {_listed(colours)} and not in red, green and blue "
            f"({', '.join(_COLOURS)}): no colour picture; write one as RGB, or mend the colours of its 'omero'"
        )
    if order == (0, 1, 2):
        return None, ()
    return (*order, *range(3, count)), (f"its channels come as {', '.join(_said(order))}: put in the order of RGB",)


def _order(found: list[str], wanted: tuple[str, ...]) -> tuple[int, ...] | None:
    return tuple(found.index(each) for each in wanted) if sorted(found) == sorted(wanted) else None


def _said(order: tuple[int, ...]) -> list[str]:
    """Names of the channels, as they lie in the file."""
    return [_NAMES[order.index(channel)] for channel in range(3)]


def _colour(stated: Any) -> str:
    """Six hexadecimal digits; "" where there are none."""
    match = _HEX.fullmatch(stated) if isinstance(stated, str) else None
    return match[1].upper() if match else ""


def _is_grey(colour: str) -> bool:
    """White, grey, black or not stated."""
    return colour[:2] == colour[2:4] == colour[4:]


def _listed(colours: list[str]) -> str:
    return ", ".join(colour or "no colour" for colour in colours)
