"""The report of a run that has only come as far as its tissue."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from shapely.geometry import box

from pipelines.cohort import Cohort, CohortSlide
from pipelines.report import write_report
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


def test_quality_has_columns_and_a_line(run: Path) -> None:
    row = row_of(run)
    found = json.loads((run / "slides" / "a" / "quality.json").read_text())
    for name in ("focus_median", "out_of_focus_share", "fold_hint_share", "bubble_hint_count", "hematoxylin_density"):
        assert row[name] == found[name]
    assert f"Focus {found['focus_median']:.2f}" in (run / "report.html").read_text()
