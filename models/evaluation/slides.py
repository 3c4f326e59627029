"""From tiles to slides: what all tiles of a slide say together, against the label of the slide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from wsi.errors import InputError

Probabilities = NDArray[np.floating]


def slide_table(
    scores: Mapping[str, Probabilities],
    labels: Mapping[str, str],
    classes: Sequence[str],
    *,
    finding: str | None = None,
    min_share: float = 0.1,
) -> dict[str, Any]:
    """Each labelled slide by `majority` of its tiles, by `mean` probability and, with `finding`, by `share`.

    scores: slide → (n, classes) probabilities of its tiles; labels: slide → class. share: the slide is of class
    `finding` where `min_share` of its tiles or more are, else by majority of its other tiles: a small tumour is a
    tumour. Slides without label or tiles are listed, not counted. Raises InputError for unknown classes.
    """
    unknown = sorted({name for name in (*labels.values(), *filter(None, [finding])) if name not in classes})
    if unknown:
        raise InputError(f"slides are labelled {unknown}, but the classes are {list(classes)}")
    rules: dict[str, Callable[[Probabilities], int]] = {"majority": _majority, "mean": _mean}
    if finding is not None:
        place = list(classes).index(finding)
        rules["share"] = lambda tiles: _share(tiles, place, min_share)
    used = [name for name in sorted(scores) if name in labels and len(scores[name])]
    if not used:
        raise InputError(f"none of {len(scores)} slides has both tiles and a label; fill in the sheet's column label")
    rows = [_row(name, scores[name], labels[name], classes, rules) for name in used]
    return {
        "slides": rows,
        "left_out": sorted(set(scores) - set(used)),
        "classes": list(classes),
        "rules": {rule: _agreement(rows, rule, classes) for rule in rules},
    }


def _row(
    name: str,
    tiles: Probabilities,
    truth: str,
    classes: Sequence[str],
    rules: Mapping[str, Callable[[Probabilities], int]],
) -> dict[str, Any]:
    shares = _shares(tiles)
    return {
        "slide": name,
        "truth": truth,
        "tiles": len(tiles),
        "shares": {c: float(shares[i]) for i, c in enumerate(classes)},
        "predicted": {rule: classes[decide(tiles)] for rule, decide in rules.items()},
    }


def _agreement(rows: Sequence[dict[str, Any]], rule: str, classes: Sequence[str]) -> dict[str, Any]:
    truth, called = [row["truth"] for row in rows], [row["predicted"][rule] for row in rows]
    return {
        "accuracy": float(np.mean([a == b for a, b in zip(truth, called, strict=True)])),
        "confusion": confusion_matrix(truth, called, labels=list(classes)).tolist(),
    }


def _shares(tiles: Probabilities) -> NDArray[np.float64]:
    """(classes,) share of tiles whose most probable class is each."""
    return np.bincount(tiles.argmax(axis=1), minlength=tiles.shape[1]) / len(tiles)


def _majority(tiles: Probabilities) -> int:
    return int(_shares(tiles).argmax())


def _mean(tiles: Probabilities) -> int:
    return int(tiles.mean(axis=0).argmax())


def _share(tiles: Probabilities, finding: int, least: float) -> int:
    shares = _shares(tiles)
    if shares[finding] >= least:
        return finding
    shares[finding] = -1.0
    return int(shares.argmax())
