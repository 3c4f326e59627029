"""Cells that a spreadsheet would run are marked as text, and come back as they were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi.spreadsheet import as_text, from_text


@given(st.text(alphabet="='+-@\t\r1.e a"))
def test_every_text_comes_back_as_it_was(text: str) -> None:
    assert from_text(as_text(text)) == text


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_what_a_spreadsheet_would_run_begins_with_an_apostrophe(text: str) -> None:
    assert as_text(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "+0.5", "-1.5e-3", "", "a", "a=b", "'quoted'", "/data/a.tif"])
def test_numbers_and_plain_texts_stay_as_they_are(text: str) -> None:
    assert as_text(text) == text
