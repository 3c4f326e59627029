"""Cross-validation: a model a fold, and what all of them together say of tiles that they were not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax

from models.data import TileSet
from models.evaluation import Scored, evaluate
from models.evaluation.plots import plot_all
from models.progress import ConsoleReporter, Reporter
from models.splits import Split
from models.training.settings import TrainSettings
from models.training.train import Trained, train
from wsi.atomic import write_json
from wsi.errors import InputError

_FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")


def train_folds(
    settings: TrainSettings, tiles: TileSet, splits: Sequence[Split], out: Path, *, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Train and test each split in `out`/fold-<n>; write folds.json and plots/ of all tested tiles together.

    folds.json: figures of each fold, their mean and standard deviation, and `pooled`: every tested tile once, each
    scored by the model that was not trained on it. Raises InputError where a split tests nothing.
    """
    if any(len(split.test) == 0 for split in splits):
        raise InputError("a fold without test tiles measures nothing; give splits that have a test part")
    reporter = reporter or ConsoleReporter()
    found = []
    for number, split in enumerate(splits, start=1):
        reporter.said(f"{split.name}: {len(split.train)} tiles to train on, {len(split.test)} to test")
        found.append(train(settings, tiles, None, out / f"fold-{number}", parts=split, reporter=reporter))
    pooled = _pooled(found)
    figures = evaluate(pooled)
    folds = [_of(split, one) for split, one in zip(splits, found, strict=True)]
    result = {"folds": folds, **_spread(folds), "pooled": figures}
    write_json(out / "folds.json", result)
    plot_all(out / "plots", pooled, figures)
    reporter.warned(figures["warnings"])
    reporter.said(f"{out / 'folds.json'}: balanced accuracy {_told(result)} over {len(folds)} folds")
    return result


def _of(split: Split, trained: Trained) -> dict[str, Any]:
    test = trained.verdict.test or {}
    return {
        "name": split.name,
        "weights_sha256": trained.checkpoint.weights_sha256,
        "model_digest": trained.checkpoint.digest,
        "split": split.how,
        "notes": list(split.notes),
        "test_tiles": test.get("tiles"),
        "classes_present": test.get("classes_present"),
        **{name: test.get(name) for name in _FIGURES},
    }


def _spread(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over folds of each figure; None where a fold has none."""
    values = {name: [fold[name] for fold in folds] for name in _FIGURES}
    known = {name: None not in column for name, column in values.items()}
    return {
        "mean": {name: float(np.mean(column)) if known[name] else None for name, column in values.items()},
        "sd": {name: float(np.std(column, ddof=1)) if known[name] else None for name, column in values.items()},
    }


def _told(result: dict[str, Any]) -> str:
    mean, sd = (result[name]["balanced_accuracy"] for name in ("mean", "sd"))
    return "unknown" if mean is None else f"{mean:.4f} ± {sd:.4f}"


def _pooled(found: Sequence[Trained]) -> Scored:
    """Each fold's logits at its own temperature, as log probabilities: models of different folds differ in scale."""
    shown = [one.verdict.shown for one in found]
    logits = [log_softmax(one.verdict.shown.logits / one.verdict.temperature, axis=1) for one in found]
    groups = [each.groups for each in shown]
    return Scored(
        shown[0].classes,
        np.concatenate(logits),
        np.concatenate([each.labels for each in shown]),
        None if any(one is None for one in groups) else tuple(name for one in groups for name in one or ()),
        shown[0].group_kind,
    )
