"""A pilot as plain values that JSON holds, with its sentences."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.evaluation.intervals import REPEATS
from models.pilot.noise import Array
from models.pilot.run import Curve, Pilot
from models.pilot.suspects import Suspect
from models.pilot.verdict import cautions, limits, verdict

_CLOSE = 0.1  # of the error: a law this near to a point fits it
_MULTIPLES = {2: "doubling to", 4: "four times as many,", 10: "ten times as many,"}
ASSUMES = (
    "The extrapolation assumes that new tiles are like these: the same sites, scanners and stains, the same mix of "
    "cases and classes, labelled by the same rule, learned in the same way. New sites, other labels or another "
    "network make another curve. Bands hold the uncertainty of the fit, of the tested cases and of the draw of "
    "training tiles; not that the law itself may bend."
)


def summary(pilot: Pilot) -> dict[str, Any]:
    """Everything the page shows; `cautions` are to be read first."""
    judged, tried, tiles = verdict(pilot), pilot.design, pilot.tiles
    counts = np.bincount(tiles.labels, minlength=len(tiles.classes)).tolist()
    return {
        "cautions": cautions(pilot),
        "verdict": {
            "grade": judged.grade,
            "sentence": judged.sentence,
            "by": pilot.best.name,
            "reasons": [{"question": r.question, "finding": r.finding, "speaks": r.speaks} for r in judged.reasons],
        },
        "data": {
            "tiles": len(tiles),
            "classes": dict(zip(tiles.classes, counts, strict=True)),
            "largest_class_share": max(counts) / len(tiles),
            "fingerprint": tiles.fingerprint(),
            "groups": None if tiles.groups is None else len(set(tiles.groups)),
            "group_kind": tiles.group_kind,
        },
        "design": {
            "tested": tried.how,
            "folds": len(tried.folds),
            "test_tiles": len(tried.tested),
            "units": {"kind": tried.kind, "count": tried.units.count},
            "sizes": tried.sizes.tolist(),
            "units_at": tried.units_at.tolist(),
            "seeds": tried.seeds,
            "resamples": REPEATS,
            "notes": list(pilot.notes),
        },
        "curves": [_curve(curve, pilot) for curve in pilot.curves],
        "colours": [
            {"name": one.name, "error": one.error, "interval": list(limits(one.resampled))} for one in pilot.colours
        ],
        "suspects": [_suspect(one, pilot) for one in pilot.suspects],
        "assumes": ASSUMES,
    }


def _curve(curve: Curve, pilot: Pilot) -> dict[str, Any]:
    outlook, measured = curve.outlook, curve.measured
    law = outlook.laws
    predicted = outlook.predicted(round(float(measured.sizes[-1])))
    return {
        "name": curve.name,
        "errors": measured.errors.tolist(),
        "error": curve.error,
        "interval": list(limits(curve.errors_resampled)),
        "chance": measured.chance,
        "state": outlook.state,
        "why": outlook.why,
        "fitted_sizes": measured.sizes[outlook.fitted].tolist(),
        "law": None if law is None else {name: float(getattr(law[0], name)) for name in "abc"},
        "law_95": None if law is None else {name: list(limits(getattr(law[1], name))) for name in "abc"},
        "predicted": predicted,
        "sentences": [_sentence(entry, curve) for entry in predicted] or [outlook.why],
        "misfit": _misfit(curve),
        "classes": {
            name: {"recall": float(row.mean()), "interval": list(limits(again))}
            for name, row, again in zip(pilot.tiles.classes, curve.recalls[:, -1], _by_class(curve), strict=True)
        },
    }


def _misfit(curve: Curve) -> str | None:
    """What to say where the law misses the last point by more than the seeds differ; None where it does not."""
    law, mean, sizes = curve.outlook.laws, curve.measured.mean, curve.measured.sizes
    if law is None:
        return None
    fitted = float(law[0].at(sizes[-1:])[0])
    spread = float(curve.measured.errors[-2:].std(axis=1).max())
    if abs(fitted - mean[-1]) <= max(spread, _CLOSE * mean[-1]):
        return None
    return (
        f"the law has error {fitted:.3f} where {mean[-1]:.3f} was measured with most tiles: "
        "the points bend away from it, and the bands are too sure"
    )


def _by_class(curve: Curve) -> Array:
    """(classes, B) recalls with most tiles."""
    return np.asarray(curve.resampled[:, :, -1].mean(axis=-1).T, np.float64)


def _sentence(entry: dict[str, Any], curve: Curve) -> str:
    """What so many times the tiles would probably bring; from the error that the law has now, as measured or nearly."""
    low, high = entry["error_95"]
    least, most = entry["gain_95"]
    start = f"{_MULTIPLES[entry['factor']]} {entry['tiles']:,} tiles"
    said = (
        f"{start}: error {entry['error'] + entry['gain']:.3f} → {entry['error']:.3f} (95 %: {low:.3f} to {high:.3f}; "
        f"gained: {least:.3f} to {most:.3f})"
    )
    if high - low > curve.error:
        said += "; the band is as wide as the error itself, so this hardly says anything"
    return said[0].upper() + said[1:]


def _suspect(one: Suspect, pilot: Pilot) -> dict[str, Any]:
    names = pilot.tiles.classes
    return {
        "tile": pilot.tiles.keys[one.index],
        "labelled": names[one.labelled],
        "called": names[one.called],
        "probability_of_label": one.of_label,
        "probability_of_called": one.of_called,
    }
