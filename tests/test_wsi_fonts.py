"""Class names in any script: with a font that has their letters, else spelled, and never a row of boxes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from PIL import Image

from models.plots import plot_confusion
from wsi import fonts

CANCER, STROMA = "癌細胞", "간질"
# A sign that DejaVu Sans lacks and STIX has; both come with matplotlib.
RARE = "\u20e5"


@pytest.fixture
def only_bundled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with no fonts but those of matplotlib."""
    bundled = [entry for entry in fontManager.ttflist if "mpl-data" in entry.fname]
    monkeypatch.setattr(fontManager, "ttflist", bundled)
    fonts._family_of.cache_clear()
    monkeypatch.setattr(fonts, "_said", set())
    yield
    fonts._family_of.cache_clear()


def test_latin_and_greek_names_are_as_they_were() -> None:
    figure = Figure()
    text = figure.text(0, 0, "Tumour µm² αβ – ä")
    before = text.get_fontfamily()
    fonts.fit_fonts(figure)
    assert (text.get_text(), text.get_fontfamily()) == ("Tumour µm² αβ – ä", before)


@pytest.mark.usefixtures("only_bundled")
def test_letters_that_no_font_has_are_spelled_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert fonts.spelled("癌 A") == "\\u764c A"
        assert fonts.spelled("癌 B") == "\\u764c B"
    (record,) = caplog.records
    assert "no font on this machine has 癌; pictures show \\u764c" in record.getMessage()


@pytest.mark.usefixtures("only_bundled")
def test_letters_of_another_font_are_drawn_with_it() -> None:
    figure = Figure()
    text = figure.text(0, 0, f"A{RARE}")
    fonts.fit_fonts(figure)
    assert text.get_text() == f"A{RARE}"
    assert len(text.get_fontfamily()) == 2


@pytest.mark.usefixtures("only_bundled")
def test_a_plot_of_such_classes_has_no_boxes_and_no_warning_of_glyphs(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion(tmp_path / "a.png", [[3, 1], [0, 2]], [CANCER, STROMA], f"{CANCER} {STROMA}")
        names = [fonts.spelled(name) for name in (CANCER, STROMA)]
        plot_confusion(tmp_path / "b.png", [[3, 1], [0, 2]], names, " ".join(names))
    first, second = (np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png"))
    assert np.array_equal(first, second)
    assert names[0] == "\\u764c\\u7d30\\u80de"


def test_wide_letters_are_known() -> None:
    assert fonts.is_wide(CANCER)
    assert not fonts.is_wide("Tumour µm²")
