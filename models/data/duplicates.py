"""The same file twice: under two classes it is a contradiction, in training and test a leak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.data.folders import FolderSet
from models.data.sets import list_some
from wsi.digest import middle_of, sha256_of
from wsi.errors import InputError


@dataclass(frozen=True)
class Duplicates:
    """Groups of images that are the same byte for byte, each named <folder>/<class>/<file>.

    classes: under two classes; sets: in two data sets; within: twice in one class of one set.
    """

    classes: tuple[tuple[str, ...], ...]
    sets: tuple[tuple[str, ...], ...]
    within: tuple[tuple[str, ...], ...]

    def refuse_contradictions(self) -> None:
        """Raise InputError where an image is in two classes: one of the two labels is wrong."""
        if self.classes:
            raise InputError(
                f"{len(self.classes)} images are in two classes, byte for byte the same: {_named(self.classes)}; "
                "keep each in the class that it is of"
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each other kind that there is."""
        kinds = (
            (self.sets, "images are in two data sets, so what is trained on is tested on"),
            (self.within, "images are there twice, and may be on both sides of a split by tile"),
        )
        return tuple(f"{len(groups)} {text}: {_named(groups)}" for groups, text in kinds if groups)


def find_duplicates(*sets: FolderSet) -> Duplicates:
    """Images that are the same file, in one set or in several.

    A file is hashed only where another has its size and its middle: raw TIFFs of one size are all of the same length.
    """
    images = [(number, index) for number, tiles in enumerate(sets) for index in range(len(tiles))]

    def path(image: tuple[int, int]) -> Path:
        return sets[image[0]].paths[image[1]]

    groups = _alike([images], lambda image: path(image).stat().st_size)
    groups = _alike(groups, lambda image: middle_of(path(image)))
    groups = _alike(groups, lambda image: sha256_of(path(image)))
    found: dict[str, list[tuple[str, ...]]] = {"classes": [], "sets": [], "within": []}
    for group in groups:
        kind = "sets" if len({number for number, _ in group}) > 1 else "within"
        if len({sets[number].classes[sets[number].labels[index]] for number, index in group}) > 1:
            kind = "classes"
        found[kind].append(tuple("/".join(path(image).parts[-3:]) for image in group))
    return Duplicates(**{kind: tuple(named) for kind, named in found.items()})


def _alike(
    groups: Iterable[list[tuple[int, int]]], key: Callable[[tuple[int, int]], Hashable]
) -> list[list[tuple[int, int]]]:
    """The groups parted by `key`; what is alone is left out."""
    parted = []
    for group in groups:
        by_key: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)
        for image in group:
            by_key[key(image)].append(image)
        parted += [alike for alike in by_key.values() if len(alike) > 1]
    return parted


def _named(groups: Iterable[tuple[str, ...]]) -> str:
    return list_some([" = ".join(group) for group in groups])
