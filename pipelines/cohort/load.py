"""A cohort from what a configuration names: a folder of slides, a sheet, or both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipelines.cohort.cohort import Cohort, CohortSlide
from pipelines.cohort.endings import SLIDE_ENDINGS
from pipelines.cohort.ids import unique_ids
from pipelines.cohort.names import name_fault, shown
from pipelines.cohort.same import same_files
from pipelines.cohort.scan import scan
from pipelines.cohort.sheet import read_sheet
from wsi.errors import InputError

_MOST_NAMED = 8


def load_cohort(folder: Path | None, sheet: Path | None) -> Cohort:
    """The cohort of a folder, or of a sheet whose relative paths start at `folder` (default: the sheet's own).

    Raises InputError with all faults of a sheet at once, each with its row and column.
    """
    if sheet is not None:
        return read_sheet(sheet, folder or sheet.parent)
    if folder is None:
        raise InputError("no slides: give a folder or a sheet")
    return _of_folder(folder)


def _of_folder(folder: Path) -> Cohort:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of slides")
    if fault := name_fault(str(folder)):
        raise InputError(fault)
    found = scan(folder)
    if not found.slides:
        counts = f"; {found.intake().sentence}" if found.intake().seen else ""
        raise InputError(f"{folder}: no slide in it or below it (looked for {' '.join(SLIDE_ENDINGS)}){counts}")
    ids = unique_ids([name.relative_to(folder) for _, name in found.slides])
    paths = [path for path, _ in found.slides]
    faults = [_fault(path) for path in paths]
    if all(faults):
        raise InputError("; ".join(faults[:_MOST_NAMED]))
    usable = [path for path, fault in zip(paths, faults, strict=True) if not fault]
    slides = [
        CohortSlide(slide_id, shown(os.path.realpath(path)), fault=fault)
        for slide_id, path, fault in zip(ids, paths, faults, strict=True)
    ]
    return Cohort(tuple(slides), found.intake(_copies(usable, folder)))


def _fault(path: Path) -> str:
    """Why a slide cannot be used; '' where it can."""
    real = os.path.realpath(path)
    if fault := name_fault(str(path)) or name_fault(real):
        return fault
    if not os.path.exists(real):
        return f"{path}: a link to {real}, which is not there; mend or remove it"
    if not (path.is_file() or path.is_dir()):
        return f"{path}: neither a file nor a folder"
    return ""


def _copies(paths: Sequence[Path], folder: Path) -> Iterable[str]:
    """Copies are no fault where nothing is trained or tested, but whoever adds up areas should know of them."""
    for group in same_files(paths):
        names = [shown(str(paths[number].relative_to(folder))) for number in group]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield f"{', '.join(names[:_MOST_NAMED])}{more}: copies of one slide; each is scored and counted"
