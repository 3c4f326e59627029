"""Where a learning curve leads: error(n) = a·n^(-b) + c, with a, b, c ≥ 0 and b ≤ 2, and how sure that is.

The law: Figueroa et al. 2012, "Predicting sample size required for classification performance"; Hestness et al. 2017,
"Deep learning scaling is predictable, empirically". For a given b the best a and c are a linear least-squares problem
of two unknowns, so b is tried on a grid and a and c are exact: no start values, and nothing that fails to converge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
State = Literal["falling", "flat", "rising", "few", "guessing", "perfect"]
FACTORS = (2, 4, 10)
LEAST_SIZES = 4  # three unknowns, and one size more
_EXPONENTS = np.geomspace(0.05, 2, 150)
_SURE = 0.95  # share of resamples in which the error falls, for it to be called falling
_BANDS = {"80": 0.80, "95": 0.95}


@dataclass(frozen=True, eq=False)
class Measured:
    """Errors of a reader. sizes: (k,) tiles trained on, rising; errors: (k, seeds).

    resampled: (B, k, seeds), the same errors had other cases been tested: all sizes and seeds on the same resample.
    chance: the error of guessing.
    """

    sizes: Array
    errors: Array
    resampled: Array
    chance: float

    @property
    def mean(self) -> Array:
        """(k,) over seeds."""
        return np.asarray(self.errors.mean(axis=1), np.float64)


@dataclass(frozen=True, eq=False)
class Law:
    """error(n) = a·n^(-b) + c. a, b, c: one number each, or (B,) of so many fits."""

    a: Array
    b: Array
    c: Array

    def at(self, sizes: Array) -> Array:
        """(..., m) errors at (m,) numbers of tiles."""
        return np.asarray(self.a[..., None] * sizes ** -self.b[..., None] + self.c[..., None], np.float64)


@dataclass(frozen=True, eq=False)
class Outlook:
    """What the points say. fitted: (k,) which sizes the law is fitted to.

    laws: the best fit, then one a resample; None where the points do not determine one, and `why` says so.
    """

    state: State
    why: str
    fitted: NDArray[np.bool_]
    laws: tuple[Law, Law] | None

    def band(self, sizes: Array, share: float) -> tuple[Array, Array]:
        """(low, high), each (m,): the middle `share` of the resampled laws."""
        assert self.laws is not None
        low, high = np.quantile(self.laws[1].at(sizes), [(1 - share) / 2, (1 + share) / 2], axis=0)
        return low, high

    def predicted(self, tiles: int) -> list[dict[str, Any]]:
        """Errors at multiples of `tiles`, with bands of the error and of what is gained by then; [] without a law."""
        if self.laws is None:
            return []
        best, drawn = self.laws
        sizes = tiles * np.array([1, *FACTORS], np.float64)
        errors, many = best.at(sizes), drawn.at(sizes)
        found = []
        for place, factor in enumerate(FACTORS, start=1):
            entry: dict[str, Any] = {
                "factor": factor,
                "tiles": tiles * factor,
                "error": float(errors[place]),
                "gain": float(errors[0] - errors[place]),
            }
            for name, share in _BANDS.items():
                ends = [(1 - share) / 2, (1 + share) / 2]
                entry[f"error_{name}"] = np.quantile(many[:, place], ends).tolist()
                entry[f"gain_{name}"] = np.quantile(many[:, 0] - many[:, place], ends).tolist()
            found.append(entry)
        return found


def outlook(measured: Measured, seed: int = 0) -> Outlook:
    """Fit the law, and fit it again to resampled points. It is given only where points show that the error falls."""
    draws = _draws(measured, np.random.default_rng(seed))
    spread, mean = draws.std(axis=0), measured.mean
    # The law holds once something is learned: before, the error is that of a guess (Hestness et al., their figure 6).
    learned = mean < measured.chance - 2 * spread
    fitted = np.logical_or.accumulate(learned)
    if not fitted.any():
        why = f"at no size is the error ({mean[-1]:.3f} with most tiles) below that of guessing beyond noise"
        return Outlook("guessing", why, fitted, None)
    if mean[fitted].max() < 1e-9:
        return Outlook("perfect", "every test tile is called rightly already: nothing is left to gain", fitted, None)
    if fitted.sum() < LEAST_SIZES:
        why = f"{fitted.sum()} sizes lie above guessing; a curve of three unknowns takes {LEAST_SIZES} or more"
        return Outlook("few", why, fitted, None)
    sizes, mean, draws = measured.sizes[fitted], mean[fitted], draws[:, fitted]
    falls = _slopes(sizes, draws, spread[fitted]) < 0
    if falls.mean() < _SURE:
        return _not_falling(float(falls.mean()), mean, fitted)
    weights = 1 / _floored(spread[fitted]) ** 2
    best, drawn = _fit(sizes, mean[None], weights), _fit(sizes, draws, weights)
    return Outlook("falling", "", fitted, (Law(best.a[0], best.b[0], best.c[0]), drawn))


def _not_falling(share: float, mean: Array, fitted: NDArray[np.bool_]) -> Outlook:
    seen = f"from {mean[0]:.3f} with fewest tiles to {mean[-1]:.3f} with most"
    if share < 1 - _SURE:
        why = f"the error rises, {seen}: look for wrong labels, or cases unlike the others, before more are labelled"
        return Outlook("rising", why, fitted, None)
    return Outlook("flat", f"the error does not fall beyond noise, {seen}: where it leads cannot be said", fitted, None)


def _draws(measured: Measured, generator: np.random.Generator) -> Array:
    """(B, k) mean errors, had other cases been tested and other tiles been trained on.

    A few seeds are too few to draw among, and subsets of one pool overlap more the larger they are (at the full size
    they are the same). So the spread between seeds is taken relative to the error, pooled over sizes, with the share
    that overlap hides given back; and it is drawn from a normal of the covariance that nested subsets have.
    """
    tested = measured.resampled.mean(axis=2)
    seeds, sizes = measured.errors.shape[1], measured.sizes
    if seeds < 2:
        return np.asarray(tested, np.float64)
    share = sizes / sizes[-1]
    apart = share <= 0.7
    relative = measured.errors.std(axis=1, ddof=1) / np.maximum(measured.mean, 1e-9)
    spread = float(np.sqrt(np.mean(relative[apart] ** 2 / (1 - share[apart])))) if apart.any() else float(relative[0])
    # Two sizes of one seed share the smaller one; two seeds share what they happen to draw twice.
    smaller, larger = np.minimum.outer(sizes, sizes), np.maximum.outer(sizes, sizes)
    overlap = np.sqrt(np.outer(share, share))
    scale = spread * np.outer(measured.mean, measured.mean) ** 0.5
    covariance = scale**2 * (np.sqrt(smaller / larger) / seeds + (1 - 1 / seeds) * overlap)
    noise = generator.multivariate_normal(np.zeros(len(sizes)), covariance, len(tested), method="eigh")
    # The spread itself is known from few seeds: as in Student's t, each draw takes another one.
    freedom = (seeds - 1) * max(1, int(apart.sum()) // 2)
    noise *= np.sqrt(freedom / generator.chisquare(freedom, len(tested)))[:, None]
    return np.asarray(np.clip(tested + noise, 0, 1), np.float64)


def _floored(spread: Array) -> Array:
    """A point that happened to show no noise must not decide alone."""
    return np.maximum(spread, max(0.25 * float(np.median(spread)), 1e-4))


def _slopes(sizes: Array, draws: Array, spread: Array) -> Array:
    """(B,) weighted slope of the error by the logarithm of the size."""
    weights = 1 / _floored(spread) ** 2
    x = np.log(sizes)
    x = x - np.average(x, weights=weights)
    return np.asarray((draws * weights * x).sum(axis=1) / (weights * x**2).sum(), np.float64)


def _fit(sizes: Array, errors: Array, weights: Array) -> Law:
    """The law of least weighted squares for each row of (B, k) errors."""
    # In units of the largest size, so that a is an error and not a number of fifty digits.
    powers = (sizes / sizes[-1]) ** -_EXPONENTS[:, None]  # (exponents, k)
    p, pp, total = powers @ weights, powers**2 @ weights, weights.sum()
    e, pe = errors @ weights, errors @ (powers * weights).T  # (B,), (B, exponents)
    both_a = (pe * total - e[:, None] * p) / (pp * total - p**2)
    both_c = (e[:, None] - both_a * p) / total
    # Where either would be negative, it is 0 and the other takes all.
    a = np.where(both_a < 0, 0.0, np.where(both_c < 0, pe / pp, both_a))
    c = np.where(both_a < 0, (e / total)[:, None], np.where(both_c < 0, 0.0, both_c))
    cost = a**2 * pp + c**2 * total + 2 * a * c * p - 2 * a * pe - 2 * c * e[:, None]
    best = np.argmin(cost, axis=1)
    row = np.arange(len(errors))
    exponent = _EXPONENTS[best]
    return Law(np.maximum(a[row, best], 0) * sizes[-1] ** exponent, exponent, np.maximum(c[row, best], 0))
