"""A split as a sheet, splits.csv: what was parted how, to read, to repeat, or to say it oneself.

| column | meaning |
|---|---|
| key | a slide; or a tile, `<class>/<file>` or `<slide>@<x>,<y>`, where tiles of one slide are on several sides |
| case, site | empty where unknown; `site` may be left out |
| split | train, val or test |
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.data import TileSet, list_some
from models.splits import Split, how_parted, with_notes
from wsi.atomic import writing
from wsi.errors import InputError
from wsi.spreadsheet import as_text, from_text

_PARTS = ("train", "val", "test")
_COLUMNS = ("key", "case", "site", "split")


def write_split(path: Path, tiles: TileSet, split: Split) -> None:
    """Write which part each slide (or tile) is in."""
    part_of = np.full(len(tiles), "", dtype="U5")
    for name, part in zip(_PARTS, (split.train, split.val, split.test), strict=True):
        part_of[part] = name
    whole = len(set(zip(tiles.sources, part_of, strict=True))) == len(set(tiles.sources))
    keys = tiles.sources if whole else tiles.keys
    cases = tiles.groups if tiles.groups is not None and tiles.group_kind == "case" else ("",) * len(tiles)
    sites = tiles.sites or ("",) * len(tiles)
    rows = dict.fromkeys(zip(keys, cases, sites, part_of.tolist(), strict=True))  # tiles of one slide are one row
    with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        sheet = csv.writer(stream, lineterminator="\n")
        sheet.writerow(_COLUMNS)
        sheet.writerows([as_text(cell) for cell in row] for row in rows)


def read_split(path: Path, tiles: TileSet) -> Split:
    """The split of `tiles` that a sheet says; what `write_split` wrote comes back the same.

    Raises InputError, with all faults at once: a case in two splits, a tile without a row, a row of no tile, no tile
    to train on or to choose the best epoch by.
    """
    said = _rows(path)
    known = set(tiles.sources) | set(tiles.keys)
    if unknown := sorted(set(said) - known):
        raise InputError(f"{path}: {list_some(unknown, ', ')}: no such slide or tile in the data set")
    parts = [said.get(key) or said.get(source) for key, source in zip(tiles.keys, tiles.sources, strict=True)]
    if without := [key for key, part in zip(tiles.keys, parts, strict=True) if part is None]:
        raise InputError(f"{path}: no row for {len(without)} of {len(parts)} tiles: {list_some(without, ', ')}")
    part_of = np.array(parts, np.str_)
    train, val, test = (np.flatnonzero(part_of == name).astype(np.int64) for name in _PARTS)
    if not len(train) or not len(val):
        raise InputError(f"{path}: {len(train)} tiles of split train and {len(val)} of val; both are needed")
    by_tile = tiles.groups is None or _refuse_parted(path, tiles.group_kind, tiles.groups, part_of.tolist())
    return with_notes(tiles, Split(train, val, how_parted(tiles, by_tile), by_tile, test, path.name))


def _refuse_parted(path: Path, kind: str, groups: Sequence[str], parts: Sequence[str]) -> bool:
    """Raise InputError where a group is in two parts. True where there is one only, which must be."""
    if len(set(groups)) == 1:
        return True
    found: dict[str, set[str]] = {}
    for group, part in zip(groups, parts, strict=True):
        found.setdefault(group, set()).add(part)
    parted = [f"{group} ({', '.join(sorted(names))})" for group, names in sorted(found.items()) if len(names) > 1]
    if parted:
        raise InputError(f"{path}: {kind} in two splits: {list_some(parted, ', ')}; keep each in one of them")
    return False


def _rows(path: Path) -> dict[str, str]:
    """Key → part. The sheet's own cases are checked too: the data set may know of none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows = list(enumerate(reader, start=2))
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV sheet in UTF-8 ({' '.join(str(error).split())[:120]})") from error
    if lost := sorted({"key", "split"} - set(columns)):
        raise InputError(f"{path}: no column {', '.join(lost)}; a split has {', '.join(_COLUMNS)}")
    if extra := sorted(set(columns) - set(_COLUMNS)):
        raise InputError(f"{path}: unknown column {', '.join(extra)}; a split has {', '.join(_COLUMNS)}")
    said: dict[str, str] = {}
    cases: list[str] = []
    faults = []
    for number, row in rows:
        key, case, part = (from_text((row.get(column) or "").strip()) for column in ("key", "case", "split"))
        if part not in _PARTS:
            faults.append(f"row {number}: split {part!r}; give {', '.join(_PARTS)}")
        elif not key or key in said:
            faults.append(f"row {number}: {f'{key!r} has a row already' if key else 'no key'}")
        else:
            said[key] = part
            cases.append(case or key)
    if faults:
        raise InputError(f"{path}: {list_some(faults)}")
    _refuse_parted(path, "case", cases, list(said.values()))
    return said
