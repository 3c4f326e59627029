"""A pilot, from labelled tiles to everything its page says."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.augment import EvalCrop
from models.data import TileSet
from models.evaluation.baselines import Colours, fitted_baselines
from models.loading import decode_or_check
from models.pilot.curve import Measured, Outlook, outlook
from models.pilot.design import Design, Draw, design, folds_of
from models.pilot.noise import balanced_error, recalls, resampled_recalls
from models.pilot.readers import Cheap, Network, Reader, Seen, see
from models.pilot.store import Store
from models.pilot.suspects import Suspect, suspects
from models.training.settings import TrainSettings

Array = NDArray[np.float64]
Said = Callable[[str], None]
Bar = Callable[[str], AbstractContextManager[Callable[[float], None]]]


@dataclass(frozen=True, eq=False)
class Curve:
    """A reader's errors and where they lead. recalls: (classes, k, seeds); resampled: (B, classes, k, seeds)."""

    name: str
    recalls: Array
    resampled: Array
    measured: Measured
    outlook: Outlook

    @property
    def error(self) -> float:
        """Balanced error with most tiles, mean over seeds."""
        return float(self.measured.mean[-1])

    @property
    def errors_resampled(self) -> Array:
        """(B,) the same, had other cases been tested."""
        return np.asarray(self.measured.resampled[:, -1].mean(axis=-1), np.float64)


@dataclass(frozen=True, eq=False)
class Colour:
    """What a rule of colour alone does with all training tiles: its error, and (B,) had other cases been tested."""

    name: str
    error: float
    resampled: Array


@dataclass(frozen=True, eq=False)
class Pilot:
    """Everything that was found out. curves: the cheap reader's and, unless it was quick, the network's."""

    tiles: TileSet
    design: Design
    curves: tuple[Curve, ...]
    colours: tuple[Colour, ...]
    suspects: tuple[Suspect, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> Curve:
        """The curve that ends lowest."""
        return min(self.curves, key=lambda curve: curve.error)


def pilot(
    settings: TrainSettings,
    tiles: TileSet,
    out: Path,
    *,
    sizes: int,
    seeds: int,
    quick: bool,
    bar: Bar,
    said: Said,
) -> Pilot:
    """Train and test at every size and seed; what is done lies in `out`/points and is not done again.

    quick: without the network. Raises InputError for tiles too few to try, or that cannot be decoded.
    """
    tried = design(tiles, sizes, seeds, settings.seed)
    cache = decode_or_check(tiles, settings.tile)
    crop = EvalCrop(settings.tile.size_px)
    every = range(len(tiles))
    seen = see(crop(cache[i] if cache is not None else tiles.load(i, settings.tile)) for i in every)
    store = Store(out / "points", tiles.fingerprint())
    plan = f"{len(tried.sizes)} sizes, {seeds} seeds" + (f", {len(tried.folds)} folds" if len(tried.folds) > 1 else "")
    said(f"{plan}; tested on {tried.how}")
    readers: list[Reader] = [Cheap(seen.features, tiles.labels)]
    notes: list[str] = []
    if not quick:
        full = round(float(tried.sizes[-1]))
        network = Network(tiles, settings, cache, out / "training", full)
        readers.append(network)
        epochs = ", ".join(f"{network.epochs(round(size))} at {size:.0f} tiles" for size in tried.sizes)
        notes.append(
            f"The network is trained at every size for the optimiser steps of the full size, but for four times its "
            f"epochs at most: epochs {epochs}. A part of each training set (train.val_fraction) chooses the epoch."
        )
    curves = tuple(_curve(reader, tried, tiles, store, bar, said) for reader in readers)
    contested = suspects(seen.features, tiles.labels, folds_of(tiles, settings.seed))
    return Pilot(tiles, tried, curves, _colours(seen, tried, tiles), tuple(contested), tuple(notes))


def _curve(reader: Reader, tried: Design, tiles: TileSet, store: Store, bar: Bar, said: Said) -> Curve:
    predicted = _predicted(reader, tried, store, bar, said)
    labels, classes = tiles.labels[tried.tested], len(tiles.classes)
    found, again = recalls(labels, predicted, classes), resampled_recalls(labels, predicted, classes, tried.units)
    errors, resampled = balanced_error(found, 0), balanced_error(again, 1)
    measured = Measured(tried.sizes, errors, resampled, 1 - 1 / classes)
    return Curve(reader.name, found, again, measured, outlook(measured))


def _predicted(reader: Reader, tried: Design, store: Store, bar: Bar, said: Said) -> NDArray[np.int64]:
    """(k, seeds, m) classes of `tried.tested`. The dearest training comes first: it tells what the rest take."""
    starts = np.cumsum([0, *(len(fold.test) for fold in tried.folds)])
    found = np.full((len(tried.sizes), tried.seeds, len(tried.tested)), -1, np.int64)

    def note(draw: Draw, predicted: NDArray[np.int64]) -> None:
        found[draw.size, draw.seed, starts[draw.fold] : starts[draw.fold + 1]] = predicted

    left = []
    for draw in tried.draws:
        kept = store.get(reader.key(draw), len(draw.test))
        if kept is None:
            left.append(draw)
        else:
            note(draw, kept)
    if not left:
        return found
    left.sort(key=reader.cost, reverse=True)
    there = f", {len(tried.draws) - len(left)} are there already" if len(left) < len(tried.draws) else ""
    said(f"{reader.name}: {len(left)} trainings{there}")
    total, done = sum(map(reader.cost, left)), 0.0
    with bar(reader.name) as told:
        for number, draw in enumerate(left):
            began = time.perf_counter()
            predicted = reader.predict(draw)
            seconds = time.perf_counter() - began
            store.put(reader.key(draw), reader.name, predicted, seconds)
            note(draw, predicted)
            done += reader.cost(draw)
            told(done / total)
            if number == 0 and len(left) > 1:
                rest = seconds * (total - done) / done
                said(f"{reader.name}: the first took {_duration(seconds)}; the others take about {_duration(rest)}")
    return found


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _colours(seen: Seen, tried: Design, tiles: TileSet) -> tuple[Colour, ...]:
    """Mean colour and colour histogram, trained once on all but the test part."""
    by_fold = [
        fitted_baselines(_some(seen.colour, draw.train), tiles.labels[draw.train], _some(seen.colour, draw.test))
        for draw in tried.whole
    ]
    labels, classes = tiles.labels[tried.tested], len(tiles.classes)
    found = []
    for same in zip(*by_fold, strict=True):
        predicted = np.concatenate([baseline.predicted for baseline in same])
        again = resampled_recalls(labels, predicted, classes, tried.units)
        error = float(balanced_error(recalls(labels, predicted, classes), 0))
        found.append(Colour(same[0].name, error, balanced_error(again, 1)))
    return tuple(found)


def _some(seen: Colours, indices: Sequence[int] | NDArray[np.int64]) -> Colours:
    return Colours(seen.mean[indices], seen.histogram[indices])
