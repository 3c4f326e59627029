"""Nuclei: a few hundred stamps with rim, chromatin and nucleoli, painted onto a sheet of stain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.phantom.noise import Image, Mask, Points, scatter, smooth_noise, smoothstep, warp

Angles = NDArray[np.float64]

_ANGLES = 18
_VARIANTS = 8


@dataclass(frozen=True)
class Kind:
    """What nuclei of one sort look like; lengths in µm, `darkness` in hematoxylin concentration.

    `spread` is the relative deviation of size, `wobble` of outline; `chromatin` the texture's share of the
    darkness, `rim` the membrane's; `nucleoli` how many at most.
    """

    length_um: float
    width_um: float
    darkness: float
    spread: float = 0.12
    wobble: float = 0.06
    chromatin: float = 0.25
    rim: float = 0.3
    nucleoli: int = 0


@dataclass(frozen=True)
class Stamp:
    """One nucleus: opacity 0–1 and hematoxylin concentration, both (side, side)."""

    alpha: Image
    value: Image


class Sheet:
    """A toroidal sheet of tissue: hematoxylin, eosin and mucin concentrations, `size_px`² each."""

    def __init__(self, rng: np.random.Generator, size_px: int, mpp: float) -> None:
        self.rng = rng
        self.size_px = size_px
        self.mpp = mpp
        self.stains: Image = np.zeros((size_px, size_px, 3), dtype=np.float32)

    @property
    def hematoxylin(self) -> Image:
        """View of the hematoxylin concentration."""
        return self.stains[:, :, 0]

    @property
    def eosin(self) -> Image:
        """View of the eosin concentration."""
        return self.stains[:, :, 1]

    @property
    def mucin(self) -> Image:
        """View of the mucin concentration."""
        return self.stains[:, :, 2]

    def noise(self, wavelength_um: float, stretch: float = 1.0) -> Image:
        """Smooth noise over the sheet, mean 0, deviation 1."""
        return smooth_noise(self.rng, (self.size_px, self.size_px), wavelength_um / self.mpp, stretch)

    def scatter(self, spacing_um: float, where: Mask | None = None, crowd: float = 4.0) -> Points:
        """(n, 2) points (x, y) in px, at least `spacing_um` apart."""
        return scatter(self.rng, self.size_px, spacing_um / self.mpp, where, crowd)

    def bend(self, amplitude_um: float, wavelength_um: float) -> None:
        """Warp all that is on the sheet; folds appear where the amplitude exceeds a sixth of the wavelength."""
        self.stains[:] = self.bent(self.stains, amplitude_um, wavelength_um)

    def bent(self, image: Image, amplitude_um: float, wavelength_um: float) -> Image:
        """`image`, of the sheet's size, warped at random."""
        amplitude_px = np.float32(amplitude_um / self.mpp)
        return warp(image, amplitude_px * self.noise(wavelength_um), amplitude_px * self.noise(wavelength_um))

    def angles(self, count: int) -> Angles:
        """(count,) random directions in radians."""
        return self.rng.uniform(0, np.pi, count)

    def paint(self, kind: Kind, points: Points, angles: Angles | float) -> None:
        """Paint one nucleus of `kind` at every point, its long axis at `angles` (radians)."""
        directions = np.broadcast_to(angles, (len(points),))
        bins = np.rint(np.mod(directions, np.pi) / np.pi * _ANGLES).astype(int) % _ANGLES
        bank = {
            number: [self._stamp(kind, number * np.pi / _ANGLES) for _ in range(_VARIANTS)]
            for number in np.unique(bins).tolist()
        }
        picks = self.rng.integers(_VARIANTS, size=len(points))
        corners = np.floor(points).astype(int).tolist()
        for (x, y), angle, pick in zip(corners, bins.tolist(), picks.tolist(), strict=True):
            self._press(bank[angle][pick], x, y)

    def _press(self, stamp: Stamp, x: int, y: int) -> None:
        side = stamp.alpha.shape[0]
        span = np.arange(side) - side // 2
        place = np.ix_((y + span) % self.size_px, (x + span) % self.size_px)
        under = self.stains[place]
        alpha = stamp.alpha
        under[:, :, 0] += alpha * (stamp.value - under[:, :, 0])
        under[:, :, 1] *= 1 - 0.15 * alpha
        under[:, :, 2] *= 1 - alpha
        self.stains[place] = under

    def _stamp(self, kind: Kind, angle: float) -> Stamp:
        rng = self.rng
        scale = float(np.exp(rng.normal(0, kind.spread)))
        long_px = max(0.9, kind.length_um * scale / 2 / self.mpp)
        short_px = max(0.7, kind.width_um * scale * float(np.exp(rng.normal(0, 0.1))) / 2 / self.mpp)
        reach = int(np.ceil(max(long_px, short_px) * 1.25)) + 2
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        turn = np.arctan2(across / short_px, along / long_px)
        outline = sum(rng.normal(0, kind.wobble) * np.cos(k * turn + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4))
        rho = np.hypot(along / long_px, across / short_px) / (1 + outline)
        inside_px = ((1 - rho) * min(long_px, short_px)).astype(np.float32)
        alpha = smoothstep(inside_px, -0.8, 1.0)
        rim_px = max(0.8, 0.55 / self.mpp)
        value = 1 + kind.rim * np.exp(-np.square(inside_px / rim_px)) - kind.rim * 0.4
        grain_px = max(2.5, 2.6 / self.mpp)
        value = value + kind.chromatin * smooth_noise(rng, (y.shape[0], y.shape[1]), grain_px)
        for _ in range(int(rng.integers(kind.nucleoli + 1))):
            u, v = rng.uniform(-0.45, 0.45, 2)
            spot = np.hypot(along - u * long_px, across - v * short_px) * self.mpp / 1.1
            value = value + 0.55 * np.exp(-np.square(np.square(spot)))
        darkness = kind.darkness * float(np.exp(rng.normal(0, 0.14)))
        return Stamp(alpha, np.asarray(np.clip(value, 0.5, 1.8) * darkness, dtype=np.float32))
