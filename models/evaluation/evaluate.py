"""All that can be said of a model on tiles of known class, as plain values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.evaluation.baselines import Baseline
from models.evaluation.cautions import cautions
from models.evaluation.comparing import balanced, fall
from models.evaluation.figures import figures, intervals
from models.evaluation.intervals import REPEATS, without_spread
from models.evaluation.robustness import Changed
from models.evaluation.scored import Scored
from models.evaluation.thresholds import RULES, choose_threshold, threshold_table


def evaluate(
    scored: Scored,
    *,
    temperature: float = 1.0,
    thresholds: Mapping[str, float] | None = None,
    baselines: Sequence[Baseline] = (),
    changed: Sequence[Changed] = (),
    validation: float | None = None,
    repeats: int = REPEATS,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures with 95 % intervals, calibration, thresholds, baselines, robustness, warnings.

    temperature, thresholds (by class): fitted elsewhere, on validation tiles; None where there are none. baselines:
    what simple rules say of the same tiles. changed: what the model says of changed pictures of them. validation: the
    model's balanced accuracy there, None where it is not known. The same input and seed give the same result.
    """
    units = scored.units
    found = figures(scored, temperature)
    found["units"] = {"kind": units.kind, "count": units.count, "resamples": repeats, "level": 0.95}
    found["intervals"] = intervals(scored, temperature, repeats=repeats, seed=seed)
    found["notes"] += without_spread(found["intervals"], units)
    found["thresholds"] = _thresholds(scored, temperature, thresholds or {})
    found["baselines"] = [_beside(scored, entry, repeats, seed) for entry in baselines]
    found["robustness"] = [_under(scored, entry, repeats, seed) for entry in changed]
    first = [units.caution] if units.caution else []
    found["warnings"] = [*found["warnings"], *cautions(found, validation), *first]
    return found


def _thresholds(scored: Scored, temperature: float, own: Mapping[str, float]) -> dict[str, Any]:
    """Class → what its own threshold does (None: it has none), what each rule would choose here, and the table."""
    probabilities = scored.probabilities(temperature)
    found = {}
    for i, name in enumerate(scored.classes):
        positive = scored.labels == i
        chosen = [(rule, choose_threshold(probabilities[:, i], positive, rule)) for rule in RULES]
        given = threshold_table(probabilities[:, i], positive, [own[name]])[0].to_json() if name in own else None
        found[name] = {
            "own": given,
            "chosen_here": [
                {"by": rule.by, "rule": rule.text, **row.to_json()} for rule, row in chosen if row is not None
            ],
            "table": [row.to_json() for row in threshold_table(probabilities[:, i], positive)],
        }
    return found


def _beside(scored: Scored, baseline: Baseline, repeats: int, seed: int) -> dict[str, Any]:
    margin, limits = fall(scored, scored.predicted, baseline.predicted, repeats=repeats, seed=seed)
    return {
        "name": baseline.name,
        "how": baseline.how,
        "accuracy": float(np.mean(baseline.predicted == scored.labels)),
        "balanced_accuracy": balanced(scored, baseline.predicted),
        "margin": margin,
        "margin_interval": limits,
        "beaten": limits[0] > 0 if limits is not None else margin > 0,
    }


def _under(scored: Scored, changed: Changed, repeats: int, seed: int) -> dict[str, Any]:
    part = scored.part(changed.indices)
    drop, limits = fall(part, part.predicted, changed.predicted, repeats=repeats, seed=seed)
    return {
        "name": changed.name,
        "tiles": len(part),
        "balanced_accuracy": balanced(part, changed.predicted),
        "drop": drop,
        "drop_interval": limits,
    }
