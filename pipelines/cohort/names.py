"""Names of files that the workflow cannot use, and how they are shown all the same."""

from __future__ import annotations

import unicodedata

# Controls (a line break), halves of characters (a name in another encoding), separators of lines and paragraphs.
_UNPRINTED = ("Cc", "Cs", "Zl", "Zp")


def shown(text: str) -> str:
    r"""The text with escapes for what no file and no terminal can hold: "a\n.tif" has a backslash and an n."""
    return "".join(
        character.encode("unicode_escape").decode("ascii") if _unprinted(character) else character for character in text
    )


def name_fault(text: str) -> str:
    """Why a path cannot be used; '' where it can."""
    if any(map(_unprinted, text)):
        return f"{shown(text)}: its name has a line break, a control character or another encoding; rename it"
    if "{" in text or "}" in text:
        # Snakemake takes what stands in braces for a wildcard.
        return f"{text}: a path with {{ or }} cannot be used; rename it"
    return ""


def _unprinted(character: str) -> bool:
    return unicodedata.category(character) in _UNPRINTED
