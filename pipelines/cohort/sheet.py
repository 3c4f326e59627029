"""The slides of a sheet: a row each, checked all at once."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pipelines.cohort.checks import case_faults, file_faults, id_faults, repeated_files, warnings_of
from pipelines.cohort.cohort import Cohort
from pipelines.cohort.ids import unique_ids
from pipelines.cohort.intake import Intake
from pipelines.cohort.rows import slide_of
from pipelines.cohort.table import read_table
from wsi.errors import InputError


def read_sheet(path: Path, root: Path) -> Cohort:
    """The cohort of a CSV sheet; relative paths in it start at `root`.

    Raises InputError with all faults at once, each with its row and column.
    """
    table = read_table(path)
    root = Path(os.path.abspath(root))
    rows = [slide_of(row, root) for row in table.rows]
    derived = unique_ids([_relative(row.path, root) for row in rows])
    for row, name in zip(rows, derived, strict=True):
        row.slide = replace(row.slide, id=row.slide.id or name)
    files = repeated_files(rows)
    faults = [f"row {row.number}, {fault}" for row in rows for fault in row.faults]
    faults += [*id_faults(rows), *file_faults(files), *case_faults(rows)]
    if faults:
        raise InputError("; ".join(f"{path}, {fault}" for fault in faults))
    slides = tuple(row.slide for row in rows)
    if all(slide.fault for slide in slides):
        raise InputError(f"{path}: " + "; ".join(slide.fault for slide in slides))
    warnings = tuple(f"{path.name}: {warning}" for warning in (*table.remarks, *warnings_of(rows, files)))
    return Cohort(slides, Intake("row", len(rows), len(rows), warnings=warnings))


def _relative(path: Path, root: Path) -> Path:
    path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    return path.relative_to(root) if path.is_relative_to(root) else Path(*path.parts[1:])
