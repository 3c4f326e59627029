"""Every slide of a run ends in exactly one state: ok, no-tissue, or failed with its reason.

A slide is done when its last files are there (each has its name only when whole). Where one is missing, the log of
the stage that should have written it says why.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pipelines.belonging import Fault, first_fault
from pipelines.cohort import Cohort, CohortSlide, Intake
from pipelines.reporting.flags import Flag, flags_of, without_tissue
from wsi.errors import InputError, WsiError
from wsi.labelcounts import LabelCounts
from wsi.preview import preview_provenance
from wsi.scores import made_of
from wsi.tiles import read_schema

State = Literal["ok", "no-tissue", "failed"]

# The files of each stage, in the order in which they are made.
STAGE_FILES = (
    ("ingest", ("slide.json",)),
    ("tissue", ("tissue.geojson", "thumbnail.jpg", "quality.json")),
    ("tiles", ("tiles.parquet",)),
    ("predict", ("predictions.parquet", "summary.json", "heatmap.ome.zarr")),
    ("overlay", ("overlay.ome.tif", "overlay.png")),
)
# What the report cannot do without. A file that lacks it was damaged after it was written: a disk, a hand.
_NEEDED = {
    "slide.json": ("width", "height", "mpp", "fingerprint"),
    "quality.json": ("tissue_area_mm2",),
    "summary.json": ("tiles_scored", "scored_area_mm2", "classes"),
}
_ERROR = "tesela: error: "


@dataclass(frozen=True)
class SlideStatus:
    """How one slide ended; `stage` and `reason` are empty where it is ok. flags: what a person should look at.

    labels: what became of the regions and tiles of a slide that somebody drew on.
    """

    id: str
    state: State
    stage: str = ""
    reason: str = ""
    flags: tuple[Flag, ...] = ()
    labels: LabelCounts | None = None


def status_of(run: Path, cohort: Cohort) -> list[SlideStatus]:
    """The state of every slide of a run."""
    return [_flagged(run, _slide_status(run, slide)) for slide in cohort.slides]


def _flagged(run: Path, status: SlideStatus) -> SlideStatus:
    """The status with its flags, by the files that the slide has."""
    folder, there = run / "slides" / status.id, reached(status)
    info, quality = (read_json(folder / name) if name in there else {} for name in ("slide.json", "quality.json"))
    labels = _labels(folder / "labels.parquet") if "tiles.parquet" in there else None
    flags = [*flags_of(quality, info), *(Flag("labels", note) for note in (labels.notes if labels else ()))]
    return replace(status, flags=tuple(flags), labels=labels)


def _labels(path: Path) -> LabelCounts | None:
    """What became of the regions and tiles of a slide that somebody drew on; None of any other."""
    try:
        return LabelCounts.of_schema(read_schema(path), path) if path.exists() else None
    except WsiError:
        return None  # who trains on them is told


def reached(status: SlideStatus) -> set[str]:
    """Names of the files that a slide has, up to the stage where it failed; what lies behind that is of old."""
    names: set[str] = set()
    for stage, files in STAGE_FILES:
        if status.state == "failed" and stage == status.stage:
            break
        names |= set(files)
    return names


def _slide_status(run: Path, slide: CohortSlide) -> SlideStatus:
    slide_id, folder = slide.id, run / "slides" / slide.id
    if slide.fault:
        return SlideStatus(slide_id, "failed", STAGE_FILES[0][0], slide.fault)
    for stage, files in STAGE_FILES:
        if not all((folder / name).exists() for name in files):
            return SlideStatus(slide_id, "failed", stage, _reason(run, stage, slide_id))
        damaged = next(filter(None, (_damage(folder / name) for name in files)), None)
        if damaged is not None:
            return SlideStatus(slide_id, "failed", stage, damaged)
    fault = _fault(run, folder)
    if fault is not None:
        stage, why = fault
        return SlideStatus(slide_id, "failed", stage, f"out of date: {why}")
    if read_json(folder / "summary.json")["tiles_scored"] == 0:
        quality = read_json(folder / "quality.json")
        if quality["tissue_area_mm2"] == 0:
            return SlideStatus(slide_id, "no-tissue", "tissue", without_tissue(quality))
        return SlideStatus(slide_id, "no-tissue", "tiles", "tissue found, but every tile is blank; see tiles.parquet")
    return SlideStatus(slide_id, "ok")


def _damage(path: Path) -> str | None:
    """What is wrong with a file that is there, as far as its first bytes or its keys tell; None where nothing is."""
    try:
        if path.name in _NEEDED:
            missing = [key for key in _NEEDED[path.name] if key not in read_json(path)]
            return f"{path}: {', '.join(missing)} missing in it; delete it and run again" if missing else None
        if path.name == "predictions.parquet":
            made_of(path)
        elif path.name == "overlay.png":
            preview_provenance(path)
    except InputError as error:
        return str(error)
    except (OSError, ValueError) as error:
        return f"{path}: cannot be read ({error}); delete it and run again"
    return None


def _fault(run: Path, folder: Path) -> Fault | None:
    """What does not belong together, or cannot be read to tell."""
    try:
        fault = first_fault(run, folder)
    except (WsiError, OSError, ValueError) as error:
        return "ingest", f"it cannot be told whether its files belong together ({error}); delete {folder}, run again"
    if fault is not None and fault[0] == "predict" and (why := _training_failed(run)):
        return fault[0], f"{fault[1]} ({why})"
    return fault


def _reason(run: Path, stage: str, slide_id: str) -> str:
    log = run / "logs" / stage / f"{slide_id}.log"
    if not log.exists():
        if stage == "predict" and _training_failed(run):
            return f"no model: {_training_failed(run)}"
        return f"stage '{stage}' was not run"
    lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    if errors:
        return errors[-1]
    last = f" (last line: {lines[-1][:200]})" if lines else ""
    return f"stage '{stage}' stopped without a message: killed, out of memory or out of time{last}; see {log}"


def _training_failed(run: Path) -> str:
    log = run / "logs" / "train.log"
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    return next((line.removeprefix(_ERROR) for line in reversed(lines) if line.startswith(_ERROR)), "")


def to_json(statuses: list[SlideStatus], intake: Intake | None = None) -> dict[str, Any]:
    """status.json. The counts of the states add up to the cohort's slides, and its counts to all that was there."""
    counts = Counter(status.state for status in statuses)
    return {
        "cohort": {"slides": len(statuses)} if intake is None else intake.to_json(),
        "counts": {state: counts[state] for state in ("ok", "no-tissue", "failed")},
        "slides": [_slide_json(status) for status in statuses],
    }


def _slide_json(status: SlideStatus) -> dict[str, Any]:
    labels = None if status.labels is None else status.labels.to_json()
    plain = asdict(replace(status, labels=None))
    return {**plain, "flags": [flag.text for flag in status.flags], "labels": labels}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a stage wrote; raises InputError where it is none."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it and run again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: no JSON object; delete it and run again")
    return value
