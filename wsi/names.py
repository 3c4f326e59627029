"""Names of classes, as people type them: which are one, which are ignored, and which are probably a slip."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# Characters that nobody sees, and that copying from a web page or a table leaves in a name.
_UNSEEN = dict.fromkeys(map(ord, "\u200b\u2060\ufeff"))


def class_name(typed: str) -> str:
    """The name without what nobody sees: spaces around it, doubled ones, letters that are written in two ways (NFC)."""
    return " ".join(unicodedata.normalize("NFC", typed.translate(_UNSEEN)).split())


def is_ignored(name: str) -> bool:
    """Whether QuPath ignores a class of this name, as `Ignore*` and `Region*`: it ends in a star."""
    return name.endswith("*")


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Names that differ in nothing but capitals, together: probably one class; sorted."""
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(name.casefold(), set()).add(name)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def alike_notes(names: Iterable[str]) -> list[str]:
    """For people: one line for each group of `alike`."""
    return [
        f"{' and '.join(map(repr, group))} differ in capitals alone and are taken for different classes: if they are "
        "one, give it one name"
        for group in alike(names)
    ]
