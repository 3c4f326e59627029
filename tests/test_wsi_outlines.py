"""Tissue outlines that a person corrected: only what is named tissue is tissue, and the rest is taken out and said."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from typer.testing import CliRunner

from pipelines.commands.app import app
from wsi.annotations import Region, write_geojson
from wsi.annotations.tissue import TissueOutlines
from wsi.errors import InputError
from wsi.slide import open_slide

ALL, MIDDLE, CORE, CORNER = box(0, 0, 100, 100), box(20, 20, 80, 80), box(40, 40, 60, 60), box(90, 90, 110, 110)


def outlines(*drawn: tuple[str, BaseGeometry]) -> TissueOutlines:
    return TissueOutlines.of([Region(polygon, name, "tissue.geojson") for name, polygon in drawn])


def area(found: TissueOutlines) -> float:
    return float(sum(region.polygon.area for region in found.regions))


def test_only_what_is_named_tissue_is_tissue() -> None:
    far = box(200, 200, 300, 300)
    found = outlines(("tissue", ALL), ("Ignore*", far), ("Artefact", MIDDLE))
    assert area(found) == 10_000 - 3_600
    assert found.taken_out == {"Artefact": 1, "Ignore*": 1}
    assert found.notes() == ["only what is named 'tissue' is tissue; taken out of it: 1 Artefact, 1 Ignore*"]
    assert area(outlines(("Tissue", ALL), ("TISSUE", far))) == 20_000
    assert not outlines(("Tissue", ALL)).notes()


def test_tissue_within_what_is_taken_out_is_tissue_again() -> None:
    assert area(outlines(("tissue", ALL), ("Fold", MIDDLE), ("tissue", CORE))) == 10_000 - 3_600 + 400


def test_where_tissue_and_another_region_only_overlap_or_are_equal_there_is_none() -> None:
    assert area(outlines(("tissue", ALL), ("Artefact", CORNER))) == 10_000 - 100
    found = outlines(("tissue", ALL), ("Artefact", ALL))
    assert found.regions == ()
    assert found.named == 1


def test_regions_without_any_tissue_among_them_are_refused_and_an_empty_file_is_not() -> None:
    with pytest.raises(InputError, match=r"tissue\.geojson: no region is named 'tissue' \(but Stroma, Tumor\)"):
        outlines(("Tumor", ALL), ("Stroma", CORE))
    assert outlines().regions == ()


def cut(slide: Path, drawn: list[Region], folder: Path) -> tuple[int, str]:
    write_geojson(folder / "tissue.geojson", drawn)
    words = ["tiles", slide, "--tissue", folder / "tissue.geojson", "--out", folder / "tiles.parquet", "--mpp", "1"]
    done = CliRunner().invoke(app, [*map(str, words), "--size", "64", "--max-bright", "1"])
    return done.exit_code, str(done.exception) if done.exception else done.stderr


def test_the_command_leaves_out_what_is_taken_out_and_says_so_there_and_in_the_table(
    phantom_tiled: Path, tmp_path: Path
) -> None:
    with open_slide(phantom_tiled) as slide:
        width, height = slide.size
    tissue = Region(box(0, 0, width, height), "tissue", "")
    left = Region(box(0, 0, width // 2, height), "Ignore*", "")
    assert cut(phantom_tiled, [tissue], tmp_path)[0] == 0
    table = pq.read_table(tmp_path / "tiles.parquet")
    assert json.loads(table.schema.metadata[b"tesela.tissue_outlines"]) == {"tissue": 1, "taken_out": {}}
    code, said = cut(phantom_tiled, [tissue, left], tmp_path)
    assert code == 0
    assert "tissue.geojson: only what is named 'tissue' is tissue; taken out of it: 1 Ignore*" in said
    fewer = pq.read_table(tmp_path / "tiles.parquet")
    assert json.loads(fewer.schema.metadata[b"tesela.tissue_outlines"])["taken_out"] == {"Ignore*": 1}
    assert fewer["tissue"].to_numpy().sum() == pytest.approx(table["tissue"].to_numpy().sum() / 2, rel=0.02)


def test_outlines_over_the_edge_are_said_and_those_of_another_slide_refused(
    phantom_tiled: Path, tmp_path: Path
) -> None:
    code, said = cut(phantom_tiled, [Region(box(-500, 0, 400, 400), "tissue", "")], tmp_path)
    assert code == 0
    assert "1 of 1 regions reach over the edge of the slide" in said
    assert "by 500 px at most; 56% of a region tissue lies outside" in said
    code, said = cut(phantom_tiled, [Region(box(90_000, 0, 90_400, 400), "tissue", "")], tmp_path)
    assert code != 0
    assert "1 regions lie outside of the slide" in said
