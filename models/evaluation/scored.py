"""What a model said of tiles whose class is known; and what is resampled whole, to know how sure a figure is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from wsi.errors import InputError

FEW_UNITS = 10  # a bootstrap over fewer cases hardly knows how cases differ


@dataclass(frozen=True, eq=False)
class Units:
    """What is drawn whole when tiles are resampled.

    of: (n,) int64, the unit of each tile; kind: case, slide, stain
    group (a guess at cases) or tile.
    """

    of: NDArray[np.int64]
    count: int
    kind: str

    @property
    def caution(self) -> str | None:
        """Why intervals over these units should not be trusted too far; None where nothing is to be said."""
        if self.count == 1:
            return f"all tiles are of one {self.kind}: no interval can be given, and other {self.kind}s may differ"
        if self.kind == "tile":
            return (
                f"no case ids: the 95 % intervals are over {self.count} tiles and too narrow, "
                "since tiles of one patient are alike"
            )
        if self.kind == "slide":
            return (
                f"no case ids: the 95 % intervals are over {self.count} slides, "
                "and too narrow where a patient has several"
            )
        if self.kind == "stain group":
            return (
                f"no case ids: the 95 % intervals are over {self.count} groups of tiles of like stain, a guess at cases"
            )
        if self.count < FEW_UNITS:
            return f"only {self.count} cases: the 95 % intervals are rough, and new cases may well fall outside of them"
        return None


@dataclass(frozen=True, eq=False)
class Scored:
    """Tiles of known class, and what a model said of them.

    logits: (n, classes) before any temperature. labels: (n,) int64 into `classes`. groups: the case (or slide) of
    each tile, as `group_kind` says; None where nobody knows. Raises InputError where these do not fit together.
    """

    classes: tuple[str, ...]
    logits: NDArray[np.floating]
    labels: NDArray[np.int64]
    groups: tuple[str, ...] | None = None
    group_kind: str = "tile"

    def __post_init__(self) -> None:
        count = len(self.labels)
        if count == 0:
            raise InputError("no tiles to evaluate on; give a set that holds some")
        if self.logits.shape != (count, len(self.classes)):
            raise InputError(
                f"logits are {self.logits.shape}, but there are {count} tiles and {len(self.classes)} classes"
            )
        if self.groups is not None and len(self.groups) != count:
            raise InputError(f"{len(self.groups)} groups are given for {count} tiles")
        if not np.isfinite(self.logits).all():
            bad = int((~np.isfinite(self.logits)).any(axis=1).sum())
            raise InputError(f"the model gives no number for {bad} of {count} tiles; train it again")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) index of the largest logit."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)

    @property
    def units(self) -> Units:
        """Cases, else slides, else single tiles."""
        if self.groups is None:
            return Units(np.arange(len(self)), len(self), "tile")
        names, of = np.unique(np.array(self.groups), return_inverse=True)
        return Units(of.astype(np.int64), len(names), self.group_kind)

    def part(self, indices: NDArray[np.int64]) -> Scored:
        """Some of the tiles, in the order of `indices`."""
        groups = tuple(self.groups[i] for i in indices) if self.groups is not None else None
        return Scored(self.classes, self.logits[indices], self.labels[indices], groups, self.group_kind)

    def probabilities(self, temperature: float) -> NDArray[np.float64]:
        """(n, classes) softmax of logits / temperature."""
        return np.asarray(softmax(self.logits.astype(np.float64) / temperature, axis=1), np.float64)
