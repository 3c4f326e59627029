"""The state of a slide is read from what it left behind, and its reason from the log."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.cohort import Cohort, CohortSlide
from pipelines.status import STAGE_FILES, SlideStatus, status_of, to_json

COHORT = Cohort((CohortSlide("a", "a.tif"),))


def done_up_to(run: Path, stage: str, area_mm2: float = 1.0, scored: int = 5) -> None:
    """Leave behind what the stages up to and with `stage` would have."""
    folder = run / "slides" / "a"
    folder.mkdir(parents=True)
    for name, files in STAGE_FILES:
        for file in files:
            (folder / file).touch()
        if name == stage:
            break
    (folder / "quality.json").write_text(json.dumps({"tissue_area_mm2": area_mm2}))
    if (folder / "summary.json").exists():
        (folder / "summary.json").write_text(json.dumps({"tiles_scored": scored}))


def log(run: Path, stage: str, text: str) -> None:
    path = run / "logs" / stage / "a.log"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def the_status(run: Path) -> SlideStatus:
    (status,) = status_of(run, COHORT)
    return status


def test_a_slide_with_all_its_files_is_ok(tmp_path: Path) -> None:
    done_up_to(tmp_path, "overlay")
    assert the_status(tmp_path) == SlideStatus("a", "ok")


def test_a_slide_without_tissue_is_no_failure(tmp_path: Path) -> None:
    done_up_to(tmp_path, "overlay", area_mm2=0)
    assert the_status(tmp_path).state == "no-tissue"


def test_tissue_whose_every_tile_is_blank_says_so(tmp_path: Path) -> None:
    done_up_to(tmp_path, "overlay", scored=0)
    assert the_status(tmp_path).state == "no-tissue"
    assert "blank" in the_status(tmp_path).reason


def test_the_reason_is_the_error_of_the_stage_that_failed(tmp_path: Path) -> None:
    done_up_to(tmp_path, "tissue")
    log(tmp_path, "tiles", "some warning\ntesela: error: a.tif: too coarse\n")
    assert the_status(tmp_path) == SlideStatus("a", "failed", "tiles", "a.tif: too coarse")


def test_a_stage_that_was_killed_says_that_it_left_no_message(tmp_path: Path) -> None:
    done_up_to(tmp_path, "tiles")
    log(tmp_path, "predict", "loading\n")
    assert "killed, out of memory or out of time (last line: loading)" in the_status(tmp_path).reason


def test_a_failed_training_is_the_reason_of_every_slide(tmp_path: Path) -> None:
    done_up_to(tmp_path, "tiles")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.log").write_text("tesela: error: no class folders\n")
    assert the_status(tmp_path).reason == "no model: no class folders"


def test_a_slide_that_was_never_started_is_failed_too(tmp_path: Path) -> None:
    assert the_status(tmp_path) == SlideStatus("a", "failed", "ingest", "stage 'ingest' was not run")


def test_every_state_is_counted(tmp_path: Path) -> None:
    done_up_to(tmp_path, "overlay")
    assert to_json(status_of(tmp_path, COHORT))["counts"] == {"ok": 1, "no-tissue": 0, "failed": 0}
