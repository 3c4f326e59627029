"""A sheet as people save it: its cells by column, and the line of the file where each row stands."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.cohort.columns import COLUMNS
from pipelines.cohort.names import shown
from wsi.errors import InputError
from wsi.spreadsheet import from_text

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SAVE_AS = "save it as 'CSV UTF-8'"
_FOREIGN = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PK": "an Excel or LibreOffice workbook",
    b"\xd0\xcf": "an old Excel workbook",
}


@dataclass(frozen=True)
class Row:
    """number: line in the file, the header being 1. cells: by column; a column that the sheet lacks is ''."""

    number: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """The rows of a sheet. remarks: in what it differs from what the README describes, and how it was taken."""

    rows: tuple[Row, ...]
    remarks: tuple[str, ...]


def read_table(path: Path) -> Table:
    """The rows of a sheet with known columns; empty rows are left out.

    Cells may be parted by commas, semicolons or tabs, and columns may have capitals. Raises InputError where that
    cannot be told from the header, or the file is no CSV in UTF-8.
    """
    lines = _text(path).splitlines(keepends=True)
    separator, remarks = _separator(lines)
    try:
        reader = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=separator, strict=True)
        numbered = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}: not a readable CSV file ({error})") from error
    header, *rows = numbered or [(1, [])]
    columns, renamed = _columns(path, header[1], separator)
    filled = [(number, row) for number, row in rows if any(cell.strip() for cell in row)]
    faults = [fault for number, row in filled for fault in _surplus(path, number, row, columns)]
    if faults:
        raise InputError("; ".join(faults))
    if not filled:
        raise InputError(f"{path}: no slides in it")
    decimal_comma = separator != ","
    return Table(tuple(_row(number, row, columns, decimal_comma) for number, row in filled), (*remarks, *renamed))


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such sheet") from error
    except OSError as error:
        raise InputError(f"{path}: not a readable CSV file ({error})") from error
    for start, kind in _FOREIGN.items():
        if content.startswith(start):
            raise InputError(f"{path}: this is {kind}, not a CSV file in UTF-8; {_SAVE_AS}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, row {line}: not a readable CSV file in UTF-8 (byte {content[error.start]:#04x}, as in Excel's "
            f"plain 'CSV'); {_SAVE_AS}"
        ) from error


def _separator(lines: Sequence[str]) -> tuple[str, list[str]]:
    """What parts the cells: that by which the header has a column `slide`; and what is to be said of it."""
    header = lines[0] if lines else ""
    for separator, name in _SEPARATORS.items():
        if "slide" in (_plain(cell) for cell in header.split(separator)):
            return separator, [] if separator == "," else [f"read with {name} between its cells"]
    return max(_SEPARATORS, key=header.count), []


def _plain(cell: str) -> str:
    return cell.strip().strip('"').strip().lower()


def _columns(path: Path, header: Sequence[str], separator: str) -> tuple[list[str], list[str]]:
    """The names of the columns, and which of them were written in another way. Raises InputError."""
    written = [name.strip() for name in header]
    columns = [_plain(name) for name in written]
    if "slide" not in columns:
        there = ", ".join(repr(shown(name)) for name in written) or "nothing"
        raise InputError(
            f"{path}: column 'slide' is missing; the first line, read with {_SEPARATORS[separator]} between cells, has "
            f"{there[:300]}; the columns are {', '.join(COLUMNS)} (slide is needed)"
        )
    while columns[-1] == "":  # spreadsheets write the empty columns to the right
        columns.pop()
    unknown = [repr(shown(name)) for name, plain in zip(written, columns, strict=False) if plain not in COLUMNS]
    if unknown:
        raise InputError(f"{path}: unknown column {', '.join(unknown)}; the columns are {', '.join(COLUMNS)}")
    doubled = [repr(name) for name, count in Counter(columns).items() if count > 1]
    if doubled:
        raise InputError(f"{path}: column {', '.join(doubled)} more than once")
    renamed = [
        f"column '{name}' is taken for '{plain}'"
        for name, plain in zip(written, columns, strict=False)
        if name != plain
    ]
    return columns, renamed


def _surplus(path: Path, number: int, row: Sequence[str], columns: Sequence[str]) -> list[str]:
    """A fault where a row has more cells than there are columns."""
    if not any(cell.strip() for cell in row[len(columns) :]):
        return []
    return [f"{path}, row {number}: {len(row)} cells for {len(columns)} columns (a decimal comma? write 0.5)"]


def _row(number: int, row: Sequence[str], columns: Sequence[str], decimal_comma: bool) -> Row:
    cells = dict.fromkeys(COLUMNS, "") | {
        name: from_text(cell.strip()) for name, cell in zip(columns, row, strict=False)
    }
    if decimal_comma:
        cells["mpp"] = cells["mpp"].replace(",", ".")
    return Row(number, cells)
