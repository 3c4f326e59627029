"""Figures of probabilities: what classification_metrics has of predictions, and areas under curves, losses, ECE."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import average_precision_score, roc_auc_score

from models.evaluation import weighted
from models.evaluation.calibration import BINS, reliability
from models.evaluation.intervals import Interval, interval, resampled
from models.evaluation.scored import Scored
from models.metrics import classification_metrics

_WHOLE = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc", "log_loss", "brier")
_PER_CLASS = ("precision", "recall", "f1", "auc")


def figures(scored: Scored, temperature: float) -> dict[str, Any]:
    """Everything `classification_metrics` gives, and AUC, average precision, log loss, Brier score, calibration.

    Probabilities are taken at `temperature`. AUC and average precision are of one class against the rest: None, with
    a note, where either is absent, as are the shares of an absent class. brier: mean over tiles of the squared
    differences summed over classes, 0 to 2.
    """
    probabilities = scored.probabilities(temperature)
    found = classification_metrics(scored.labels, scored.predicted, scored.classes)
    notes = []
    for i, name in enumerate(scored.classes):
        positive = scored.labels == i
        entry = found["per_class"][name]
        if positive.any() and not positive.all():
            entry["auc"] = float(roc_auc_score(positive, probabilities[:, i]))
            entry["average_precision"] = float(average_precision_score(positive, probabilities[:, i]))
        else:
            entry["auc"] = entry["average_precision"] = None
            notes.append(f"class {name}: no AUC, since {'all' if positive.all() else 'none'} of the tiles are of it")
    areas = [entry["auc"] for entry in found["per_class"].values() if entry["auc"] is not None]
    counts = np.array(found["confusion"], np.float64)
    return {
        **found,
        "macro_auc": float(np.mean(areas)) if areas else None,
        "log_loss": float(_losses(scored, temperature).mean()),
        "brier": float(_squares(probabilities, scored.labels).mean()),
        "confusion_share": [(row / row.sum()).tolist() if row.any() else [None] * len(row) for row in counts],
        "calibration": _calibration(scored, temperature),
        "notes": notes,
    }


def intervals(scored: Scored, temperature: float, *, repeats: int, seed: int) -> dict[str, Any]:
    """95 % intervals, (low, high) or None, of the figures; `per_class` holds those of each class."""
    probabilities = scored.probabilities(temperature)
    labels, predicted, count = scored.labels, scored.predicted, len(scored.classes)
    losses = _losses(scored, temperature)
    squares = _squares(probabilities, labels)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        table = weighted.confusions(weights, labels, predicted, count)
        areas = np.stack([weighted.auc(weights, labels == i, probabilities[:, i]) for i in range(count)], axis=1)
        f1 = weighted.f1(table)
        whole = (
            weighted.accuracy(table),
            weighted.balanced_accuracy(table),
            weighted.present_mean(f1),
            weighted.present_mean(areas),
            weighted.mean(weights, losses),
            weighted.mean(weights, squares),
        )
        per_class = (weighted.precision(table), weighted.recall(table), f1, areas)
        return np.concatenate([np.stack(whole, axis=1), *per_class], axis=1)

    values = resampled(scored.units, statistic, repeats=repeats, seed=seed)
    found: list[Interval | None] = [interval(column, scored.units) for column in values.T]
    whole, rest = found[: len(_WHOLE)], found[len(_WHOLE) :]
    per_class = {
        name: {figure: rest[k * count + i] if np.any(labels == i) else None for k, figure in enumerate(_PER_CLASS)}
        for i, name in enumerate(scored.classes)
    }
    return {**dict(zip(_WHOLE, whole, strict=True)), "per_class": per_class}


def _losses(scored: Scored, temperature: float) -> NDArray[np.float64]:
    """(n,) -log of the probability of the true class: of logits, since a probability may be too small to be held."""
    logs = log_softmax(scored.logits.astype(np.float64) / temperature, axis=1)
    return np.asarray(-logs[np.arange(len(scored)), scored.labels], np.float64)


def _squares(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) squared differences between probabilities and truth, summed over classes."""
    truth = np.eye(probabilities.shape[1])[labels]
    return np.asarray(((probabilities - truth) ** 2).sum(axis=1), np.float64)


def _calibration(scored: Scored, temperature: float) -> dict[str, Any]:
    before = reliability(scored.probabilities(1.0), scored.labels)
    after = reliability(scored.probabilities(temperature), scored.labels)
    return {
        "temperature": temperature,
        "bins": BINS,
        "ece_before": before.ece,
        "ece_after": after.ece,
        "before": before.to_json(),
        "after": after.to_json(),
    }
