"""What no row of a sheet can say alone: ids, slides and cases that are there twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.cohort.cohort import scene_of
from pipelines.cohort.groups import repeated
from pipelines.cohort.rows import SheetSlide
from pipelines.cohort.same import same_files

_DRAWN = ("annotation", "marked")


@dataclass(frozen=True)
class Use:
    """A cell that names a file."""

    row: SheetSlide
    column: str

    @property
    def path(self) -> Path:
        """The file, without a scene."""
        slide = self.row.slide
        return slide.file if self.column == "slide" else Path(getattr(slide, self.column))

    @property
    def scene(self) -> str:
        """`#1`; '' where none is given."""
        return scene_of(self.row.slide.slide) if self.column == "slide" else ""

    def __str__(self) -> str:
        split = self.row.slide.split if self.column == "slide" else ""
        return f"row {self.row.number} ({self.column} {self.path}{self.scene}{', ' if split else ''}{split})"


def repeated_files(rows: Sequence[SheetSlide]) -> list[list[Use]]:
    """The cells that name the same file, or a copy of it: two or more each."""
    uses = [
        Use(row, column)
        for column in ("slide", *_DRAWN)
        for row in rows
        if getattr(row.slide, column) and not row.slide.fault
    ]
    return [[uses[place] for place in group] for group in same_files([use.path for use in uses])]


def file_faults(groups: Iterable[Sequence[Use]]) -> Iterable[str]:
    """One slide in two rows would be counted twice, and tested on what was trained; a drawn file is no slide."""
    for uses in groups:
        slides = [use for use in uses if use.column == "slide"]
        places = ", ".join(map(str, uses))
        if slides and len(slides) < len(uses):
            yield f"{places}: one file is a slide and what was drawn on a slide; name the file that was drawn"
        elif len(slides) > 1 and not _different_scenes(slides):
            yield f"{places}: the same slide; keep one of these rows"


def _different_scenes(slides: Sequence[Use]) -> bool:
    """Whether rows of one file are scenes of it, which stay on one side of a split."""
    scenes = [use.scene for use in slides]
    splits = {use.row.slide.split for use in slides if use.row.slide.split}
    return len(set(scenes)) == len(scenes) and len(splits) <= 1


def id_faults(rows: Sequence[SheetSlide]) -> Iterable[str]:
    """Ids that are the same, or would be on a file system without capitals."""
    for group in repeated(rows, lambda row: row.slide.id.casefold()):
        ids = sorted({row.slide.id for row in group})
        same = f"'{ids[0]}' more than once" if len(ids) == 1 else f"'{ids[0]}' and '{ids[1]}' differ in capitals alone"
        yield f"{_numbers(group)}, id: {same}; give each slide an id of its own"


def case_faults(rows: Sequence[SheetSlide]) -> Iterable[str]:
    """A case in two splits would be tested on what it was trained on."""
    for group in repeated((row for row in rows if row.slide.case and row.slide.split), lambda row: row.slide.case):
        splits = sorted({row.slide.split for row in group})
        if len(splits) > 1:
            yield f"case '{group[0].slide.case}' is in the splits {' and '.join(splits)}; a case belongs to one"


def warnings_of(rows: Sequence[SheetSlide], groups: Iterable[Sequence[Use]]) -> Iterable[str]:
    """What may be meant, and may be a slip."""
    for column, texts in (("label", [row.slide.label for row in rows]), ("case", [row.slide.case for row in rows])):
        for alike in repeated(sorted(set(texts)), str.casefold):
            yield f"column {column}: {' and '.join(map(repr, alike))} are taken for different ones"
    for uses in groups:
        if all(use.column in _DRAWN for use in uses):
            yield f"{', '.join(map(str, uses))}: the same file, drawn on different slides"


def _numbers(rows: Sequence[SheetSlide]) -> str:
    return "rows " + ", ".join(str(row.number) for row in rows)
