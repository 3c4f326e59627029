"""What of quality.json a person should look at; docs/quality.md says what the numbers mean and what they miss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# From which on a number is worth a look. Nothing is dropped for any of them.
_BLURRED_SHARE, _INK_SHARE, _FOLD_SHARE, _STEP_LEVELS = 0.1, 0.001, 0.005, 2.0


@dataclass(frozen=True)
class Flag:
    """A word for the table, a sentence for the card."""

    word: str
    text: str


def flags_of(quality: dict[str, Any]) -> list[Flag]:
    """Flags of a slide; none where a number is not known."""
    blurred, ink = quality.get("out_of_focus_share"), quality.get("ink_fraction")
    folds, bubbles = quality.get("fold_hint_share"), quality.get("bubble_hint_count")
    steps = quality.get("background_step_levels")
    found = []
    if blurred is not None and blurred >= _BLURRED_SHARE:
        found.append(Flag("focus", f"{blurred:.0%} of the squares looked at are out of focus"))
    if ink is not None and ink >= _INK_SHARE:
        found.append(Flag("pen", f"pen on {ink:.1%} of the slide"))
    if folds is not None and folds > _FOLD_SHARE:
        found.append(Flag("folds", f"looks folded: {folds:.1%} of the tissue"))
    if bubbles:
        found.append(Flag("bubbles", f"looks like {bubbles} air bubble{'s' if bubbles > 1 else ''}"))
    if steps is not None and steps >= _STEP_LEVELS:
        found.append(Flag("steps", f"steps of {steps:.0f} grey levels between the scanner’s fields"))
    found += [Flag("note", note) for note in quality.get("notes", ())]
    return found
