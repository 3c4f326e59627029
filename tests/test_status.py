"""The state of a slide is read from what it left behind, and its reason from the log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import pytest
from finished_slides import cut, make_slide, paint, score
from shapely.geometry import box

from pipelines.belonging import first_fault
from pipelines.cohort import Cohort, CohortSlide, Intake
from pipelines.stages import export, label
from pipelines.status import STAGE_FILES, SlideStatus, reached, status_of, to_json
from wsi.annotations import Drawing, Region
from wsi.atomic import write_json
from wsi.exports import ExportOptions
from wsi.files import remove
from wsi.tiles import read_table

COHORT = Cohort((CohortSlide("a", "a.tif"),))


@pytest.fixture
def done_up_to(finished_slides: Path) -> Callable[..., Path]:
    """Leaves behind what the stages up to and with `stage` do, of the slide `a` or `other`; returns its folder."""

    def leave(run: Path, stage: str, area_mm2: float | None = None, scored: int | None = None, of: str = "a") -> Path:
        folder = run / "slides" / "a"
        shutil.copytree(finished_slides / of, folder)
        names = [name for name, _ in STAGE_FILES]
        for _, files in STAGE_FILES[names.index(stage) + 1 :]:
            for file in files:
                remove(folder / file)
        for name, key, value in (("quality", "tissue_area_mm2", area_mm2), ("summary", "tiles_scored", scored)):
            if value is not None:
                path = folder / f"{name}.json"
                path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
        return folder

    return leave


def log(run: Path, stage: str, text: str) -> None:
    path = run / "logs" / stage / "a.log"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def the_status(run: Path) -> SlideStatus:
    (status,) = status_of(run, COHORT)
    return status


def test_a_slide_with_all_its_files_is_ok(tmp_path: Path, done_up_to: Callable[..., Path]) -> None:
    done_up_to(tmp_path, "overlay")
    assert the_status(tmp_path).reason == ""
    assert the_status(tmp_path) == SlideStatus("a", "ok")


def test_a_slide_without_tissue_is_no_failure(tmp_path: Path, done_up_to: Callable[..., Path]) -> None:
    done_up_to(tmp_path, "overlay", area_mm2=0, scored=0)
    assert the_status(tmp_path).state == "no-tissue"


def test_what_a_person_should_look_at_is_told_of_every_slide(tmp_path: Path, done_up_to: Callable[..., Path]) -> None:
    quality_json = done_up_to(tmp_path, "tissue") / "quality.json"
    odd = {"appearance": {"text": "no colour in it"}, "notes": ["is it ink?"], "ink_fraction": 0.05}
    quality_json.write_text(json.dumps({**json.loads(quality_json.read_text()), **odd}))
    slide_json = quality_json.with_name("slide.json")
    slide_json.write_text(json.dumps({**json.loads(slide_json.read_text()), "notes": ["16 bits scaled"]}))
    (slide,) = to_json(status_of(tmp_path, COHORT))["slides"]
    assert slide["state"] == "failed"  # at its tiles
    assert slide["flags"] == ["no colour in it", "pen on 5.0% of the slide", "is it ink?", "16 bits scaled"]


def test_the_flags_of_a_stage_that_was_not_reached_are_not_shown(
    tmp_path: Path, done_up_to: Callable[..., Path]
) -> None:
    quality_json = done_up_to(tmp_path, "tissue") / "quality.json"
    quality_json.write_text("{")
    (slide,) = to_json(status_of(tmp_path, COHORT))["slides"]
    assert (slide["stage"], slide["flags"]) == ("tissue", [])


def test_tissue_whose_every_tile_is_blank_says_so(tmp_path: Path, done_up_to: Callable[..., Path]) -> None:
    done_up_to(tmp_path, "overlay", scored=0)
    assert the_status(tmp_path).state == "no-tissue"
    assert "blank" in the_status(tmp_path).reason


def test_the_reason_is_the_error_of_the_stage_that_failed(tmp_path: Path, done_up_to: Callable[..., Path]) -> None:
    done_up_to(tmp_path, "tissue")
    log(tmp_path, "tiles", "some warning\ntesela: error: a.tif: too coarse\n")
    assert the_status(tmp_path) == SlideStatus("a", "failed", "tiles", "a.tif: too coarse")


def test_a_stage_that_was_killed_says_that_it_left_no_message(tmp_path: Path, done_up_to: Callable[..., Path]) -> None:
    done_up_to(tmp_path, "tiles")
    log(tmp_path, "predict", "loading\n")
    assert "killed, out of memory or out of time (last line: loading)" in the_status(tmp_path).reason


def test_a_failed_training_is_the_reason_of_every_slide(tmp_path: Path, done_up_to: Callable[..., Path]) -> None:
    done_up_to(tmp_path, "tiles")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "train.log").write_text("tesela: error: no class folders\n")
    assert the_status(tmp_path).reason == "no model: no class folders"


def test_a_slide_that_was_never_started_is_failed_too(tmp_path: Path) -> None:
    assert the_status(tmp_path) == SlideStatus("a", "failed", "ingest", "stage 'ingest' was not run")


def test_a_slide_whose_name_cannot_be_used_is_failed_with_that_reason(
    tmp_path: Path, done_up_to: Callable[..., Path]
) -> None:
    good, bad = CohortSlide("a", "a.tif"), CohortSlide("b", "{b}.tif", fault="{b}.tif: rename it")
    done_up_to(tmp_path, "overlay")
    statuses = status_of(tmp_path, Cohort((good, bad)))
    assert statuses == [SlideStatus("a", "ok"), SlideStatus("b", "failed", "ingest", "{b}.tif: rename it")]


def test_the_counts_of_the_cohort_go_with_those_of_the_states() -> None:
    statuses = [SlideStatus("a", "ok"), SlideStatus("b", "failed", "ingest", "why")]
    said = to_json(statuses, Intake("file", 4, 2, left_out={".btf": 2}))
    assert (said["cohort"]["seen"], said["cohort"]["left_out"]) == (4, {".btf": 2})
    assert sum(said["counts"].values()) == said["cohort"]["slides"] == 2
    assert to_json(statuses)["cohort"] == {"slides": 2}


def test_every_state_is_counted(tmp_path: Path, done_up_to: Callable[..., Path]) -> None:
    done_up_to(tmp_path, "overlay")
    assert to_json(status_of(tmp_path, COHORT))["counts"] == {"ok": 1, "no-tissue": 0, "failed": 0}


def test_a_slide_scored_by_a_model_that_was_trained_again_is_out_of_date(
    tmp_path: Path, done_up_to: Callable[..., Path]
) -> None:
    done_up_to(tmp_path, "overlay")
    (tmp_path / "models" / "model").mkdir(parents=True)
    assert the_status(tmp_path).stage == "predict"  # training started anew and did not end
    write_json(tmp_path / "models" / "model" / "model.json", {"weights_sha256": "other"})
    assert "trained again" in the_status(tmp_path).reason
    write_json(tmp_path / "models" / "model" / "model.json", {"weights_sha256": "w"})
    assert the_status(tmp_path).state == "ok"


def test_a_slide_scored_by_a_model_of_the_same_weights_and_another_meaning_is_out_of_date(
    tmp_path: Path, done_up_to: Callable[..., Path]
) -> None:
    folder = done_up_to(tmp_path, "predict")
    score(folder, 0.7, model_digest="d")
    model = tmp_path / "models" / "model" / "model.json"
    write_json(model, {"weights_sha256": "w", "digest": "e"})
    assert first_fault(tmp_path, folder) == ("predict", ANY)
    write_json(model, {"weights_sha256": "w", "digest": "d"})
    paint(folder)
    export(folder / "slide.json", folder / "predictions.parquet", folder, ExportOptions())
    assert the_status(tmp_path).state == "ok"


def test_what_was_made_of_something_that_changed_since_is_out_of_date_stage_by_stage(
    tmp_path: Path, done_up_to: Callable[..., Path]
) -> None:
    folder = done_up_to(tmp_path, "overlay")
    tissue_geojson = folder / "tissue.geojson"
    tissue_geojson.write_text(tissue_geojson.read_text() + "\n")
    assert the_status(tmp_path).stage == "tiles"
    cut(folder, min_tissue=0.2)
    assert "tiles have changed" in the_status(tmp_path).reason
    score(folder, 0.7)
    assert (the_status(tmp_path).stage, "overlay.png" in the_status(tmp_path).reason) == ("overlay", True)
    paint(folder)
    assert (the_status(tmp_path).stage, "regions.geojson" in the_status(tmp_path).reason) == ("export", True)
    export(folder / "slide.json", folder / "predictions.parquet", folder, ExportOptions())
    assert the_status(tmp_path).state == "ok"


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("slide.json", "tissue"),
        ("quality.json", "tissue"),
        ("tissue.geojson", "tiles"),
        ("tiles.parquet", "tiles"),
        ("predictions.parquet", "predict"),
        ("summary.json", "predict"),
        ("heatmap.ome.zarr", "predict"),
        ("overlay.png", "overlay"),
        ("overlay.ome.tif", "overlay"),
        ("regions.geojson", "export"),
        ("tiles.geojson.gz", "export"),
    ],
)
def test_a_file_of_another_slide_of_the_same_size_is_never_ok(
    tmp_path: Path, finished_slides: Path, done_up_to: Callable[..., Path], name: str, stage: str
) -> None:
    folder = done_up_to(tmp_path, "overlay")
    remove(folder / name)
    copy = shutil.copytree if (finished_slides / "other" / name).is_dir() else shutil.copy2
    copy(finished_slides / "other" / name, folder / name)
    status = the_status(tmp_path)
    assert (status.state, status.stage) == ("failed", stage)


def test_a_slide_that_was_replaced_after_the_run_is_never_ok(tmp_path: Path, finished_slides: Path) -> None:
    shutil.copy2(finished_slides / "a.tif", tmp_path / "a.tif")
    make_slide(tmp_path / "slides" / "a", tmp_path / "a.tif")
    assert the_status(tmp_path).state == "ok"
    shutil.copy2(finished_slides / "other.tif", tmp_path / "a.tif")
    assert the_status(tmp_path).stage == "ingest"
    assert "another slide than when" in the_status(tmp_path).reason


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
    tmp_path: Path, done_up_to: Callable[..., Path], name: str, stage: str, content: bytes
) -> None:
    done_up_to(tmp_path, "overlay")
    (tmp_path / "slides" / "a" / name).write_bytes(content)
    status = the_status(tmp_path)
    assert (status.state, status.stage) == ("failed", stage)
    assert f"a/{name}" in status.reason
    assert "run again" in status.reason


def test_what_became_of_drawn_regions_and_of_tiles_is_told_and_adds_up(
    tmp_path: Path, done_up_to: Callable[..., Path]
) -> None:
    folder = done_up_to(tmp_path, "overlay")
    assert to_json(status_of(tmp_path, COHORT))["slides"][0]["labels"] is None
    tiles = folder / "tiles.parquet"
    drawing = Drawing([Region(box(0, 0, 200, 384), "A", "x"), Region(box(100, 0, 448, 384), "B", "x")])
    label(tiles, folder / "labels.parquet", 0.75, drawing=drawing, drawn_in="d")
    (slide,) = to_json(status_of(tmp_path, COHORT))["slides"]
    counts = slide["labels"]["tiles"]
    total = counts.pop("all")
    assert total == sum(counts.pop("classes").values()) + sum(counts.values()) == len(read_table(tiles))
    assert any("A and B contest them" in flag for flag in slide["flags"])


def test_what_lies_behind_the_failed_stage_is_of_old_and_not_shown() -> None:
    assert reached(SlideStatus("a", "failed", "tiles", "")) == {*STAGE_FILES[0][1], *STAGE_FILES[1][1]}
