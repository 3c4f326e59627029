"""The report of runs that came to an end, and of one that has only come as far as its tissue."""

from __future__ import annotations

import base64
import html
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from page_policy import assert_reaches_for_nothing
from PIL import Image
from report_runs import HOSTILE, WEIGHTS, write_run
from shapely.geometry import box

from pipelines.cohort import Cohort, CohortSlide, Intake
from pipelines.report import write_report
from pipelines.reporting.flags import flags_of
from pipelines.reporting.gallery import gallery_of
from pipelines.reporting.pictures import Budget, small_jpeg
from pipelines.reporting.provenance import provenance_of
from pipelines.stages import ingest, tissue
from wsi.annotations import Region, write_geojson
from wsi.phantom import Phantom, PhantomSpec
from wsi.phantom.files import write_tiled
from wsi.tissue import TissueOptions


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose one slide has its tissue found; tiles were not cut yet."""
    write_tiled(Phantom(PhantomSpec(81, 1000, 800, 1.0, pieces=1, classes=("STR",))), tmp_path / "a.ome.tif")
    Cohort((CohortSlide("a", "a.ome.tif"),)).write(tmp_path / "cohort.csv")
    folder = tmp_path / "slides" / "a"
    ingest(tmp_path / "a.ome.tif", folder, None)
    tissue(folder / "slide.json", folder, TissueOptions())
    return tmp_path


def row_of(run: Path) -> dict[str, object]:
    write_report(run)
    (row,) = pq.read_table(run / "cohort.parquet").to_pylist()
    return dict(row)


def test_the_tissue_area_is_that_of_the_outlines(run: Path) -> None:
    """As found, but for the corners that outlines cut."""
    found = json.loads((run / "slides" / "a" / "quality.json").read_text())
    assert row_of(run)["tissue_area_mm2"] == pytest.approx(found["tissue_area_mm2"], rel=0.01)


def test_the_cohort_table_has_the_mpp_that_was_used_and_says_where_it_is_from(run: Path) -> None:
    row = row_of(run)
    assert (row["mpp"], row["mpp_y"], row["mpp_source"]) == (1.0, 1.0, "file")
    ingest(run / "a.ome.tif", run / "slides" / "a", 0.5)
    row = row_of(run)
    assert (row["mpp"], row["mpp_source"]) == (0.5, "given")


def test_corrected_outlines_have_the_area_that_a_person_gave_them(run: Path) -> None:
    """400 × 250 px at 1 µm, of two outlines that overlap."""
    corrected = [
        Region(box(100, 100, 400, 350), "tissue", "QuPath"),
        Region(box(300, 100, 500, 350), "tissue", "QuPath"),
    ]
    write_geojson(run / "slides" / "a" / "tissue.geojson", corrected)
    assert row_of(run)["tissue_area_mm2"] == pytest.approx(0.1)


def test_outlines_that_were_all_deleted_have_no_area(run: Path) -> None:
    write_geojson(run / "slides" / "a" / "tissue.geojson", [])
    assert row_of(run)["tissue_area_mm2"] == 0


def test_outlines_that_cannot_be_read_have_an_unknown_area(run: Path) -> None:
    """The stage that cuts tiles fails on them and says why; the report comes out all the same."""
    (run / "slides" / "a" / "tissue.geojson").write_text("{")
    assert row_of(run)["tissue_area_mm2"] is None


def test_regions_are_hashable_whatever_was_measured() -> None:
    """So that they can be counted and kept in sets."""
    with_numbers = Region(box(0, 0, 9, 9), "blue pen", "ink", {"confidence": 1.0})
    assert hash(with_numbers) == hash(Region(box(0, 0, 9, 9), "blue pen", "ink"))
    assert with_numbers != Region(box(0, 0, 9, 9), "blue pen", "ink")


def test_quality_of_an_older_version_is_reported_as_far_as_it_goes(run: Path) -> None:
    """It had the mask's numbers only: no focus, no hints, no stain."""
    path = run / "slides" / "a" / "quality.json"
    names = ("tissue_area_mm2", "tissue_fraction", "ink_fraction", "background_rgb", "density_threshold", "notes")
    found = json.loads(path.read_text())
    path.write_text(json.dumps({name: found[name] for name in names}))
    row = row_of(run)
    assert row["ink_fraction"] == found["ink_fraction"]
    assert row["focus_median"] is None
    assert row["out_of_focus_share"] is None
    assert "Focus " not in (run / "report.html").read_text()


