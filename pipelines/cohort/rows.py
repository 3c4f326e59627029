"""A row of a sheet as a slide, and what is wrong with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pipelines.cohort.cohort import CohortSlide, file_of, scene_of
from pipelines.cohort.columns import SPLITS
from pipelines.cohort.endings import is_slide, stem_of
from pipelines.cohort.ids import LONGEST_ID, SAFE_ID
from pipelines.cohort.names import name_fault, shown
from pipelines.cohort.table import Row
from wsi.readers.base import COARSEST_CREDIBLE_MPP, FINEST_CREDIBLE_MPP
from wsi.readers.dicom import dicom_series


@dataclass
class SheetSlide:
    """A row as a slide. path: what its id is made of, as the sheet writes it. faults: "column: fault"."""

    number: int
    slide: CohortSlide
    path: Path
    faults: list[str]


def slide_of(row: Row, root: Path) -> SheetSlide:
    """The slide of a row, whose relative paths start at `root`."""
    cells, faults = row.cells, list[str]()
    scene = _scene(cells["slide"], cells["scene"], root, faults)
    written = file_of(str(_path(cells["slide"], root)))
    slide = _slide_file(written, faults) if cells["slide"] else None
    files = {"slide": slide} | {name: _drawn_file(name, cells[name], root, faults) for name in ("annotation", "marked")}
    if not cells["slide"]:
        faults.append("slide: empty")
    if cells["annotation"] and cells["marked"]:
        faults.append("annotation, marked: both are given; leave one empty")
    if cells["split"] not in SPLITS:
        faults.append(f"split: '{shown(cells['split'])}' is none of {', '.join(SPLITS[1:])} or empty")
    _check_id(cells["id"], faults)
    paths = {name: shown(str(path.resolve())) if path else "" for name, path in files.items()}
    texts = {name: cells[name] for name in ("id", "case", "label", "split", "note")}
    named = [str(name) for path in files.values() if path for name in (path, path.resolve())]
    unusable = next(filter(None, map(name_fault, named)), "")
    paths["slide"] += scene if slide else ""
    made = CohortSlide(**texts, **paths, mpp=_mpp(cells["mpp"], faults), fault=unusable)
    return SheetSlide(row.number, made, _naming(written, scene), faults)


def _path(text: str, root: Path) -> Path:
    return root / os.path.expanduser(text)


def _scene(text: str, number: str, root: Path, faults: list[str]) -> str:
    """`#1`, from behind the path or from the column `scene`; '' where neither says one, or it is 0, the file itself."""
    behind = scene_of(str(_path(text, root)))
    if number and not (number.isascii() and number.isdigit() and len(number) <= 6):
        faults.append(f"scene: '{shown(number)}' is no number; scenes count from 0")
    elif number and behind and int(behind[1:]) != int(number):
        faults.append(f"scene: {number}, but the path ends in {behind}; leave one out")
    else:
        chosen = int(number or behind[1:] or 0)
        return f"#{chosen}" if chosen else ""
    return behind


def _existing(column: str, text: str, root: Path, faults: list[str]) -> Path | None:
    """The file of a cell; None where the cell is empty or there is no such file, which is a fault."""
    path = _path(text, root)
    if not text or os.path.exists(path):
        return path if text else None
    unusable = name_fault(str(path))
    faults.append(f"{column}: no such file {shown(str(path))}" + (f"; {unusable}" if unusable else ""))
    return None


def _slide_file(path: Path, faults: list[str]) -> Path | None:
    """The file by which a slide is opened: of a folder with one DICOM series its first. None where it is faulty."""
    found = _existing("slide", str(path), path.parent, faults)
    if found is None or not found.is_dir() or is_slide(found.name, folder=True):
        return found
    series = _series_in(path)
    if len(series) != 1:
        what = f"with {len(series)} DICOM series; all of them slides" if series else "and neither OME-Zarr nor DICOM"
        faults.append(f"slide: {shown(str(path))} is a folder {what}; name a file")
        return None
    return series[0][0]


def _drawn_file(column: str, text: str, root: Path, faults: list[str]) -> Path | None:
    """The annotation, or the copy that was drawn on; None where there is none, or it is a folder, but for OME-Zarr."""
    found = _existing(column, text, root, faults)
    if found is not None and found.is_dir() and not (column == "marked" and is_slide(found.name, folder=True)):
        faults.append(f"{column}: {shown(str(found))} is a folder; name a file")
    return found


def _series_in(folder: Path) -> list[list[Path]]:
    return dicom_series(sorted(path for path in folder.iterdir() if path.suffix.lower() == ".dcm"))


def _naming(path: Path, scene: str) -> Path:
    """The path that makes the id: with the scene, and of a folder of DICOM with an ending that will be cut off."""
    stem, ending = stem_of(path), path.name[len(stem_of(path)) :]
    if os.path.isdir(path) and not is_slide(path.name, folder=True):
        stem, ending = path.name, ".dcm"
    return path.with_name(f"{stem}{scene.replace('#', '-scene')}{ending}")


def _check_id(text: str, faults: list[str]) -> None:
    if text and not SAFE_ID.fullmatch(text):
        faults.append(f"id: '{shown(text)}' must be letters, digits, '.', '_' or '-'")
    if len(text) > LONGEST_ID:
        faults.append(f"id: '{shown(text[:20])}…' has {len(text)} characters; shorten it to {LONGEST_ID}")


def _mpp(text: str, faults: list[str]) -> float | None:
    """µm per pixel; None where the cell is empty or faulty."""
    try:
        value = float(text) if text else None
    except ValueError:
        value = float("nan")
    if value is None or FINEST_CREDIBLE_MPP <= value <= COARSEST_CREDIBLE_MPP:
        return value
    faults.append(
        f"mpp: '{shown(text)}' is not µm per pixel of a slide, which lies between {FINEST_CREDIBLE_MPP:g} and "
        f"{COARSEST_CREDIBLE_MPP:g}; give a number such as 0.5, or leave it empty"
    )
    return None
