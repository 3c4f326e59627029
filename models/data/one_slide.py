"""What touching tiles say of a data set: tiles of one slide in training and in test, or under two cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.data.folders import FolderSet
from models.data.sets import list_some
from models.data.touching import Borders, touching_across, touching_within

_REACH = "only tiles cut edge to edge, of classes of one name, and from 20 pairs on"


@dataclass(frozen=True)
class OneSlide:
    """Pairs of tiles that touch, each pair named <folder>/<class>/<file>.

    within: in the training set; across: one in training, one in test (None: there is no test set); cases: within, but
    of two cases (None: cases are not known).
    """

    within: tuple[str, ...]
    across: tuple[str, ...] | None
    cases: tuple[str, ...] | None

    @property
    def counts(self) -> dict[str, int | None]:
        """How many of each kind; None where nothing was asked."""
        kinds = {"within": self.within, "across": self.across, "two_cases": self.cases}
        return {kind: None if pairs is None else len(pairs) for kind, pairs in kinds.items()}

    @property
    def told(self) -> str:
        """What was found, and what would be."""
        across = "" if self.across is None else f", {len(self.across):,} between it and the test set"
        return f"tiles that touch: {len(self.within):,} pairs{across} (found are {_REACH})"

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each kind that speaks against the set."""
        said = []
        if self.across:
            said.append(
                f"{len(self.across)} pairs of tiles touch across the two sets, so slides that are trained on are "
                f"tested on: {list_some(self.across)}"
            )
        if self.cases:
            said.append(
                f"{len(self.cases)} pairs of tiles touch and are of two cases, so case ids are wrong: "
                f"{list_some(self.cases)}"
            )
        if self.within and self.cases is None:
            said.append(
                f"{len(self.within)} pairs of tiles touch, so each pair is of one slide, and a split by tile parts "
                "many of them; name the cases, or guess them with train.group_by: stain"
            )
        return tuple(said)


def of_one_slide(
    sets: Sequence[FolderSet], borders: Sequence[Borders], progress: Callable[[float], None] = lambda _: None
) -> OneSlide:
    """Look for tiles that touch within the first set, and between it and the second, if there is one.

    borders: of each set, see `borders_of`. progress: told the share done.
    """
    first, part = sets[0], 1 / len(sets)
    names = sorted({name for tiles in sets for name in tiles.classes})
    labels = [np.array([names.index(name) for name in tiles.classes])[tiles.labels] for tiles in sets]
    within = touching_within(borders[0], labels[0], lambda share: progress(share * part))
    cases = across = None
    if first.groups is not None:
        case = np.unique(first.groups, return_inverse=True)[1]
        cases = _named(within.touching(lambda pairs: case[pairs[:, 0]] != case[pairs[:, 1]]), first, first)
    if len(sets) > 1:
        found = touching_across(
            borders[0], labels[0], borders[1], labels[1], lambda share: progress(part + share * part)
        )
        across = _named(found.touching(), first, sets[1])
    return OneSlide(_named(within.touching(), first, first), across, cases)


def _named(pairs: NDArray[np.int64], one: FolderSet, other: FolderSet) -> tuple[str, ...]:
    return tuple(f"{_name(one, first)} - {_name(other, second)}" for first, second in pairs)


def _name(tiles: FolderSet, index: int) -> str:
    return "/".join(tiles.paths[index].parts[-3:])
