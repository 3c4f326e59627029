"""The slides of a run: every slide of a folder, or the rows of a sheet."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from wsi.atomic import writing
from wsi.errors import InputError

SLIDE_ENDINGS = (
    *(".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm"),
    *(".ome.zarr", ".zarr"),
)
COLUMNS = ("slide", "id", "case", "mpp", "label", "annotation", "marked", "split", "note")
SPLITS = ("", "train", "val", "test")
_NOT_MPP = -1.0
_MORE = "(more)"
# Snakemake takes what stands in braces for a wildcard.
_BRACES = "a path with { or } cannot be used; rename it"
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class CohortSlide:
    """One slide of a run. Empty text: not given. mpp: µm per px where the sheet states it, else None."""

    id: str
    slide: str
    case: str = ""
    mpp: float | None = None
    label: str = ""
    annotation: str = ""
    marked: str = ""
    split: str = ""
    note: str = ""

    @property
    def drawn(self) -> str:
        """The file that says what is where: outlines, or the copy that somebody drew on."""
        return self.annotation or self.marked


@dataclass(frozen=True)
class Cohort:
    """The slides of a run, each with an id of its own."""

    slides: tuple[CohortSlide, ...]

    def __getitem__(self, slide_id: str) -> CohortSlide:
        """The slide of that id."""
        return next(slide for slide in self.slides if slide.id == slide_id)

    @property
    def ids(self) -> list[str]:
        """All ids, in order."""
        return [slide.id for slide in self.slides]

    def write(self, path: Path) -> None:
        """Write cohort.csv: the sheet as it was understood, with ids and full paths."""
        with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(CohortSlide)])
            writer.writeheader()
            writer.writerows({**asdict(slide), "mpp": slide.mpp or ""} for slide in self.slides)

    @classmethod
    def load(cls, path: Path) -> Cohort:
        """Read cohort.csv."""
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                rows: list[dict[str, Any]] = list(csv.DictReader(stream))
            return cls(tuple(CohortSlide(**{**row, "mpp": float(row["mpp"]) if row["mpp"] else None}) for row in rows))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: not a cohort.csv of a run ({error}); start the run first") from error

    def digest(self) -> str:
        """SHA-256 (hex) of all that the cohort says."""
        return hashlib.sha256(json.dumps([asdict(slide) for slide in self.slides]).encode()).hexdigest()


def load_cohort(folder: Path | None, sheet: Path | None) -> Cohort:
    """The cohort of a folder, or of a sheet whose relative paths start at `folder` (default: the sheet's own).

    Raises InputError with all faults of a sheet at once, each with its row and column.
    """
    if sheet is not None:
        return read_sheet(sheet, folder or sheet.parent)
    if folder is None:
        raise InputError("no slides: give a folder or a sheet")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of slides")
    found = sorted(_slides_in(folder))
    if not found:
        raise InputError(f"{folder}: no slide in it or below it (looked for {' '.join(SLIDE_ENDINGS)})")
    braced = [str(path) for path in found if "{" in str(path) or "}" in str(path)]
    if braced:
        raise InputError(f"{', '.join(braced)}: {_BRACES}")
    ids = unique_ids([path.relative_to(folder) for path in found])
    return Cohort(tuple(CohortSlide(slide_id, str(path.resolve())) for slide_id, path in zip(ids, found, strict=True)))


def _slides_in(folder: Path) -> Iterable[Path]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.name.lower().endswith(SLIDE_ENDINGS):
            yield path
        elif path.is_dir():
            yield from _slides_in(path)


def unique_ids(paths: Sequence[Path]) -> list[str]:
    """An id for each relative path: its parts joined by `__`, without the ending.

    Where two would be the same (a.svs beside a.tif), those carry a digest of their whole path as well, so that an
    id never depends on the order of the files.
    """
    plain = [_safe("__".join((*path.parent.parts, _stem(path)))) for path in paths]
    count = Counter(plain)
    return [
        name if count[name] == 1 else f"{name}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
        for name, path in zip(plain, paths, strict=True)
    ]


def _stem(path: Path) -> str:
    ending = max((end for end in SLIDE_ENDINGS if path.name.lower().endswith(end)), key=len, default=path.suffix)
    return path.name[: len(path.name) - len(ending)]


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip("._-") or "slide"


def read_sheet(path: Path, root: Path) -> Cohort:
    """The cohort of a CSV sheet; relative paths in it start at `root`."""
    rows = _rows(path)
    slides, faults = [], []
    for number, row in rows:
        slide, wrong = _slide(row, root)
        slides.append(slide)
        faults += [f"{path}, row {number}, {fault}" for fault in wrong]
    given = [slide.id for slide in slides]
    derived = unique_ids([_relative(Path(slide.slide), root.resolve()) for slide in slides])
    slides = [replace(slide, id=slide.id or name) for slide, name in zip(slides, derived, strict=True)]
    for slide_id, count in Counter(slide.id for slide in slides).items():
        if count > 1:
            which = [str(number) for (number, _), slide in zip(rows, slides, strict=True) if slide.id == slide_id]
            remedy = "give each its own" if slide_id in given else "the same slide twice; remove one or give ids"
            faults.append(f"{path}, rows {', '.join(which)}, id: '{slide_id}' more than once; {remedy}")
    faults += _case_faults(path, slides)
    if faults:
        raise InputError("; ".join(faults))
    return Cohort(tuple(slides))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line in the file, cells) of a sheet whose columns are right; the header is line 1."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restkey=_MORE, strict=True)
            names = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = names
            rows: list[tuple[int, dict[str, Any]]] = [(reader.line_num, row) for row in reader]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such sheet") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file in UTF-8 ({error})") from error
    if "slide" not in names:
        raise InputError(f"{path}: column 'slide' is missing; the columns are {', '.join(COLUMNS)} (slide is needed)")
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise InputError(
            f"{path}: unknown column {', '.join(map(repr, unknown))}; the columns are {', '.join(COLUMNS)}"
        )
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise InputError(f"{path}: column {', '.join(map(repr, doubled))} more than once")
    surplus = [
        f"{path}, row {number}: {len(names) + len(row[_MORE])} cells for {len(names)} columns (a decimal comma? "
        "write 0.5)"
        for number, row in rows
        if _MORE in row
    ]
    if surplus:
        raise InputError("; ".join(surplus))
    filled = [(number, {name: (cell or "").strip() for name, cell in row.items()}) for number, row in rows]
    filled = [(number, row) for number, row in filled if any(row.values())]
    if not filled:
        raise InputError(f"{path}: no slides in it")
    return filled


def _slide(row: dict[str, str], root: Path) -> tuple[CohortSlide, list[str]]:
    """The slide of a row, and what is wrong with it: "column: fault"."""
    faults: list[str] = []

    def existing(column: str) -> str:
        text = row.get(column, "")
        if text and not (root / text).exists():
            faults.append(f"{column}: no such file {root / text}")
        if "{" in text or "}" in text:
            faults.append(f"{column}: '{text}': {_BRACES}")
        return str((root / text).resolve()) if text else ""

    if not row["slide"]:
        faults.append("slide: empty")
    if row.get("id") and not _SAFE_ID.fullmatch(row["id"]):
        faults.append(f"id: '{row['id']}' must be letters, digits, '.', '_' or '-'")
    if row.get("split", "") not in SPLITS:
        faults.append(f"split: '{row['split']}' is none of {', '.join(SPLITS[1:])} or empty")
    if row.get("annotation") and row.get("marked"):
        faults.append("annotation, marked: both are given; leave one empty")
    mpp = _mpp(row.get("mpp", ""))
    if mpp == _NOT_MPP:
        faults.append(f"mpp: '{row['mpp']}' is not µm per pixel; give a number such as 0.5, or leave it empty")
    slide = CohortSlide(
        id=row.get("id", ""),
        slide=existing("slide"),
        case=row.get("case", ""),
        mpp=mpp,
        label=row.get("label", ""),
        annotation=existing("annotation"),
        marked=existing("marked"),
        split=row.get("split", ""),
        note=row.get("note", ""),
    )
    return slide, faults


def _mpp(text: str) -> float | None:
    """µm per pixel; None where the cell is empty, _NOT_MPP where it holds something else."""
    try:
        value = float(text) if text else None
    except ValueError:
        return _NOT_MPP
    return value if value is None or 0 < value < 1000 else _NOT_MPP


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else Path(*path.parts[1:])


def _case_faults(path: Path, slides: list[CohortSlide]) -> list[str]:
    """A case in two splits would be tested on what it was trained on."""
    splits: dict[str, set[str]] = {}
    for slide in slides:
        if slide.case and slide.split:
            splits.setdefault(slide.case, set()).add(slide.split)
    return [
        f"{path}: case '{case}' is in the splits {' and '.join(sorted(found))}; a case belongs to one"
        for case, found in splits.items()
        if len(found) > 1
    ]
