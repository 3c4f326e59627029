"""Which case (patient) and site the images of a class folder are of: a sheet beside them, or their names.

cases.csv, in the data set's folder: columns `file` (ADI/tile-1.tif; or tile-1.tif where only one class has it), `case`
and, where known, `site`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.data.sets import list_some
from wsi.errors import InputError

SHEET = "cases.csv"
_COLUMNS = {"file", "case", "site"}


@dataclass(frozen=True)
class Cases:
    """(n,) case and site of each image; sites is None where the sheet does not say the site of all."""

    cases: tuple[str, ...]
    sites: tuple[str, ...] | None


def find_cases(root: Path, names: Sequence[str], case_pattern: str | None) -> Cases | None:
    """The case of each image, named <class>/<file>; None where there is neither a sheet nor a pattern.

    case_pattern: a regular expression whose one group is the case, searched for in the file's name.
    Raises InputError, with all faults at once, where the case of an image is not said.
    """
    sheet = root / SHEET
    if case_pattern is not None:
        if sheet.is_file():
            raise InputError(f"{sheet}: says the cases, and so does the case pattern {case_pattern!r}; use one of them")
        return _by_pattern(root, names, case_pattern)
    return _by_sheet(sheet, names) if sheet.is_file() else None


def _by_pattern(root: Path, names: Sequence[str], case_pattern: str) -> Cases:
    try:
        pattern = re.compile(case_pattern)
    except re.error as error:
        raise InputError(f"case pattern {case_pattern!r} is no regular expression ({error})") from error
    if pattern.groups != 1:
        raise InputError(
            f"case pattern {case_pattern!r} has {pattern.groups} groups; put the case, and only it, in ( )"
        )
    found = [pattern.search(name.rpartition("/")[2]) for name in names]
    cases = tuple((match and match[1]) or "" for match in found)
    without = [name for name, case in zip(names, cases, strict=True) if not case]
    if without:
        raise InputError(
            f"{root}: case pattern {case_pattern!r} finds no case in {len(without)} of {len(names)} file names: "
            f"{list_some(without, ', ')}"
        )
    return Cases(cases, None)


def _by_sheet(sheet: Path, names: Sequence[str]) -> Cases:
    index = _index(names)
    said: dict[int, tuple[str, str]] = {}
    faults = []
    for number, row in _rows(sheet):
        file, case, site = ((row.get(column) or "").strip() for column in ("file", "case", "site"))
        places = index.get(file, [])
        if not case:
            faults.append(f"row {number}: no case")
        elif len(places) != 1:
            faults.append(f"row {number}: {file!r} is {'in several classes' if places else 'no image of the folder'}")
        elif places[0] in said:
            faults.append(f"row {number}: {file!r} is named twice")
        else:
            said[places[0]] = case, site
    if faults:
        raise InputError(f"{sheet}: {list_some(faults)}")
    without = [name for place, name in enumerate(names) if place not in said]
    if without:
        raise InputError(f"{sheet}: no row for {len(without)} of {len(names)} images: {list_some(without, ', ')}")
    rows = [said[place] for place in range(len(names))]
    sites = tuple(site for _, site in rows)
    return Cases(tuple(case for case, _ in rows), sites if all(sites) else None)


def _index(names: Sequence[str]) -> dict[str, list[int]]:
    """Both names of each image, <class>/<file> and <file>, to its places."""
    index: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        for key in (name, name.rpartition("/")[2]):
            index.setdefault(key, []).append(place)
    return index


def _rows(sheet: Path) -> list[tuple[int, dict[str, str]]]:
    """(row number, cells by column) of the sheet."""
    try:
        with sheet.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            if unknown := sorted(set(columns) - _COLUMNS):
                raise InputError(
                    f"{sheet}: unknown column {', '.join(unknown)}; it has file, case and site, with commas between"
                )
            if lost := sorted({"file", "case"} - set(columns)):
                raise InputError(f"{sheet}: no column {', '.join(lost)}")
            return list(enumerate(reader, start=2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{sheet}: not a CSV sheet in UTF-8 ({' '.join(str(error).split())[:120]})") from error
