"""What a finished training is worth: calibration, thresholds, and figures beside what needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.augment import EvalCrop
from models.data import TileSet
from models.evaluation import Scored, evaluate
from models.evaluation.baselines import MOST_TILES, Colours, colours, fitted_baselines
from models.evaluation.calibration import fit_temperature
from models.evaluation.thresholds import Rule, choose_thresholds
from models.splits import Split
from models.training.fit import Outcome
from wsi.geometry import TileSpec

Cache = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Seen:
    """A tile set as it was decoded: in memory, or (None) to be read again."""

    tiles: TileSet
    cache: Cache | None

    def pictures(self, indices: NDArray[np.int64], tile: TileSpec) -> Iterator[NDArray[np.uint8]]:
        """(size_px, size_px, 3) RGB of each, as the model sees it when it is evaluated."""
        crop = EvalCrop(tile.size_px)
        for index in indices:
            yield crop(self.cache[index] if self.cache is not None else self.tiles.load(int(index), tile))


@dataclass(frozen=True, eq=False)
class Tested:
    """The tiles that are measured once: indices into `seen`, and (n,) labels as indices into the model's classes."""

    seen: Seen
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Verdict:
    """temperature and thresholds for the checkpoint; what `evaluate` says of validation and, where there are, test."""

    temperature: float
    thresholds: dict[str, float]
    val: dict[str, Any]
    test: dict[str, Any] | None
    # Of the test tiles where there are some, else of the validation tiles: to draw.
    shown: Scored

    @property
    def figures(self) -> dict[str, Any]:
        """Of `shown`."""
        return self.val if self.test is None else self.test


def judge(
    seen: Seen, parts: Split, val: Outcome, tested: Tested | None, test: Outcome | None, tile: TileSpec, rule: Rule
) -> Verdict:
    """Temperature and thresholds are fitted on validation; the test tiles are only measured.

    Where validation is of slides that were trained on (a split by tile), the temperature is 1 or more.
    """
    tiles, labels = seen.tiles, seen.tiles.labels
    fitted_temperature = fit_temperature(val.logits, val.labels)
    # Tiles of slides that were trained on are no reason to be surer: on other slides, 0.35 so fitted made tiles called
    # with 0.9 right in half of all cases (configs/crc5.yaml; ECE 0.085 without it, 0.107 with it).
    temperature = max(1.0, fitted_temperature) if parts.by_tile else fitted_temperature
    scored = _scored(tiles.classes, val, tiles, parts.val)
    fitted = np.sort(np.random.default_rng(0).permutation(parts.train)[:MOST_TILES])
    trained = colours(seen.pictures(fitted, tile))

    def figures(scored: Scored, shown: Colours, loss: float, **more: Any) -> dict[str, Any]:
        baselines = fitted_baselines(trained, labels[fitted], shown)
        return {**evaluate(scored, temperature=temperature, baselines=baselines, **more), "loss": loss}

    of_val = figures(scored, colours(seen.pictures(parts.val, tile)), val.loss)
    if parts.by_tile:
        of_val["warnings"].append(f"{parts.how}: tiles of one slide are on both sides, so these figures flatter")
        if fitted_temperature < temperature:
            of_val["notes"].append(
                f"temperature {fitted_temperature:.2f} fits validation; 1 was kept, since a split by tile is no reason "
                "to make probabilities surer than the network's own"
            )
    thresholds = choose_thresholds(scored.probabilities(temperature), val.labels, tiles.classes, rule)
    if test is None or tested is None:
        return Verdict(temperature, thresholds, of_val, None, scored)
    measured = _scored(tiles.classes, test, tested.seen.tiles, tested.indices)
    shown = colours(tested.seen.pictures(tested.indices, tile))
    of_test = figures(measured, shown, test.loss, thresholds=thresholds, validation=of_val["balanced_accuracy"])
    return Verdict(temperature, thresholds, of_val, of_test, measured)


def _scored(classes: Sequence[str], outcome: Outcome, tiles: TileSet, indices: NDArray[np.int64]) -> Scored:
    groups = None if tiles.groups is None else tuple(tiles.groups[i] for i in indices)
    return Scored(tuple(classes), outcome.logits, outcome.labels, groups, tiles.group_kind)
