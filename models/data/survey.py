"""What is in a data set of class folders: images, sizes and what is broken, class by class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from models.data.folders import FolderSet, read_image
from wsi.errors import InputError

Size = tuple[int, int]


@dataclass(frozen=True)
class ClassSurvey:
    """One class. sizes: how many images of each (width, height), px; broken: (<class>/<file>, why) of the others."""

    name: str
    images: int
    sizes: dict[Size, int]
    broken: tuple[tuple[str, str], ...]


def survey(tiles: FolderSet, progress: Callable[[float], None] = lambda _: None) -> tuple[ClassSurvey, ...]:
    """Decode every image once, in threads. progress: told the share done."""
    found: list[tuple[Size | None, str]] = []
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for size, why in pool.map(lambda index: _size(tiles, index), range(len(tiles))):
            found.append((size, why))
            progress(len(found) / len(tiles))
    keys = tiles.keys
    classes = []
    for number, name in enumerate(tiles.classes):
        members = [i for i in range(len(tiles)) if tiles.labels[i] == number]
        sizes = Counter(size for size, _ in (found[i] for i in members) if size is not None)
        broken = tuple((keys[i], found[i][1]) for i in members if found[i][0] is None)
        classes.append(ClassSurvey(name, len(members), dict(sizes.most_common()), broken))
    return tuple(classes)


def _size(tiles: FolderSet, index: int) -> tuple[Size | None, str]:
    """(width, height) of an image; None and why, where it cannot be decoded."""
    try:
        height, width = read_image(tiles.paths[index]).shape[:2]
    except InputError as error:
        return None, str(error)
    return (width, height), ""
