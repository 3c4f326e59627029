"""Text in CSV files that a spreadsheet opens: it takes what begins with = + - or @ for a formula, and runs it."""

from __future__ import annotations

import re

# As OWASP's "CSV injection" lists them. An apostrophe before it is how spreadsheets mark a text.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def as_text(cell: str) -> str:
    """The cell with an apostrophe before what would be a formula; a negative number stays one."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def from_text(cell: str) -> str:
    """What `as_text` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
