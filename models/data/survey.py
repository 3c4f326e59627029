"""What is in a data set of class folders: images, sizes and what is broken, class by class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.data.folders import FolderSet, read_image
from models.data.touching import SAMPLES, borders_of
from wsi.errors import InputError

Size = tuple[int, int]


@dataclass(frozen=True)
class ClassSurvey:
    """One class. sizes: how many images of each (width, height), px; broken: (<class>/<file>, why) of the others.

    left_out: how many other files lie in its folder, by ending.
    """

    name: str
    images: int
    sizes: dict[Size, int]
    broken: tuple[tuple[str, str], ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Survey:
    """A whole set, class by class. borders: (n, 4, SAMPLES, 3) of every image, see `borders_of`; 0 of broken ones."""

    classes: tuple[ClassSurvey, ...]
    borders: NDArray[np.uint8]

    @property
    def broken(self) -> list[str]:
        """Why each broken image cannot be decoded; each line names its image."""
        return [why for entry in self.classes for _, why in entry.broken]


def survey(tiles: FolderSet, progress: Callable[[float], None] = lambda _: None) -> Survey:
    """Decode every image once, in threads. progress: told the share done."""
    borders = np.zeros((len(tiles), 4, SAMPLES, 3), np.uint8)
    found: list[tuple[Size | None, str]] = []

    def look(index: int) -> tuple[Size | None, str]:
        """(width, height) of an image; None and why, where it cannot be decoded."""
        try:
            pixels = read_image(tiles.paths[index])
        except InputError as error:
            return None, str(error)
        borders[index] = borders_of(pixels)
        return (pixels.shape[1], pixels.shape[0]), ""

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for size, why in pool.map(look, range(len(tiles))):
            found.append((size, why))
            progress(len(found) / len(tiles))
    return Survey(tuple(_class(tiles, number, found) for number in range(len(tiles.classes))), borders)


def _class(tiles: FolderSet, number: int, found: Sequence[tuple[Size | None, str]]) -> ClassSurvey:
    members, keys = np.flatnonzero(tiles.labels == number).tolist(), tiles.keys
    sizes = Counter(size for size, _ in (found[i] for i in members) if size is not None)
    broken = tuple((keys[i], found[i][1]) for i in members if found[i][0] is None)
    name = tiles.classes[number]
    return ClassSurvey(name, len(members), dict(sizes.most_common()), broken, tiles.left_out.get(name, {}))
