"""A slide's own text, without what may name a patient."""

from __future__ import annotations

import html
import re

# Settings of the scanner, all of them numbers; everything else in the text may have been typed in by a person. mpp and
# magnification have places of their own, and may have been corrected there.
_SAFE_KEYS = (
    "StripeWidth",
    "Exposure Time",
    "Exposure Scale",
    "DisplayColor",
    "Gamma",
    "Left",
    "Top",
    "Focus Offset",
)
_NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")
_OME_DESCRIPTION = re.compile(r"<Description>(.*?)</Description>", re.DOTALL)


def own_text(description: str) -> str:
    """The text for people in a file's description: of OME-XML its first Description, of anything else all of it."""
    if not description.rstrip().endswith("OME>"):
        return description
    found = _OME_DESCRIPTION.search(description)
    return html.unescape(found[1]) if found else ""


def safe_text(description: str) -> str:
    """The scanner's settings as Aperio writes them ("StripeWidth = 2040|Left = 25.7"); of any other text nothing.

    File name, user, title, date, time and whatever else is free text are left out.
    """
    fields = (field.split("=", 1) for field in own_text(description).split("|") if "=" in field)
    settings = {key.strip(): value.strip() for key, value in fields}
    kept = [key for key in _SAFE_KEYS if _NUMBER.fullmatch(settings.get(key, ""))]
    return "|".join(f"{key} = {settings[key]}" for key in kept)
