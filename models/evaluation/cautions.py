"""What a person should hear before believing a figure: one sentence each, with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BAD_ECE = 0.1
FAR_BELOW = 0.1  # a drop of balanced accuracy, from validation to test or under a change of the picture


def cautions(found: dict[str, Any], validation: float | None) -> list[str]:
    """Beyond `label_warnings`: baselines as good as the model, poor calibration, a fall from validation, fragility.

    found: what `evaluate` has so far. validation: balanced accuracy there, None where it is not known.
    """
    said = [_baseline(entry, found) for entry in found["baselines"] if not entry["beaten"]]
    ece, temperature = found["calibration"]["ece_after"], found["calibration"]["temperature"]
    if ece > BAD_ECE:
        said.append(
            f"probabilities are off by {ece:.2f} on average (ECE at temperature {temperature:.2f}): "
            "do not read them as probabilities"
        )
    balanced = found["balanced_accuracy"]
    if validation is not None and balanced < validation - FAR_BELOW:
        said.append(
            f"balanced accuracy {balanced:.3f}, far below validation's {validation:.3f}: "
            "these tiles differ from those trained on (cases, stain, scanner), or validation flattered"
        )
    return said + _fragile(found["robustness"])


def _baseline(entry: dict[str, Any], found: dict[str, Any]) -> str:
    limits = entry["margin_interval"]
    between = f"95 % interval {limits[0]:+.3f} to {limits[1]:+.3f}" if limits else "interval unknown"
    how = "better" if limits and limits[1] < 0 else "as well"
    return (
        f"{entry['name']} does {how}: balanced accuracy {entry['balanced_accuracy']:.3f} against the model's "
        f"{found['balanced_accuracy']:.3f} (margin {entry['margin']:+.3f}, {between})"
    )


def _fragile(changes: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"fragile: with {entry['name']}, balanced accuracy falls by {entry['drop']:.3f} to "
        f"{entry['balanced_accuracy']:.3f}"
        for entry in changes
        if entry["drop"] > FAR_BELOW
    ]
