"""From stain concentrations to colour: Beer–Lambert, with a slide's own jitter."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.phantom.noise import Image

# Optical density per unit concentration (R, G, B), unit length: hematoxylin, eosin, mucin (which takes up
# a pale blue-grey of its own).
_HEMATOXYLIN = (0.5626, 0.7201, 0.4062)
_EOSIN = (0.2159, 0.8012, 0.5581)
_MUCIN = (0.690, 0.645, 0.330)
_STEPS = 1024


@dataclass(frozen=True)
class Stain:
    """Rows of `vectors` (3 stains × RGB): optical density per unit concentration, strength included."""

    vectors: NDArray[np.float32]

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Stain:
        """Draw a laboratory's stain: strengths and hues jittered about the reference."""
        vectors = np.array([_HEMATOXYLIN, _EOSIN, _MUCIN])
        vectors = np.abs(vectors + rng.normal(0, [[0.028], [0.03], [0.025]], (3, 3)))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        strength = np.exp(rng.normal([0.1, 0.1, 0.05], [0.13, 0.16, 0.15]))
        return cls((vectors * strength[:, None]).astype(np.float32))

    def times(self, strength: float) -> Stain:
        """The same stain, weaker (below 1) or stronger."""
        return Stain((self.vectors * strength).astype(np.float32))

    def rgb(self, concentrations: Image) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 colours of (h, w, 3) concentrations on white (255)."""
        density = cv2.transform(concentrations, self.vectors.T)
        # A table instead of exp: a quarter of the time, and finer than a grey level.
        steps = np.clip(density * (_STEPS / 4), 0, _STEPS - 1).astype(np.uint16)
        table = np.rint(255 * np.exp(-np.arange(_STEPS) * (4 / _STEPS))).astype(np.uint8)
        return np.asarray(table[steps])
