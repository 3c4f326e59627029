"""From tiles to slides: what was found on each, and what its tiles say together, against the label of the slide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from models.evaluation.scored import Scored
from wsi.errors import InputError

Probabilities = NDArray[np.floating]


def tiles_by_slide(scored: Scored, slides: Sequence[str]) -> list[dict[str, Any]]:
    """The confusion table of each slide's labelled tiles, and of each class there the share that was found.

    slides: (n,) the slide of every tile. A model may do well on all tiles together and miss every tumour of a slide.
    """
    names = np.array(slides)
    rows = []
    for slide in sorted(set(slides)):
        of = names == slide
        counts = confusion_matrix(scored.labels[of], scored.predicted[of], labels=range(len(scored.classes)))
        there = counts.sum(axis=1)
        rows.append(
            {
                "slide": slide,
                "tiles": int(of.sum()),
                "accuracy": float(np.trace(counts) / counts.sum()),
                "confusion": counts.tolist(),
                "recall": {
                    name: float(counts[i, i] / there[i]) if there[i] else None for i, name in enumerate(scored.classes)
                },
            }
        )
    return rows


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
