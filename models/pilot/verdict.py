"""What the figures of a pilot mean, in words that a person can weigh: never a bare yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from models.evaluation.scored import FEW_UNITS
from models.pilot.run import Curve, Pilot

Speaks = Literal["for", "against", "open"]
Grade = Literal["nothing", "little", "probably", "good"]
_LARGE = 0.02  # of all tiles: so many contested labels are worth a second look before anything else
_SENTENCES: dict[Grade, str] = {
    "nothing": "These tiles do not show clearly that the task can be learned from them.",
    "little": "Something is learned, but the tiles do not show that it is more than colour, or that it holds for "
    "every class.",
    "probably": "Probably learnable, with the reservations below.",
    "good": "It looks learnable, as far as these tiles can tell.",
}


@dataclass(frozen=True)
class Reason:
    """A question, what was found, and for which side it speaks."""

    question: str
    finding: str
    speaks: Speaks


@dataclass(frozen=True)
class Verdict:
    """How far the task looks learnable, in a sentence, and why."""

    grade: Grade
    sentence: str
    reasons: tuple[Reason, ...]


def verdict(pilot: Pilot) -> Verdict:
    """Of the reader that ends lowest."""
    best = pilot.best
    above, colour, hardest = _above_chance(pilot, best), _beats_colour(pilot, best), _hardest_class(pilot, best)
    cases = _cases(pilot)
    reasons = (above, colour, _still_falling(best), _seeds(pilot, best), cases, hardest, _labels(pilot))
    if above.speaks != "for":
        grade: Grade = "nothing"
    elif colour.speaks != "for" or hardest.speaks == "against":
        grade = "little"
    elif any(reason.speaks != "for" for reason in (cases, hardest)) or any(r.speaks == "against" for r in reasons):
        grade = "probably"
    else:
        grade = "good"
    return Verdict(grade, _SENTENCES[grade], reasons)


def limits(values: NDArray[np.float64], share: float = 0.95) -> tuple[float, float]:
    """The middle `share` of resampled figures, without those that have none."""
    low, high = np.nanquantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def cautions(pilot: Pilot) -> list[str]:
    """What makes every figure of the page too good, or rougher than it looks: said before anything else."""
    units, said = pilot.design.units, []
    if units.kind == "tile":
        said.append(
            "No case ids: tiles of one patient are trained on and tested on. Every figure here is optimistic and every "
            "interval too narrow; give a cases.csv or train.case_pattern before deciding anything by them."
        )
    elif units.kind == "slide":
        said.append(
            "No case ids, only slides: where a patient has several, the figures are optimistic and the intervals too "
            "narrow."
        )
    elif units.kind == "stain group":
        said.append(
            "No case ids: tiles of like stain are kept together, a guess at patients. Figures and intervals are "
            "nearer to the truth than by tile, and are not it."
        )
    if units.kind != "tile" and units.count < FEW_UNITS:
        said.append(
            f"Only {units.count} {units.kind}s are tested: all of this is optimistic, since so few hardly show how "
            "patients differ, and the intervals are rough."
        )
    return said


def _above_chance(pilot: Pilot, best: Curve) -> Reason:
    low, high = limits(best.errors_resampled)
    chance = best.measured.chance
    # Few cases may happen to agree, so by Student's t, with a spread no less than that of as many independent tiles;
    # and at 99 %, since all else rests on it.
    found, counts = best.recalls[:, -1].mean(axis=-1), _tested_of_class(pilot)
    of_tiles = float(np.sqrt(np.sum(found * (1 - found) / counts)) / len(counts))
    spread, freedom = float(np.nanstd(best.errors_resampled)), max(1, pilot.design.units.count - 1)
    away = (chance - best.error) / max(spread, of_tiles, 1e-9)
    sure, likely = (away > float(t.ppf(level, freedom)) for level in (0.995, 0.975))
    finding = f"error {best.error:.3f} (95 % interval {low:.3f} to {high:.3f}); guessing has {chance:.3f}"
    speaks: Speaks = "for" if sure else "open" if likely else "against"
    return Reason("Is it better than guessing, beyond noise?", finding, speaks)


def _tested_of_class(pilot: Pilot) -> NDArray[np.int64]:
    """(classes,) tiles."""
    return np.bincount(pilot.tiles.labels[pilot.design.tested], minlength=len(pilot.tiles.classes))


def _beats_colour(pilot: Pilot, best: Curve) -> Reason:
    colour = pilot.colours[0]
    low, high = limits(colour.resampled - best.errors_resampled)
    margin = colour.error - best.error
    finding = (
        f"{colour.name} has error {colour.error:.3f}: margin {margin:+.3f} (95 % interval {low:+.3f} to {high:+.3f})"
    )
    if low <= 0:
        finding += "; what is learned may be the stain or the scanner"
    return Reason("Is it more than mean colour?", finding, "for" if low > 0 else "open" if high > 0 else "against")


def _still_falling(best: Curve) -> Reason:
    question, outlook = "Is the error still falling?", best.outlook
    if outlook.laws is None:
        speaks: Speaks = "for" if outlook.state == "perfect" else "against" if outlook.state == "rising" else "open"
        return Reason(question, outlook.why, speaks)
    mean = best.measured.mean
    size = (
        f"from {mean[0]:.3f} at {best.measured.sizes[0]:.0f} tiles to {mean[-1]:.3f} at {best.measured.sizes[-1]:.0f}"
    )
    floor = f"best fit: exponent {float(outlook.laws[0].b):.2f}, floor {float(outlook.laws[0].c):.3f}"
    return Reason(question, f"yes, {size} ({floor})", "for")


def _seeds(pilot: Pilot, best: Curve) -> Reason:
    question = "Do the seeds agree?"
    if pilot.design.seeds < 2 or len(best.measured.sizes) < 2:
        return Reason(question, "one seed or one size only: not known", "open")
    # At the full size all seeds train on the same tiles; the size before it is where they can differ.
    spread = float(best.measured.errors[-2].std(ddof=1))
    learned = max(best.measured.chance - float(best.measured.mean[-2]), 1e-9)
    finding = f"standard deviation {spread:.3f} over {pilot.design.seeds} at {best.measured.sizes[-2]:.0f} tiles"
    return Reason(
        question, finding, "for" if spread < 0.1 * learned else "open" if spread < 0.3 * learned else "against"
    )


def _cases(pilot: Pilot) -> Reason:
    units, question = pilot.design.units, "How many cases is that?"
    if units.kind == "tile":
        return Reason(question, "not known: no case ids", "against")
    finding = f"{units.count} {units.kind}s tested, up to {int(pilot.design.units_at[-1])} trained on"
    return Reason(question, finding, "for" if units.kind == "case" and units.count >= FEW_UNITS else "open")


def _hardest_class(pilot: Pilot, best: Curve) -> Reason:
    found = best.recalls[:, -1].mean(axis=-1)
    worst = int(np.argmin(found))
    low, high = limits(best.resampled[:, worst, -1].mean(axis=-1))
    chance = 1 / len(found)
    name = pilot.tiles.classes[worst]
    finding = f"{name}: recall {found[worst]:.3f} (95 % interval {low:.3f} to {high:.3f}); a guess finds {chance:.3f}"
    return Reason("Which class is hardest?", finding, "for" if low > chance else "open" if high > chance else "against")


def _labels(pilot: Pilot) -> Reason:
    count, share = len(pilot.suspects), len(pilot.suspects) / len(pilot.tiles)
    finding = f"{count} of {len(pilot.tiles)} labels ({share:.1%}) are contested by readers that saw none of their case"
    if pilot.design.units.kind == "tile":
        finding = finding.replace("none of their case", "other tiles")
    return Reason("Are labels likely to be wrong?", finding, "for" if share <= _LARGE else "open")
