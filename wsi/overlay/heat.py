"""What is painted on the tile grid: of each tile which class, and how probable it is. No pixels yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsi.errors import InputError
from wsi.overlay.options import OverlayOptions
from wsi.scores import Threshold, TileScores

# What a slide scanner sees where there is no tissue; painting it would only dim the picture.
UNPAINTED = frozenset({"BACK", "background"})


@dataclass(frozen=True)
class Heat:
    """layer: (rows, cols) uint16, 0 where nothing is painted, else 1 + the class's index in `classes`.

    value: (rows, cols) float32, that class's probability, 0 where nothing is painted. threshold: lowest one
    that is painted, and who says so.
    """

    classes: tuple[str, ...]
    layer: NDArray[np.uint16]
    value: NDArray[np.float32]
    threshold: Threshold

    @classmethod
    def of(cls, scores: TileScores, options: OverlayOptions) -> Heat:
        """What `options` choose of the scores. Raises InputError for a class that the model does not know."""
        probabilities = np.nan_to_num(scores.probabilities)
        if options.heat is not None:
            classes = _known((options.heat,), scores, "heat")
            threshold = scores.threshold(options.heat, options.threshold)
            value = probabilities[:, scores.classes.index(options.heat)]
            chosen = np.zeros(len(value), np.int64)
        else:
            classes = _several(scores, options)
            threshold = Threshold(options.threshold or 0.0, "given")
            value, chosen = probabilities.max(axis=1), _place(scores, classes)
        shown = scores.scored & (chosen >= 0) & (value >= threshold.value)
        shape = (scores.grid.rows, scores.grid.cols)
        layer = np.where(shown, chosen + 1, 0).astype(np.uint16).reshape(shape)
        return cls(classes, layer, np.where(shown, value, 0).astype(np.float32).reshape(shape), threshold)

    def at_least(self, opacity: Callable[[NDArray[np.float32]], NDArray[np.uint16]]) -> Heat:
        """Only what has some opacity, in its steps."""
        shown = opacity(self.value) > 0
        return replace(self, layer=np.where(shown, self.layer, 0), value=np.where(shown, self.value, 0))


def _several(scores: TileScores, options: OverlayOptions) -> tuple[str, ...]:
    if options.classes is None:
        return tuple(name for name in scores.classes if name not in UNPAINTED)
    return _known(options.classes, scores, "classes")


def _known(names: tuple[str, ...], scores: TileScores, key: str) -> tuple[str, ...]:
    unknown = sorted(set(names) - set(scores.classes))
    if unknown:
        raise InputError(f"overlay.{key}: {', '.join(unknown)} not among the model's {', '.join(scores.classes)}")
    return names


def _place(scores: TileScores, painted: tuple[str, ...]) -> NDArray[np.int64]:
    """(tiles,) index in `painted` of each tile's most probable class; -1 where that is not painted."""
    index = np.array([painted.index(name) if name in painted else -1 for name in scores.classes])
    return index[scores.winners()]
