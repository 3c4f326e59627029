"""Normalising by mean and spread: Reinhard et al., "Color transfer between images" (2001), in CIE L*a*b*.

Own, since the libraries take glass for tissue (torchstain 1.4 turns a blank tile pink). Here only stained pixels are
measured, and glass is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from models.stain.density import Pixels, Values, density_of, stained, thinned
from wsi.errors import InputError

Triple = tuple[float, float, float]

# L* of glass. Between it and half of the way to the tissue's mean, a pixel is moved in part: glass stays what it is,
# and what shines through thin tissue does not turn pink.
_GLASS, _FULL = 95.0, 0.5
# No spread is widened or narrowed by more, no mean moved by more (L*, a*, b*): a tile without nuclei must not be given
# some, nor mucus the colour of muscle.
_MOST_SCALED, _MOST_MOVED = 1.25, 20.0
# A tile of one colour has no spread to measure (L*, 0 to 100).
_LEAST_SPREAD = 1.0


@dataclass(frozen=True)
class Reinhard:
    """The tissue of each tile gets the target's mean and spread of colour. mean, spread: (3,) L*, a*, b*."""

    mean: Triple
    spread: Triple
    method: Literal["reinhard"] = "reinhard"

    def __post_init__(self) -> None:
        if not (len(self.mean) == len(self.spread) == 3 and np.isfinite(self.mean).all() and min(self.spread) > 0):
            raise InputError(
                f"stain: mean {self.mean} and spread {self.spread} are no three numbers, and three above 0"
            )

    @classmethod
    def of(cls, measured: Sequence[NDArray[np.float64]]) -> Self:
        """The target that is the median of what `measure` found."""
        (light, a, b), (of_light, of_a, of_b) = np.median(np.stack(measured), axis=0).tolist()
        return cls((light, a, b), (of_light, of_a, of_b))

    @staticmethod
    def measure(tile: Pixels) -> NDArray[np.float64] | None:
        """(2, 3): mean and standard deviation of L*, a*, b* of what is stained; None: left as it is."""
        return _measured(_lab(tile), density_of(tile))

    def __call__(self, tile: Pixels) -> Pixels:
        """(h, w, 3) uint8 RGB, the same size; `tile` itself where too little of it is stained to be measured."""
        lab = _lab(tile)
        found = _measured(lab, density_of(tile))
        if found is None:
            return tile
        mean, spread = found
        scale = np.clip(np.array(self.spread) / spread, 1 / _MOST_SCALED, _MOST_SCALED)
        shift = mean * (1 - scale) + np.clip(np.array(self.mean) - mean, -_MOST_MOVED, _MOST_MOVED)
        moved = cv2.transform(lab, np.column_stack([np.diag(scale - 1), shift]).astype(np.float32))
        share = np.clip((_GLASS - lab[..., 0]) / (_FULL * (_GLASS - np.float32(mean[0]))), 0, 1)
        rgb = cv2.cvtColor(lab + moved * share[..., None], cv2.COLOR_LAB2RGB)
        return np.asarray(cv2.convertScaleAbs(np.maximum(rgb, 0), alpha=255.0), np.uint8)


def _lab(tile: Pixels) -> Values:
    return np.asarray(cv2.cvtColor(tile.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def _measured(lab: Values, density: Values) -> NDArray[np.float64] | None:
    mask = stained(thinned(density))
    if mask is None:
        return None
    seen = thinned(lab)[mask].astype(np.float64)
    found = np.stack([seen.mean(axis=0), seen.std(axis=0)])
    return found if found[1, 0] >= _LEAST_SPREAD else None
