"""The slides of a run as values, and cohort.csv, which keeps them."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.cohort.intake import Intake
from wsi.atomic import write_json, writing
from wsi.errors import InputError
from wsi.source import Scene, source_of
from wsi.source import file_of as source_file_of
from wsi.spreadsheet import as_text, from_text


@dataclass(frozen=True)
class CohortSlide:
    """One slide of a run. Empty text: not given. mpp: µm per px where the sheet states it, else None.

    slide: the file, `#1` behind it where it is not the first of its scenes. fault: why the slide cannot be used; it
    fails with that reason, and the others run.
    """

    id: str
    slide: str
    case: str = ""
    mpp: float | None = None
    label: str = ""
    annotation: str = ""
    marked: str = ""
    split: str = ""
    note: str = ""
    fault: str = ""

    @property
    def file(self) -> Path:
        """The slide's file, without the scene."""
        return file_of(self.slide)

    @property
    def drawn(self) -> str:
        """The file that says what is where: outlines, or the copy that somebody drew on."""
        return self.annotation or self.marked


@dataclass(frozen=True)
class Cohort:
    """The slides of a run, each with an id of its own. intake: what was there; None where nobody wrote it down."""

    slides: tuple[CohortSlide, ...]
    intake: Intake | None = None

    def __getitem__(self, slide_id: str) -> CohortSlide:
        """The slide of that id; raises InputError where there is none."""
        try:
            return self._by_id[slide_id]
        except KeyError:
            raise InputError(f"no slide '{slide_id}' in the cohort of {len(self.slides)} slides") from None

    @cached_property
    def _by_id(self) -> Mapping[str, CohortSlide]:
        return {slide.id: slide for slide in self.slides}

    @property
    def ids(self) -> list[str]:
        """All ids, in order."""
        return [slide.id for slide in self.slides]

    def write(self, path: Path) -> None:
        """Write cohort.csv: the sheet as it was understood, with ids and full paths; beside it cohort.json: counts."""
        with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(CohortSlide)])
            writer.writeheader()
            for slide in self.slides:
                texts = {name: as_text(value) for name, value in asdict(slide).items() if name != "mpp"}
                writer.writerow({**texts, "mpp": slide.mpp or ""})
        if self.intake is not None:
            write_json(path.with_suffix(".json"), self.intake.to_json())

    @classmethod
    def load(cls, path: Path) -> Cohort:
        """Read cohort.csv, and cohort.json beside it where there is one."""
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [_slide(row) for row in csv.DictReader(stream)]
            counts = path.with_suffix(".json")
            intake = Intake.of_json(json.loads(counts.read_text("utf-8"))) if counts.exists() else None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: not a cohort.csv of a run ({error}); start the run first") from error
        return cls(tuple(rows), intake)

    def digest(self) -> str:
        """SHA-256 (hex) of all that the cohort says."""
        counts = None if self.intake is None else self.intake.to_json()
        return hashlib.sha256(json.dumps([[asdict(slide) for slide in self.slides], counts]).encode()).hexdigest()


def file_of(text: str) -> Path:
    """The file of `a.tif` and of `a.tif#1`; a file that is really named so is itself."""
    return Path(str(source_file_of(source_of(text))))


def scene_of(text: str) -> str:
    """`#1` of `a.tif#1`; '' where no scene is given."""
    source = source_of(text)
    return f"#{source.number}" if isinstance(source, Scene) else ""


def _slide(row: dict[str, Any]) -> CohortSlide:
    texts = {name: from_text(cell) for name, cell in row.items() if name != "mpp"}
    return CohortSlide(**texts, mpp=float(row["mpp"]) if row["mpp"] else None)