@pytest.mark.parametrize(("mpp", "shown"), [([0.25, 0.25], ">0.25<"), ([0.25, 0.2755], ">0.25 × 0.2755<")])
def test_the_mpp_of_both_sides_is_shown_where_they_differ(run: Path, mpp: list[float], shown: str) -> None:
    path = run / "slides" / "a" / "slide.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mpp": mpp}))
    write_report(run)
    assert shown in (run / "report.html").read_text("utf-8")


def test_quality_has_columns_and_a_line(run: Path) -> None:
    row = row_of(run)
    found = json.loads((run / "slides" / "a" / "quality.json").read_text())
    for name in ("focus_median", "out_of_focus_share", "fold_hint_share", "bubble_hint_count", "hematoxylin_density"):
        assert row[name] == found[name]
    assert f"Focus {found['focus_median']:.2f}" in (run / "report.html").read_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a good slide, one without tissue, a failed one, and a model; never changed by a test."""
    return write_run(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The same run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def page_of(run: Path) -> str:
    write_report(run)
    return (run / "report.html").read_text("utf-8")


def card_text(page: str, slide: str) -> str:
    """The part of the page that is about one slide."""
    return page.partition(f'<article class="card" id="{slide}">')[2].partition("</article>")[0]


def test_all_slides_are_shown_each_with_its_state_and_reason(finished: Path) -> None:
    page = page_of(finished)
    assert "3 slides: 1 ok, 1 without tissue, 1 failed" in page
    assert "no tissue found" in card_text(page, "white")
    failed = html.unescape(card_text(page, "bad"))
    assert f"bad.tif: {HOSTILE}" in failed
    assert "Thumbnail of bad" in failed


def test_what_was_left_out_of_the_cohort_is_counted_on_the_page_and_in_its_status(copied: Path) -> None:
    cohort = Cohort.load(copied / "cohort.csv")
    broken = CohortSlide("odd", "a{b}.tif", fault="a{b}.tif: rename it")
    warning = "good.tif, bad.tif: copies of one slide"
    intake = Intake("file", 9, 4, links=1, hidden=2, left_out={".png": 2}, warnings=(warning,))
    Cohort((*cohort.slides, broken), intake).write(copied / "cohort.csv")
    page = page_of(copied)
    assert "4 slides: 1 ok, 1 without tissue, 2 failed" in page
    assert "9 files: 4 slides, 1 by a link to what is counted, 2 hidden or of the system, left out: 2 .png" in page
    assert warning in page
    assert "rename it" in card_text(page, "odd")
    status = json.loads((copied / "status.json").read_text())
    found = status["cohort"]
    assert (found["seen"], found["slides"], found["left_out"]) == (9, 4, {".png": 2})
    assert found["seen"] == found["slides"] + found["links"] + found["hidden"] + sum(found["left_out"].values())
    assert sum(status["counts"].values()) == found["slides"] == len(status["slides"])


def test_nothing_that_a_sheet_a_log_or_a_class_says_becomes_part_of_the_page(finished: Path) -> None:
    """Notes, cases, reasons, class names, splits and settings all hold HTML here."""
    page = page_of(finished)
    assert page.count("<script>") == 1
    for smuggled in ("<img src=x", '<i title="x">', "49&amp;amp;"):
        assert smuggled not in page


def test_the_gallery_shows_the_tiles_of_the_summary_with_their_places(finished: Path) -> None:
    summary = json.loads((finished / "slides" / "good" / "summary.json").read_text())
    found = gallery_of(finished / "slides" / "good", summary, Budget.of(1))
    assert [title for title, _ in found.rows] == ["Hottest", "Most uncertain", "Just below the threshold"]
    hottest = found.rows[0][1]
    assert {shown.tile.name for shown in hottest} == set(summary["classes"]) - {"BACK"}  # every class, but no glass
    best = max(entry["probability"] for entry in summary["top_tiles"] if entry["class"] == "LYM")
    assert max(shown.tile.probability for shown in hottest if shown.tile.name == "LYM") == best


def test_a_tile_of_the_gallery_is_cut_from_its_place(finished: Path) -> None:
    """Compared with the slide's own pixels, as far as JPEG keeps them."""
    from wsi.slide import open_slide

    folder = finished / "slides" / "good"
    summary = json.loads((folder / "summary.json").read_text())
    shown = gallery_of(folder, summary, Budget.of(1)).rows[0][1][0]
    content = base64.b64decode(shown.picture.url.partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(content)), np.float64)
    with open_slide(folder / "slide.json") as slide:
        truth = slide.read_to(shown.tile.box, (pixels.shape[1], pixels.shape[0])).astype(np.float64)
    assert np.abs(pixels - truth).mean() < 8
    assert np.abs(pixels - np.roll(truth, 20, axis=0)).mean() > 12  # another place looks different


