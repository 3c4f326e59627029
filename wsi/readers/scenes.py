"""Files with several images ("scenes"): which is read, and what is said about the others."""

from __future__ import annotations

from collections.abc import Sequence

from wsi.errors import SlideError
from wsi.source import File

# Of the others, so many are listed.
_LISTED = 6


def check_scene(file: File, scene: int, count: int) -> None:
    """Raise SlideError where a file of `count` images has no such scene; numbers count from 0."""
    if scene >= count:
        has = f"it has {count}, #0 to #{count - 1}" if count > 1 else "it has one"
        raise SlideError(f"{file}#{scene}: no such scene, {has}; leave #{scene} out to read the largest")


def scene_notes(file: File, scene: int, sizes: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """For people: which of several images is read. sizes: (width, height) px of all, in the order of their numbers.

    By size and not by name: writers put patients' names into those.
    """
    if len(sizes) < 2:
        return ()
    others = [number for number in range(len(sizes)) if number != scene]
    listed = [f"{file.name}{f'#{number}' if number else ''} ({_px(sizes[number])})" for number in others[:_LISTED]]
    more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
    which = f"#{scene}" if scene else "the largest" if sizes[0] != sizes[1] else "the first of the largest"
    return (
        f"1 of {len(sizes)} scenes is read: {which}, {_px(sizes[scene])}; to read another give "
        f"{', '.join(listed)}{more}",
    )


def _px(size: tuple[int, int]) -> str:
    return f"{size[0]} × {size[1]} px"
