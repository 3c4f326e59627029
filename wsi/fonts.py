"""Letters in pictures: a name in Chinese, Japanese or Korean needs a font that has them; not every machine has one."""

from __future__ import annotations

import logging
import unicodedata
from functools import cache

from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

_FAMILY = "DejaVu Sans"  # comes with matplotlib
# Of these every glyph is a box, or a sign that Unicode does not know.
_NO_LETTERS = ("Last Resort", "STIXNonUnicode")

_log = logging.getLogger(__name__)
_said: set[str] = set()


def spelled(text: str) -> str:
    r"""The text as it can be drawn here: a letter that no font of this machine has is written as \u764c, and said."""
    missing = {letter for letter in _foreign(text) if _family_of(letter) is None}
    _say(missing - _said)
    return "".join(_escaped(letter) if letter in missing else letter for letter in text)


def is_wide(text: str) -> bool:
    """Whether it has letters as wide as they are high, as Chinese has."""
    return any(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def fit_fonts(figure: Figure) -> None:
    """Give all texts of a figure fonts that have their letters, and spell what none has. Call it before drawing."""
    axes = [axis for each in figure.axes if each.axison for axis in (each.xaxis, each.yaxis)]
    labels = {axis: [label.get_text() for label in axis.get_majorticklabels()] for axis in axes}
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    letters = _foreign(
        "".join([*(text.get_text() for text in texts), *(word for all_ in labels.values() for word in all_)])
    )
    if not letters:
        return
    families = [_FAMILY, *sorted({family for letter in letters if (family := _family_of(letter))})]
    for axis, words in labels.items():  # their texts are made anew for drawing
        axis.set_tick_params(labelfontfamily=families)
        if _foreign("".join(words)):
            axis.set_ticks(axis.get_majorticklocs(), [spelled(word) for word in words])
    for text in texts:
        text.set_text(spelled(text.get_text()))
        text.set_fontfamily(families)


def _foreign(text: str) -> frozenset[str]:
    """The letters that the usual font lacks."""
    known = _letters_of(findfont(_FAMILY))
    return frozenset(letter for letter in text if letter.isprintable() and ord(letter) not in known)


@cache
def _family_of(letter: str) -> str | None:
    """The family of a font that has this letter, fonts made for many scripts first; None where there is none."""
    for entry in sorted(fontManager.ttflist, key=lambda entry: ("CJK" not in entry.name, entry.name, entry.fname)):
        usable = entry.style == "normal" and not entry.name.startswith(_NO_LETTERS)
        if usable and ord(letter) in _letters_of(entry.fname):
            return str(entry.name)
    return None


def _say(letters: set[str]) -> None:
    """Tell a person, once of each letter."""
    if letters:
        _said.update(letters)
        _log.warning(
            "no font on this machine has %s; pictures show %s; install one that does, such as fonts-noto-cjk",
            " ".join(sorted(letters)),
            " ".join(map(_escaped, sorted(letters))),
        )


@cache
def _letters_of(path: str) -> frozenset[int]:
    """The code points that a font file has; none where it cannot be read or drawn at any size."""
    try:
        font = FT2Font(path)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError):
        return frozenset()


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
