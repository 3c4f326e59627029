"""Normalising by stain: Macenko et al., "A method for normalizing histology slides for quantitative analysis" (2009).

Own, since the libraries fail on glass or colour it (torchstain 1.4: "eigenvalues did not converge" on a white tile,
black made mauve) and take several times as long. Other than theirs, what hematoxylin and eosin do not explain is kept
(pen, pigment, blood), and a tile in which the two cannot be told apart is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from models.stain.density import Pixels, Values, density_of, stained, thinned, tile_of
from wsi.errors import InputError

Triple = tuple[float, float, float]

# Optical density (R, G, B) of hematoxylin and eosin, of unit length: the usual reference, from the code of M. Veta.
_REFERENCE = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
_ANGLE_PERCENT = 1.0  # the extremes of hue, but for so many outliers at either end
_STRONGEST_PERCENT = 99.0
# A direction further from its reference than 15° is another dye, or noise; two nearer than 8° are one stain. In 600
# tiles of colorectal mucosa none is; mucus and debris, whose nuclei are gone, are.
_LEAST_COSINE, _MOST_ALIKE = 0.9659, 0.9903
# No stain is made stronger or weaker by more: a tile without nuclei must not be given some.
_MOST_SCALED = 2.0


@dataclass(frozen=True)
class Macenko:
    """Each tile's hematoxylin and eosin, as found in it, become the target's.

    hematoxylin, eosin: optical density of the target's, of unit length. strongest: (2,) how much there is of each where
    there is most (99th percentile).
    """

    hematoxylin: Triple
    eosin: Triple
    strongest: tuple[float, float]
    method: Literal["macenko"] = "macenko"

    def __post_init__(self) -> None:
        vectors = np.array([self.hematoxylin, self.eosin])
        if vectors.shape != (2, 3) or not _both_there(vectors) or len(self.strongest) != 2 or min(self.strongest) <= 0:
            raise InputError(
                f"stain: hematoxylin {self.hematoxylin}, eosin {self.eosin} and strongest {self.strongest} are no "
                "optical densities of H&E, and two numbers above 0"
            )

    @classmethod
    def of(cls, measured: Sequence[NDArray[np.float64]]) -> Self:
        """The target that is the median of what `measure` found."""
        rows = np.median(np.stack(measured), axis=0)
        (red, green, blue), (red_2, green_2, blue_2) = rows[:, :3] / np.linalg.norm(rows[:, :3], axis=1, keepdims=True)
        return cls(
            (float(red), float(green), float(blue)),
            (float(red_2), float(green_2), float(blue_2)),
            (float(rows[0, 3]), float(rows[1, 3])),
        )

    @staticmethod
    def measure(tile: Pixels) -> NDArray[np.float64] | None:
        """(2, 4): direction (R, G, B) and strongest concentration of hematoxylin, eosin; None: left as it is."""
        return _stains(density_of(tile))

    def __call__(self, tile: Pixels) -> Pixels:
        """(h, w, 3) uint8 RGB, the same size; `tile` itself where its stains cannot be measured."""
        density = density_of(tile)
        found = _stains(density)
        if found is None:
            return tile
        scale = np.clip(np.array(self.strongest) / found[:, 3], 1 / _MOST_SCALED, _MOST_SCALED)
        # Out of the tile's stains, scaled, and into the target's: one matrix.
        own, target = _with_rest(found[:, :3]), _with_rest(np.array([self.hematoxylin, self.eosin]))
        mix = np.linalg.inv(own) @ np.diag([*scale, 1.0]) @ target
        return tile_of(np.asarray(cv2.transform(density, mix.T.astype(np.float32)), np.float32))


def _stains(density: Values) -> NDArray[np.float64] | None:
    """As `Macenko.measure`, of an (h, w, 3) density."""
    some = thinned(density)
    mask = stained(some)
    if mask is None:
        return None
    seen = some[mask].astype(np.float64)
    # The plane through white in which most of the colours lie, and the extremes of direction in it.
    first, second = np.linalg.eigh(seen.T @ seen)[1][:, :0:-1].T
    first *= np.sign(first.sum())
    slopes = np.percentile((seen @ second) / (seen @ first), [_ANGLE_PERCENT, 100 - _ANGLE_PERCENT])
    found = first + slopes[:, None] * second
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    if found[0, 0] < found[1, 0]:  # hematoxylin takes out more red
        found = found[::-1]
    if not _both_there(found):
        return None
    concentrations = seen @ np.linalg.inv(_with_rest(found))[:, :2]
    strongest = np.percentile(concentrations, _STRONGEST_PERCENT, axis=0)
    return np.column_stack([found, strongest]) if strongest.min() > 0 else None


def _both_there(found: NDArray[np.float64]) -> bool:
    """Each direction is near its reference, and the two are apart: else only one stain is there, and its noise."""
    own = (found * _REFERENCE).sum(axis=1)
    return bool(own.min() >= _LEAST_COSINE and found[0] @ found[1] <= _MOST_ALIKE)


def _with_rest(stains: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3): two stains, (2, 3), and what neither of them explains."""
    rest = np.cross(stains[0], stains[1])
    return np.vstack([stains, rest / np.linalg.norm(rest)])
