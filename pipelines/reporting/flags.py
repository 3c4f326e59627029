"""What a person should look at on a slide; docs/quality.md says what the numbers mean and what they miss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# From which on a number is worth a look. Nothing is dropped for any of them.
_BLURRED_SHARE, _INK_SHARE, _FOLD_SHARE, _STEP_LEVELS = 0.1, 0.001, 0.005, 2.0
# Where no tissue was found, so much texture that is neither pen nor dust is worth a look: in mm², or, on a smaller
# slide, as a share of it.
_REMAINS_MM2, _REMAINS_SHARE = 0.15, 0.1


@dataclass(frozen=True)
class Flag:
    """A word for the table, a sentence for the card and for status.json."""

    word: str
    text: str


def flags_of(quality: Mapping[str, Any], info: Mapping[str, Any] | None = None) -> list[Flag]:
    """Flags of a slide by its quality.json and its slide.json; none where a number is not known."""
    found = [*_appearance_flags(quality), *_tissue_flags(quality), *_number_flags(quality)]
    found += [Flag("note", note) for note in quality.get("notes", ())]
    found += [Flag("file", note) for note in (info or {}).get("notes", ())]
    return found


def without_tissue(quality: Mapping[str, Any]) -> str:
    """Why no tissue was found on a slide, in one sentence."""
    left = [flag.text for flag in _tissue_flags(quality)]
    return f"{'; '.join(left) or 'no tissue found'}; see thumbnail.jpg"


def _appearance_flags(quality: Mapping[str, Any]) -> list[Flag]:
    appearance = quality.get("appearance", {})
    word = "H&E?" if appearance.get("kind") == "unknown" else "not H&E"
    return [Flag(word, appearance["text"])] if appearance.get("text") else []


def _tissue_flags(quality: Mapping[str, Any]) -> list[Flag]:
    """Where no tissue was found, what else there is."""
    if quality.get("tissue_area_mm2") != 0:
        return []
    remains, slide_mm2 = quality.get("remains_mm2"), quality.get("slide_area_mm2")
    dust, least_mm2 = quality.get("dust_mm2"), quality.get("min_area_mm2")
    found = []
    if remains is not None and remains >= min(_REMAINS_MM2, _REMAINS_SHARE * (slide_mm2 or 1)):
        found.append(Flag("not empty", f"no tissue found, but not empty: look ({remains:.2f} mm² has texture)"))
    if dust and least_mm2 is not None and dust >= least_mm2:
        text = f"no tissue found, but {dust:.3f} mm² in stained pieces below tissue.min_area_mm2 ({least_mm2:g})"
        found.append(Flag("small pieces", text))
    return found


def _number_flags(quality: Mapping[str, Any]) -> list[Flag]:
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
    return found
