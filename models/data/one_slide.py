"""What touching tiles say of a data set: tiles of one slide in training and in test, or under two cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.data.folders import FolderSet
from models.data.sets import list_some
from models.data.touching import find_touching

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class OneSlide:
    """Pairs of tiles that touch, each named <folder>/<class>/<file>: within the first set, across sets, of two cases.

    known: whether the cases of the first set are.
    """

    within: Pairs
    across: Pairs
    cases: Pairs
    known: bool

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        return {"within": len(self.within), "across": len(self.across), "two_cases": len(self.cases)}

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each kind that speaks against the set."""
        said = []
        if self.across:
            said.append(
                f"{len(self.across)} pairs of tiles touch across the two sets, so slides that are trained on are "
                f"tested on: {_named(self.across)}"
            )
        if self.cases:
            said.append(
                f"{len(self.cases)} pairs of tiles touch and are of two cases, so a case is wrong: {_named(self.cases)}"
            )
        if self.within and not self.known:
            said.append(
                f"{len(self.within)} pairs of tiles touch, so each pair is of one slide, and a split by tile parts "
                "many of them; name the cases, or guess them with train.group_by: stain"
            )
        return tuple(said)


def of_one_slide(
    sets: Sequence[FolderSet],
    borders: Sequence[NDArray[np.uint8]],
    progress: Callable[[float], None] = lambda _: None,
) -> OneSlide:
    """Look for tiles that touch, within the first set and across all. borders: of each set, see `borders_of`.

    progress: told the share done.
    """
    homes = [(tiles, index) for tiles in sets for index in range(len(tiles))]
    found: dict[str, list[tuple[str, str]]] = {"within": [], "across": [], "cases": []}
    classes = {name: number for number, name in enumerate(sorted({name for tiles in sets for name in tiles.classes}))}
    labels = np.concatenate([np.array([classes[name] for name in tiles.classes])[tiles.labels] for tiles in sets])
    for pair in find_touching(np.concatenate(list(borders)), labels, progress):
        (one, first), (other, second) = (homes[i] for i in pair)
        named = _name(one, first), _name(other, second)
        if one is not other:
            found["across"].append(named)
        elif one is sets[0]:
            found["within"].append(named)
        if one.groups is not None and other.groups is not None and one.groups[first] != other.groups[second]:
            found["cases"].append(named)
    return OneSlide(**{kind: tuple(pairs) for kind, pairs in found.items()}, known=sets[0].groups is not None)


def _name(tiles: FolderSet, index: int) -> str:
    return "/".join(tiles.paths[index].parts[-3:])


def _named(pairs: Pairs) -> str:
    return list_some([" - ".join(pair) for pair in pairs])