def test_a_summary_of_an_older_version_has_its_tiles_found_in_the_predictions(finished: Path) -> None:
    folder = finished / "slides" / "good"
    summary = json.loads((folder / "summary.json").read_text())
    older = {name: summary[name] for name in ("tiles_scored", "scored_area_mm2", "classes", "model")}
    assert gallery_of(folder, older, Budget.of(1)) == gallery_of(folder, summary, Budget.of(1))


def test_a_slide_that_is_gone_says_so_in_its_card_and_the_report_comes_out(copied: Path) -> None:
    info_path = copied / "slides" / "good" / "slide.json"
    info = json.loads(info_path.read_text())
    info_path.write_text(json.dumps({**info, "path": "/nowhere/gone.tif"}))
    text = html.unescape(card_text(page_of(copied), "good"))
    assert "Tiles cannot be shown" in text
    assert "/nowhere/gone.tif, which is gone" in text
    assert "Overlay of good" in text


def test_another_slide_at_the_same_place_is_not_shown_for_the_one_that_was_scored(copied: Path) -> None:
    info_path = copied / "slides" / "good" / "slide.json"
    info = json.loads(info_path.read_text())
    info_path.write_text(json.dumps({**info, "width": info["width"] + 1}))
    assert "was 901 × 700 px when it was scored" in page_of(copied)


def test_the_page_allows_its_own_style_and_script_and_no_address(finished: Path) -> None:
    assert_reaches_for_nothing(page_of(finished))


def test_figures_of_the_model_come_with_intervals_and_after_its_warnings(finished: Path) -> None:
    page = html.unescape(page_of(finished))
    found = json.loads((finished / "models" / "m" / "metrics.json").read_text())["val"]
    low, high = found["intervals"]["balanced_accuracy"]
    assert f"{low:.3f} to {high:.3f}" in page
    assert page.index(found["warnings"][0]) < page.index("Balanced accuracy")
    assert "a histogram" in page
    assert "0.432" in page  # the thresholds
    assert WEIGHTS in page


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"val": {"classes": ["A"]}, "test": null}'])
def test_a_model_whose_figures_are_damaged_says_so_and_the_report_comes_out(copied: Path, content: str) -> None:
    (copied / "models" / "m" / "metrics.json").write_text(content)
    page = page_of(copied)
    assert "Balanced accuracy" not in page
    assert "again" in page.split('<article class="model"')[1]


def test_times_are_those_that_were_measured(finished: Path) -> None:
    (found,) = provenance_of(finished, []).times
    assert (found.stage, found.jobs, found.total_s, found.median_s, found.most_mb) == ("predict", 2, 25, 12.5, 730.5)


def test_the_configuration_is_shown_where_it_was_kept(copied: Path) -> None:
    assert "Not kept" in page_of(copied)
    (copied / "config.yaml").write_text("run: <test>\n")
    assert "run: &lt;test&gt;" in page_of(copied)


def test_flags_are_raised_from_a_number_on_that_is_worth_a_look() -> None:
    calm = {"out_of_focus_share": 0.05, "ink_fraction": 0.0, "fold_hint_share": 0.004, "bubble_hint_count": 0}
    assert flags_of(calm) == []
    loud = {"out_of_focus_share": 0.3, "ink_fraction": 0.02, "fold_hint_share": 0.02, "bubble_hint_count": 2}
    assert [flag.word for flag in flags_of({**loud, "background_step_levels": 4.0, "notes": ["odd"]})] == [
        "focus",
        "pen",
        "folds",
        "bubbles",
        "steps",
        "note",
    ]
    assert flags_of(dict.fromkeys(loud)) == []  # not known


@pytest.mark.parametrize("slides", [1, 4, 50, 500, 2000, 20_000])
def test_however_many_slides_there_are_their_pictures_stay_within_60_mb_of_text(slides: int) -> None:
    budget = Budget.of(slides)
    pictures = budget.overview_bytes + 4 * budget.tiles * budget.tile_bytes
    assert slides * pictures * 4 / 3 <= 60e6


@pytest.mark.parametrize("most_bytes", [1500, 20_000, 400_000])
def test_a_picture_is_shrunk_until_it_fits(most_bytes: int) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (600, 900, 3), np.uint8))
    found = small_jpeg(noise, (700, 700), most_bytes)
    assert len(base64.b64decode(found.url.partition(",")[2])) <= most_bytes
    assert found.width <= 700
    assert found.width / found.height == pytest.approx(1.5, rel=0.1)
