"""Whoever takes two things that must be of one slide refuses a pair that is not, also where sizes and mpp agree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zarr
from finished_slides import cut
from PIL import Image

from pipelines import stages
from wsi.annotations import read_geojson
from wsi.annotations.frame import Frame
from wsi.blank import BlankOptions
from wsi.digest import sha256_of
from wsi.errors import InputError, MismatchError
from wsi.exports import ExportOptions
from wsi.exports.about import export_predictions
from wsi.fingerprint import fingerprint
from wsi.geometry import Box, TileSpec
from wsi.marked import MarkedOptions
from wsi.overlay import OverlayOptions, overlay_provenance
from wsi.preview import preview_provenance
from wsi.provenance import made_of_table, slide_of_table, with_provenance
from wsi.scores import TileScores
from wsi.tiles import read_schema, read_table, write_table
from wsi.tissue import TissueOptions

Pair = Callable[[Path, Path, Path], object]


def overlay(slide: Path, results: Path, out: Path) -> object:
    predictions = results / "predictions.parquet"
    return stages.overlay(slide, predictions, out / "o.tif", OverlayOptions(), preview=out / "o.png", slide_id="s")


def overlay_region(slide: Path, results: Path, out: Path) -> object:
    region = Box(0, 0, 64, 64)
    return stages.overlay_region(slide, results / "predictions.parquet", out / "r.png", OverlayOptions(), region, 1.0)


def export(slide: Path, results: Path, out: Path) -> object:
    return stages.export(slide, results / "predictions.parquet", out, ExportOptions())


def marked(slide: Path, results: Path, out: Path) -> object:
    del out
    return stages.marked(results / "tiles.parquet", slide, slide, MarkedOptions())


def tiles(slide: Path, results: Path, out: Path) -> object:
    return stages.tiles(
        slide,
        out / "t.parquet",
        TileSpec(64, 1.0, 64),
        BlankOptions(),
        min_tissue=0.1,
        allow_upsample=False,
        tissue_path=results / "tissue.geojson",
        tissue_options=TissueOptions(),
        scheduler=None,
    )


@pytest.mark.parametrize("command", [overlay, overlay_region, export, marked, tiles], ids=lambda f: f.__name__)
@pytest.mark.parametrize("slide", ["other.tif", "other/slide.json"])
def test_results_of_another_slide_are_refused_by_name(
    finished_slides: Path, tmp_path: Path, command: Pair, slide: str
) -> None:
    with pytest.raises(MismatchError, match=r"a/\w+\.\w+: is of another slide \(fingerprint [0-9a-f]{12}…\)"):
        command(finished_slides / slide, finished_slides / "a", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [overlay, overlay_region, export, tiles], ids=lambda f: f.__name__)
def test_a_copy_of_the_slide_under_another_name_is_the_slide(
    finished_slides: Path, tmp_path: Path, command: Pair
) -> None:
    shutil.copyfile(finished_slides / "a.tif", tmp_path / "copy.tif")
    command(tmp_path / "copy.tif", finished_slides / "a", tmp_path)


@pytest.mark.parametrize("command", [overlay, export], ids=lambda f: f.__name__)
def test_a_table_that_does_not_say_of_which_slide_it_is_is_refused(
    finished_slides: Path, tmp_path: Path, command: Pair
) -> None:
    table = read_table(finished_slides / "a" / "predictions.parquet")
    metadata = {key: value for key, value in table.schema.metadata.items() if key != b"tesela.slide"}
    write_table(tmp_path / "predictions.parquet", table.replace_schema_metadata(metadata))
    with pytest.raises(InputError, match=r"predictions\.parquet: does not say of which slide it is"):
        command(finished_slides / "a.tif", tmp_path, tmp_path)


def test_annotations_that_say_they_are_of_another_slide_are_refused(finished_slides: Path) -> None:
    regions = finished_slides / "a" / "regions.geojson"
    with pytest.raises(MismatchError, match=r"regions\.geojson: is of another slide"):
        stages.drawn(finished_slides / "other" / "tiles.parquet", regions)
    assert read_geojson(regions, Frame(slide=fingerprint(finished_slides / "a.tif")))


def test_everything_carries_the_fingerprint_and_what_it_was_made_of(finished_slides: Path) -> None:
    folder, slide = finished_slides / "a", fingerprint(finished_slides / "a.tif")
    tissue, tiles, predictions = (
        sha256_of(folder / name) for name in ("tissue.geojson", "tiles.parquet", "predictions.parquet")
    )
    for name in ("slide.json", "quality.json", "summary.json"):
        texts = json.loads((folder / name).read_text())
        assert texts.get("slide", texts.get("fingerprint")) == slide
    assert json.loads((folder / "tissue.geojson").read_text())["tesela"]["slide"] == slide
    schemas = [read_schema(folder / f"{name}.parquet") for name in ("tiles", "predictions")]
    assert [slide_of_table(schema) for schema in schemas] == [slide, slide]
    assert made_of_table(schemas[0]) == {"tissue": tissue}
    assert made_of_table(schemas[1]) == {"tissue": tissue, "tiles": tiles, "weights": "w"}
    heatmap = zarr.open_group(folder / "heatmap.ome.zarr", mode="r").attrs["tesela"]
    assert heatmap == {"slide": slide, "predictions": predictions}
    assert overlay_provenance(folder / "overlay.ome.tif") == (slide, predictions)
    assert preview_provenance(folder / "overlay.png") == (slide, predictions)
    assert Image.open(folder / "overlay.png").info["Slide"] == slide
    for name in ("regions.geojson", "tiles.geojson.gz"):
        assert export_predictions(folder / name) == predictions


def test_no_version_of_tesela_is_in_tables_whose_digests_decide_what_is_up_to_date(finished_slides: Path) -> None:
    for name in ("tiles", "predictions"):
        metadata = pq.read_schema(finished_slides / "a" / f"{name}.parquet").metadata
        assert not any(b"version" in key or b"0.1.0" in value for key, value in metadata.items() if b"tesela" in key)


def test_the_same_slide_cut_twice_gives_the_same_bytes(finished_slides: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_slides / "a", tmp_path / "a")
    cut(tmp_path / "a")
    assert sha256_of(tmp_path / "a" / "tiles.parquet") == sha256_of(finished_slides / "a" / "tiles.parquet")


def test_a_tile_table_replaced_while_its_tiles_were_scored_is_noticed(finished_slides: Path, tmp_path: Path) -> None:
    folder = finished_slides / "a"
    path = tmp_path / "tiles.parquet"
    shutil.copyfile(folder / "tiles.parquet", path)
    file = stages.TilesFile(path, sha256_of(path))
    write_table(path, with_provenance(read_table(path), "another", {}))
    scores = TileScores.of_table(read_table(folder / "predictions.parquet"), folder / "predictions.parquet")
    with pytest.raises(MismatchError, match="was replaced while its tiles were scored"):
        stages.write_scores(scores, file, tmp_path, {})


def test_labels_say_of_which_slide_they_are_and_what_they_were_made_of(finished_slides: Path, tmp_path: Path) -> None:
    tiles, regions = finished_slides / "a" / "tiles.parquet", finished_slides / "a" / "regions.geojson"
    drawing = stages.drawn(tiles, regions)
    stages.label(tiles, tmp_path / "labels.parquet", 0.5, drawing=drawing, drawn_in=sha256_of(regions))
    schema = read_schema(tmp_path / "labels.parquet")
    assert slide_of_table(schema) == fingerprint(finished_slides / "a.tif")
    assert made_of_table(schema)["tiles"] == sha256_of(tiles)
    assert made_of_table(schema)["drawn"] == sha256_of(regions)
