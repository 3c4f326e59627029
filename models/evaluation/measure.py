"""Everything `evaluate` wants to know of a model: its logits, the baselines', and its logits of changed pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.augment import EvalCrop
from models.checkpoint import Checkpoint
from models.data import TileSet
from models.evaluation.baselines import (
    MOST_TILES,
    Baseline,
    Colours,
    colours,
    crossed_baselines,
    fitted_baselines,
)
from models.evaluation.predicting import predict_tiles
from models.evaluation.robustness import Changed, sweep, swept_tiles
from models.evaluation.scored import Scored
from models.loading import decode_or_check, labels_among
from models.network import Network
from wsi.errors import InputError
from wsi.geometry import TileSpec
from wsi.stream import ahead

Pixels = NDArray[np.uint8]
Pictures = Callable[[NDArray[np.int64]], Iterator[Pixels]]


@dataclass(frozen=True, eq=False)
class Measured:
    """What `evaluate` takes. pictures: gives tiles of some indices, as the model sees them.

    no_baselines: why there are none; None where there are.
    """

    scored: Scored
    baselines: list[Baseline]
    changed: list[Changed]
    pictures: Pictures
    no_baselines: str | None


def measure(network: Network, checkpoint: Checkpoint, tiles: TileSet, train_tiles: TileSet | None) -> Measured:
    """Score `tiles`, changed and unchanged; fit the baselines on `train_tiles`, else across the cases of `tiles`.

    Raises InputError where classes are not the model's, or tiles cannot be decoded (all named at once).
    """
    labels = labels_among(tiles, checkpoint.classes)
    pictures = _pictures(tiles, checkpoint.tile)
    predict = partial(predict_tiles, network, checkpoint)
    everything = np.arange(len(tiles))
    scored = Scored(checkpoint.classes, predict(pictures(everything)), labels, tiles.groups, tiles.group_kind)
    seen = colours(pictures(everything))
    baselines, why = _baselines(checkpoint, scored, seen, train_tiles)
    indices = swept_tiles(len(tiles))
    return Measured(scored, baselines, sweep(predict, lambda: pictures(indices), indices), pictures, why)


def _baselines(
    checkpoint: Checkpoint, scored: Scored, seen: Colours, train_tiles: TileSet | None
) -> tuple[list[Baseline], str | None]:
    """The baselines; or none, and why."""
    if train_tiles is None:
        try:
            return crossed_baselines(seen, scored.labels, scored.units), None
        except InputError as error:
            return [], str(error)
    labels = labels_among(train_tiles, checkpoint.classes)
    taken = np.arange(len(labels))
    if len(taken) > MOST_TILES:
        taken = np.sort(np.random.default_rng(0).choice(taken, MOST_TILES, replace=False))
    # Not through decode_or_check: a training set is far larger than the part that is read of it.
    crop = EvalCrop(checkpoint.tile.size_px)
    pictures = ahead(crop(train_tiles.load(int(i), checkpoint.tile)) for i in taken)
    return fitted_baselines(colours(pictures), labels[taken], seen), None


def _pictures(tiles: TileSet, tile: TileSpec) -> Pictures:
    """What the model sees of tiles, by their indices: from memory where they fit there, else read again."""
    cache, crop = decode_or_check(tiles, tile), EvalCrop(tile.size_px)

    def of(indices: NDArray[np.int64]) -> Iterator[Pixels]:
        if cache is not None:
            return (crop(cache[i]) for i in indices)
        return ahead(crop(tiles.load(int(i), tile)) for i in indices)

    return of
