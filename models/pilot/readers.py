"""What is trained at every size: a cheap reader of colour and texture, and the network of the configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import local_binary_pattern
from sklearn.ensemble import RandomForestClassifier

from models.data import TileSet
from models.evaluation.baselines import Colours, colours
from models.pilot.design import Draw, digest
from models.pilot.part import Part
from models.progress import SilentReporter
from models.splits import Split, holdout
from models.training.settings import TrainSettings
from models.training.train import train
from wsi.errors import InputError

_TREES = 100
_FEW = 500
_SCALES = 3  # texture at the tile's own mpp, twice and four times as coarse
_PATTERNS = 10  # of eight neighbours: nine uniform ones and all others
_MOST_EPOCHS = 4  # times the configuration's: see Network
Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]


class Reader(Protocol):
    """Something that learns a draw's training tiles and says of its test tiles what they are."""

    @property
    def name(self) -> str:
        """As the page calls it."""

    def key(self, draw: Draw) -> str:
        """All that the answer depends on beside the tiles; equal keys have equal answers."""

    def predict(self, draw: Draw) -> NDArray[np.int64]:
        """(m,) classes of `draw.test`."""

    def cost(self, draw: Draw) -> float:
        """How long it takes, in a unit of its own."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the cheap reader knows of every tile. colour: mean RGB and histograms; texture: (n, 33)."""

    colour: Colours
    texture: Features

    @property
    def features(self) -> Features:
        """(n, 225) histograms of colour and of patterns."""
        return np.concatenate([self.colour.histogram, self.texture], axis=1)


def see(pictures: Iterable[Pixels]) -> Seen:
    """Of (h, w, 3) uint8 RGB tiles."""
    textures: list[Features] = []

    def noted() -> Iterable[Pixels]:
        for tile in pictures:
            textures.append(_texture(tile))
            yield tile

    return Seen(colours(noted()), np.stack(textures))


def _texture(tile: Pixels) -> Features:
    """(33,): at each scale shares of local binary patterns (Ojala et al. 2002), and how strong edges are."""
    grey = np.asarray(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY), np.uint8)
    found: list[float] = []
    for _ in range(_SCALES):
        patterns = local_binary_pattern(grey, 8, 1, "uniform").astype(np.int64)
        found += (np.bincount(patterns.ravel(), minlength=_PATTERNS) / patterns.size).tolist()
        found.append(float(np.abs(np.diff(grey.astype(np.float32), axis=1)).mean()) / 255)
        grey = np.asarray(cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    return np.array(found, np.float32)


def forest(seed: int, tiles: int) -> RandomForestClassifier:
    """What the cheap reader learns `tiles` tiles with; classes are balanced, as the error is."""
    jobs = -1 if tiles > _FEW else 1  # handing out few tiles takes longer than learning them
    return RandomForestClassifier(_TREES, class_weight="balanced", random_state=seed, n_jobs=jobs)


@dataclass(frozen=True, eq=False)
class Cheap:
    """A random forest on colour and texture: seconds, and a floor that a network should lie below."""

    features: Features
    labels: NDArray[np.int64]
    name: str = "colour and texture (random forest)"

    def key(self, draw: Draw) -> str:
        """The trees and the draw."""
        return f"forest {_TREES} {self.features.shape[1]} {_draw_key(draw)}"

    def predict(self, draw: Draw) -> NDArray[np.int64]:
        """(m,) classes of `draw.test`."""
        fitted = forest(draw.seed, len(draw.train)).fit(self.features[draw.train], self.labels[draw.train])
        return np.asarray(fitted.predict(self.features[draw.test]), np.int64)

    def cost(self, draw: Draw) -> float:
        """Nearly the same at every size."""
        return 100 + len(draw.train)


@dataclass(frozen=True, eq=False)
class Network:
    """The configuration's training, on a draw's tiles as if no others were labelled: its own part validates.

    A size is trained for as many steps as the full size, but for four times the epochs at most: with as many epochs,
    few tiles would lose by few steps as well, and the curve would fall too steeply; as many steps without a limit
    would show a handful of tiles hundreds of times.
    """

    tiles: TileSet
    settings: TrainSettings
    cache: Sequence[Pixels] | None
    folder: Path
    full: int

    @property
    def name(self) -> str:
        """The architecture."""
        return f"{self.settings.architecture} (network)"

    def key(self, draw: Draw) -> str:
        """The settings at this size, and the draw."""
        return f"{json.dumps(self._settings(draw).plain(), sort_keys=True)} {_draw_key(draw)}"

    def predict(self, draw: Draw) -> NDArray[np.int64]:
        """(m,) classes of `draw.test`. Of the training itself nothing stays."""
        part, test = self._part(draw.train), self._part(draw.test)
        parts = self._parted(part, draw)
        trained = train(self._settings(draw), part, test, self.folder, parts=parts, reporter=SilentReporter())
        shutil.rmtree(self.folder, ignore_errors=True)
        return trained.verdict.shown.predicted

    def cost(self, draw: Draw) -> float:
        """Tiles that go through the network."""
        return self._settings(draw).epochs * len(draw.train) + len(draw.test)

    def epochs(self, tiles: int) -> int:
        """Of a training of so many tiles."""
        more = min(_MOST_EPOCHS, self.full / tiles)
        return round(self.settings.epochs * max(1.0, more))

    def _settings(self, draw: Draw) -> TrainSettings:
        return replace(self.settings, epochs=self.epochs(len(draw.train)), seed=self.settings.seed + draw.seed)

    def _part(self, indices: NDArray[np.int64]) -> Part:
        return Part(self.tiles, indices, self.cache)

    def _parted(self, part: Part, draw: Draw) -> Split:
        """By case; by tile where so few cases leave a class without training tiles."""
        fraction, seed = self.settings.val_fraction, self.settings.seed + draw.seed
        try:
            return holdout(part, fraction, seed)
        except InputError:
            return holdout(replace(part, grouped=False), fraction, seed)


def _draw_key(draw: Draw) -> str:
    return f"{draw.seed} {digest(draw.train)} {digest(draw.test)}"
