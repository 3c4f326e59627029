"""Things that have something in common."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """The items by their key, in the order in which keys appear."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def repeated(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """The groups of two or more."""
    return [group for group in grouped(items, key) if len(group) > 1]
