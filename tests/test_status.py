"""The state of a slide is read from what it left behind, and its reason from the log."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipelines.cohort import Cohort, CohortSlide
from pipelines.status import STAGE_FILES, SlideStatus, reached, status_of, to_json
from wsi.atomic import write_json
from wsi.digest import sha256_of
from wsi.geometry import TileGrid, TileSpec
from wsi.scores import TileScores
from wsi.tiles import with_grid, write_table

COHORT = Cohort((CohortSlide("a", "a.tif"),))
GRID = TileGrid(TileSpec(64, 1.0, 64), 64, 64, (1.0, 1.0))


def done_up_to(run: Path, stage: str, area_mm2: float = 1.0, scored: int = 5, weights: str = "w") -> None:
    """Leave behind what the stages up to and with `stage` would have."""
    folder = run / "slides" / "a"
    folder.mkdir(parents=True)
    for name, files in STAGE_FILES:
        for file in files:
            (folder / file).touch()
        if name == stage:
            break
    info = {"width": 64, "height": 64, "mpp": [1.0, 1.0], "fingerprint": "f"}
    (folder / "slide.json").write_text(json.dumps(info))
    (folder / "quality.json").write_text(json.dumps({"tissue_area_mm2": area_mm2}))
    if (folder / "summary.json").exists():
        summary = {"tiles_scored": scored, "scored_area_mm2": area_mm2, "classes": {}}
        (folder / "summary.json").write_text(json.dumps(summary))
        write_table(folder / "tiles.parquet", with_grid(pa.table({"col": [0]}), GRID))
        scores = TileScores(GRID, ("A", "B"), np.array([[0.2, 0.8]], np.float32), "model")
        made = {"weights": weights, "tiles": sha256_of(folder / "tiles.parquet")}
        table = scores.to_table(pa.table({"col": [0]}), made)
        write_table(folder / "predictions.parquet", table)
    if (folder / "overlay.png").exists():
        paint(folder)


def paint(folder: Path) -> None:
    information = PngInfo()
    information.add_text("Source", sha256_of(folder / "predictions.parquet"))
    Image.new("RGB", (4, 4)).save(folder / "overlay.png", pnginfo=information)


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
    done_up_to(tmp_path, "overlay", area_mm2=0, scored=0)
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


def test_a_slide_scored_by_a_model_that_was_trained_again_is_out_of_date(tmp_path: Path) -> None:
    done_up_to(tmp_path, "overlay")
    (tmp_path / "models" / "model").mkdir(parents=True)
    assert the_status(tmp_path).stage == "predict"  # training started anew and did not end
    write_json(tmp_path / "models" / "model" / "model.json", {"weights_sha256": "other"})
    assert "trained again" in the_status(tmp_path).reason
    write_json(tmp_path / "models" / "model" / "model.json", {"weights_sha256": "w"})
    assert the_status(tmp_path).state == "ok"


def test_an_old_overlay_of_new_scores_is_out_of_date(tmp_path: Path) -> None:
    done_up_to(tmp_path, "overlay")
    folder = tmp_path / "slides" / "a"
    write_table(folder / "tiles.parquet", with_grid(pa.table({"col": [1]}), GRID))
    assert "tiles have changed" in the_status(tmp_path).reason
    done_up_to(tmp_path / "other", "overlay", weights="x")
    (tmp_path / "other" / "slides" / "a" / "predictions.parquet").rename(folder / "predictions.parquet")
    write_table(folder / "tiles.parquet", with_grid(pa.table({"col": [0]}), GRID))
    assert the_status(tmp_path).stage == "overlay"
    paint(folder)
    assert the_status(tmp_path).state == "ok"


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("slide.json", "ingest"),
        ("quality.json", "tissue"),
        ("summary.json", "predict"),
        ("predictions.parquet", "predict"),
        ("overlay.png", "overlay"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"[1]", b'{"other": 1}', b"\xff\x00"])
def test_a_damaged_file_fails_its_slide_by_name_and_nothing_else(
    tmp_path: Path, name: str, stage: str, content: bytes
) -> None:
    done_up_to(tmp_path, "overlay")
    (tmp_path / "slides" / "a" / name).write_bytes(content)
    status = the_status(tmp_path)
    assert (status.state, status.stage) == ("failed", stage)
    assert f"a/{name}" in status.reason
    assert "run again" in status.reason


def test_what_lies_behind_the_failed_stage_is_of_old_and_not_shown() -> None:
    assert reached(SlideStatus("a", "failed", "tiles", "")) == {*STAGE_FILES[0][1], *STAGE_FILES[1][1]}
