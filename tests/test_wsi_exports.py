"""Scores for other programs: what QuPath, WSInfer's readers and GeoParquet's find in the files."""

from __future__ import annotations

import csv
import gzip
import json
import struct
import uuid
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import yaozarrs
import zarr
from cells import tissue_on
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from pipelines import stages
from pipelines.cli import app
from pipelines.config import ExportConfig, flags_of
from wsi.annotations import Region, read_geojson
from wsi.colours import class_colours
from wsi.digest import sha256_of
from wsi.errors import InputError, MismatchError
from wsi.exports import FILES, ExportOptions, write_exports
from wsi.exports.notable import notable
from wsi.exports.outlines import outlines_of
from wsi.exports.regions import score_regions
from wsi.exports.scored import ScoredTiles
from wsi.geometry import TileGrid, TileSpec
from wsi.heatmap import Heatmap
from wsi.provenance import with_provenance
from wsi.scores import Threshold, TileScores, summarise
from wsi.slide import Slide, open_slide
from wsi.tiles import read_table, with_grid, write_table
from wsi.tissuemask import TissueMask

CLASSES = ("BACK", "STR", "TUM")
WHOLE = TileGrid(TileSpec(128, 0.5, 128), 1280, 1024, (0.5, 0.5))
OVER_THE_EDGE = TileGrid(TileSpec(64, 0.5, 64), 1501, 1103, (0.25, 0.25))
OVERLAPPING = TileGrid(TileSpec(128, 0.5, 50), 1501, 1103, (0.33, 0.33))
UNEVEN = TileGrid(TileSpec(64, 0.7, 64), 1501, 1103, (0.2527, 0.3))
# 0.2503 is within a blur of 0.25: two px make one of the grid, though 0.5 µm are 1.9976 px.
BLURRED = TileGrid(TileSpec(128, 0.5, 128), 60_000, 50_000, (0.2503, 0.2503))
GRIDS = {
    "whole": WHOLE,
    "over the edge": OVER_THE_EDGE,
    "overlapping": OVERLAPPING,
    "uneven": UNEVEN,
    "blurred mpp": BLURRED,
}
ALL = ExportOptions(formats=("tiles", "regions", "csv", "geoparquet"))


def scores_on(
    grid: TileGrid, tumour: dict[tuple[int, int], float], classes: tuple[str, ...] = CLASSES, **more: Any
) -> TileScores:
    """Nothing scored but the given tiles, (col, row): probability of the last class; the rest goes to the first."""
    probabilities = np.full((grid.rows * grid.cols, len(classes)), np.nan, np.float32)
    for (col, row), probability in tumour.items():
        probabilities[row * grid.cols + col] = [1 - probability, *[0] * (len(classes) - 2), probability]
    return TileScores(grid, classes, probabilities, "model-7", **more)


def random_scores(grid: TileGrid, seed: int = 0) -> TileScores:
    """Two tiles of three are scored."""
    random = np.random.default_rng(seed)
    values = random.dirichlet((0.3, 0.3, 0.3), grid.rows * grid.cols).astype(np.float32)
    values[random.random(len(values)) < 1 / 3] = np.nan
    return TileScores(grid, CLASSES, values, "model-7")


def exported(scores: TileScores, out: Path, options: ExportOptions = ALL, offset: tuple[int, int] = (0, 0)) -> Path:
    write_exports(scores, out, options, offset, "digest of the predictions")
    return out


def tile_features(out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = json.loads(gzip.decompress((out / "tiles.geojson.gz").read_bytes()))
    return found, found["features"]


# tiles.geojson.gz


@pytest.mark.parametrize("name", ["whole", "over the edge", "overlapping", "uneven"])
def test_every_scored_tile_is_a_qupath_tile_at_its_place_with_its_class_and_probabilities(
    name: str, tmp_path: Path
) -> None:
    scores = random_scores(GRIDS[name])
    _, features = tile_features(exported(scores, tmp_path))
    scored = np.flatnonzero(scores.scored)
    assert len(features) == len(scored)
    slide = shapely.box(0, 0, scores.grid.slide_width, scores.grid.slide_height)
    colours = class_colours(CLASSES)
    for feature, index in zip(features, scored, strict=True):
        row, col = divmod(int(index), scores.grid.cols)
        box = scores.grid.cell(col, row)  # the whole tile, or the middle of one that others overlap
        expected = shapely.box(box.x, box.y, box.right, box.bottom).intersection(slide)
        assert shapely.Polygon(feature["geometry"]["coordinates"][0]).equals(expected)
        properties = feature["properties"]
        winner = CLASSES[int(scores.probabilities[index].argmax())]
        assert properties["objectType"] == "tile"
        assert properties["classification"] == {"name": winner, "color": list(colours[winner])}
        assert list(properties["measurements"]) == [f"prob_{one}" for one in CLASSES]
        assert list(properties["measurements"].values()) == pytest.approx(scores.probabilities[index], abs=5.1e-7)
    shapes = [shapely.Polygon(feature["geometry"]["coordinates"][0]) for feature in features]
    assert shapely.union_all(shapes).area == sum(shape.area for shape in shapes)
    ids = {feature["id"] for feature in features}
    assert len(ids) == len(features)
    assert all(str(uuid.UUID(one)) == one for one in ids)


def test_in_qupath_coordinates_count_from_the_corner_of_the_slides_bounds_and_the_file_says_so(tmp_path: Path) -> None:
    scores = scores_on(WHOLE, {(3, 2): 0.9})
    exported(scores, tmp_path / "plain")
    exported(scores, tmp_path / "bounded", offset=(300, 200))
    for name, offset in (("plain", (0, 0)), ("bounded", (300, 200))):
        found, features = tile_features(tmp_path / name)
        assert found["tesela"]["offset_px"] == list(offset)
        assert ("bounds" in found["tesela"]["frame"]) == (offset != (0, 0))
        shape = shapely.Polygon(features[0]["geometry"]["coordinates"][0])
        assert shape.bounds == (384 - offset[0], 256 - offset[1], 512 - offset[0], 384 - offset[1])
        region = read_geojson(tmp_path / name / "regions.geojson")[0]
        assert region.polygon.bounds == (384, 256, 512, 384)  # reading takes the file at its word
        said = json.loads((tmp_path / name / "regions.geojson").read_text())["tesela"]
        assert said["offset_px"] == list(offset)
        # Tables are of the whole level 0.
        assert (tmp_path / name / "tiles.csv").read_text().splitlines()[1].startswith("384,256,128,128,")


@pytest.mark.parametrize("name", ['say "hi", <b>&amp;</b>', "50 % Schleim — µm", "腺癌", "{0} %s %(x)d \\ back"])
def test_any_class_name_comes_back_from_every_format(name: str, tmp_path: Path) -> None:
    scores = scores_on(WHOLE, {(0, 0): 0.75, (1, 0): 0.25}, ("other", name))
    exported(scores, tmp_path)
    _, features = tile_features(tmp_path)
    assert [feature["properties"]["classification"]["name"] for feature in features] == [name, "other"]
    assert features[0]["properties"]["measurements"] == {"prob_other": 0.25, f"prob_{name}": 0.75}
    assert [region.name for region in read_geojson(tmp_path / "regions.geojson")] == ["other", name]
    with (tmp_path / "tiles.csv").open(encoding="utf-8", newline="") as stream:
        assert next(csv.reader(stream))[-1] == f"prob_{name}"
    assert pq.read_table(tmp_path / "tiles.geo.parquet")["class"].to_pylist() == [name, "other"]
    assert [entry["class"] for entry in notable(scores)["top_tiles"]] == ["other", name]


def test_the_same_scores_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        exported(random_scores(WHOLE), tmp_path / name)
    for file in sorted(path.name for path in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_more_tiles_than_are_held_at_a_time_make_one_list(tmp_path: Path) -> None:
    scores = random_scores(TileGrid(TileSpec(16, 0.5, 16), 1600, 1600, (0.5, 0.5)))
    _, features = tile_features(exported(scores, tmp_path, ExportOptions(formats=("tiles",))))
    assert len(features) == int(scores.scored.sum()) > 4096


@pytest.mark.parametrize("tumour", [{}, {(9, 7): 0.8}])
def test_nothing_scored_and_a_single_tile_make_valid_files(
    tumour: dict[tuple[int, int], float], tmp_path: Path
) -> None:
    exported(scores_on(WHOLE, tumour), tmp_path)
    assert len(tile_features(tmp_path)[1]) == len(tumour)
    assert len(read_geojson(tmp_path / "regions.geojson")) == len(tumour)
    with (tmp_path / "tiles.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(tumour)
    table = pq.read_table(tmp_path / "tiles.geo.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]
    assert table.num_rows == len(tumour)
    assert geo["geometry_types"] == ["Polygon"][: len(tumour)]
    assert ("bbox" in geo) == bool(tumour)


# regions.geojson


def thresholds(value: float) -> dict[str, Threshold]:
    return dict.fromkeys(CLASSES, Threshold(value, "given"))


def cells(scores: TileScores, name: str, threshold: float) -> Any:
    """The true area: all cells at or above the threshold, cut at the slide's edge, in level-0 px."""
    x, y = scores.grid.cell_edges()
    chosen = np.flatnonzero(scores.probabilities[:, scores.classes.index(name)] >= threshold)
    row, col = np.divmod(chosen, scores.grid.cols)
    return shapely.union_all(shapely.box(x[col], y[row], x[col + 1], y[row + 1]))


@pytest.mark.parametrize("name", ["whole", "over the edge", "overlapping", "uneven"])
@pytest.mark.parametrize("clipped", [False, True])
def test_a_region_is_its_tiles_tissue_and_encloses_the_area_it_states(name: str, clipped: bool) -> None:
    grid, scores = GRIDS[name], random_scores(GRIDS[name], 3)
    tissue = None
    if clipped:  # px of about 16 level-0 px, whose lines run through cells
        scores = replace(scores, tissue=tissue_on(grid, np.random.default_rng(4).random((71, 93)) < 0.7))
        assert scores.tissue is not None
        tissue = shapely.union_all([region.polygon for region in boxes_of(scores.tissue)])
    regions = score_regions(scores, thresholds(0.5))
    px_um2 = grid.slide_mpp[0] * grid.slide_mpp[1]
    for number, one in enumerate(CLASSES):
        true, own = cells(scores, one, 0.5), [region for region in regions if region.name == one]
        true = true if tissue is None else true.intersection(tissue)
        assert all(region.polygon.is_valid for region in own)
        for region in own:
            assert region.polygon.area * px_um2 == pytest.approx(region.measurements["area_um2"], rel=1e-3, abs=0.01)
        together = shapely.union_all([region.polygon for region in own])
        assert shapely.symmetric_difference(together, true).area <= 1e-6 * true.area + 1e-6
        assert sum(region.polygon.area for region in own) == pytest.approx(together.area)  # none overlaps another
        chosen = (scores.probabilities[:, number] >= 0.5) & (scores.areas_mm2() > 0)
        assert sum(region.measurements["tiles"] for region in own) == chosen.sum()
        weighted = sum(region.measurements["mean_probability"] * region.measurements["tiles"] for region in own)
        assert weighted == pytest.approx(scores.probabilities[chosen, number].sum(), rel=1e-3)
        area_mm2 = summarise(scores)["classes"][one]["area_mm2"]  # at 0.5 and above no other class is as probable
        assert sum(region.measurements["area_um2"] for region in own) <= area_mm2 * 1e6 + 51


def boxes_of(tissue: TissueMask) -> list[Region]:
    """Every px of the mask as a region of its own."""
    row, col = np.nonzero(tissue.mask)
    (x, y), boxes = tissue.px_size, []
    for left, top in zip(col * x, row * y, strict=True):
        boxes.append(Region(shapely.box(left, top, left + x, top + y), "tissue", "test"))
    return boxes


@given(
    mask=arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    steps=st.lists(st.integers(1, 500), min_size=20, max_size=20),
)
def test_the_outlines_of_any_pattern_are_valid_and_enclose_just_that(mask: NDArray[np.bool_], steps: list[int]) -> None:
    """Checkerboards, rings that touch at a corner, holes that touch one another, slivers."""
    x, y = np.append(0.0, np.cumsum(steps[: mask.shape[1]])), np.append(0.0, np.cumsum(steps[10:][: mask.shape[0]]))
    found = outlines_of(mask, x, y)
    row, col = np.nonzero(mask)
    true = shapely.union_all(shapely.box(x[col], y[row], x[col + 1], y[row + 1]))
    assert len(found.polygons) == (len(shapely.get_parts(true)) if len(row) else 0)
    assert shapely.is_valid(found.polygons).all()
    assert shapely.area(found.polygons).sum() == pytest.approx(true.area)
    assert shapely.symmetric_difference(shapely.union_all(found.polygons), true).area == pytest.approx(0)
    for polygon, inside_row, inside_col in zip(found.polygons, found.row, found.col, strict=True):
        assert polygon.exterior.is_ccw
        assert not any(ring.is_ccw for ring in polygon.interiors)
        middle = (x[inside_col] + x[inside_col + 1]) / 2, (y[inside_row] + y[inside_row + 1]) / 2
        assert polygon.contains(shapely.Point(middle))


def test_an_area_in_a_file_is_that_of_its_polygon_within_half_a_percent(tmp_path: Path) -> None:
    """As QuPath computes it: the shoelace formula, times the px' area."""
    for size, shown in ((1, {(4, 4): 0.9}), (3, {(col, row): 0.9 for col in (2, 3, 4) for row in (1, 2, 3)})):
        exported(scores_on(WHOLE, shown), tmp_path / str(size))
        (region,) = read_geojson(tmp_path / str(size) / "regions.geojson")
        assert region.polygon.area * 0.25 == pytest.approx(region.measurements["area_um2"], rel=0.005)
        assert region.measurements["area_um2"] == size**2 * 64.0**2


def test_a_tile_that_is_a_third_tissue_counts_a_third_in_every_file(tmp_path: Path) -> None:
    third = np.zeros((8, 30), bool)
    third[:, 12] = True  # of tile 4, the left third
    scores = replace(scores_on(WHOLE, {(4, 4): 0.75, (4, 6): 0.75}), tissue=tissue_on(WHOLE, third))
    exported(scores, tmp_path)
    regions = read_geojson(tmp_path / "regions.geojson")
    assert [region.measurements["area_um2"] for region in regions] == [pytest.approx(64**2 / 3, abs=0.01)] * 2
    assert regions[0].polygon.bounds == pytest.approx((512, 512, 512 + 128 / 3, 640), abs=0.01)
    found, features = tile_features(tmp_path)
    assert features[0]["geometry"]["coordinates"][0][2] == [640, 640]  # a tile stays a square
    assert features[0]["properties"]["measurements"]["tissue_um2"] == pytest.approx(64**2 / 3, abs=0.1)
    assert "without the glass" in found["tesela"]["area"]
    assert "cut along the tissue" in json.loads((tmp_path / "regions.geojson").read_text())["tesela"]["outline"]
    summary = {**summarise(scores), **notable(scores)}
    assert summary["area_of"] == "tissue"
    assert summary["classes"]["TUM"]["area_mm2"] == summary["scored_area_mm2"] == pytest.approx(0.0027, abs=5e-5)
    assert summary["tissue_area_mm2"] == pytest.approx(8 * 0.064**2 / 3, abs=5e-5)
    assert "without the glass" in summary["rules"]["area"]


def test_tables_that_do_not_say_where_tissue_is_count_whole_tiles_and_say_so(tmp_path: Path) -> None:
    scores = scores_on(WHOLE, {(4, 4): 0.75})
    exported(scores, tmp_path)
    found, features = tile_features(tmp_path)
    assert "glass and all" in found["tesela"]["area"]
    assert "tissue_um2" not in features[0]["properties"]["measurements"]
    summary = {**summarise(scores), **notable(scores)}
    assert (summary["area_of"], summary["tissue_area_mm2"]) == ("tiles", None)
    assert "cut them again with `tesela tiles`" in summary["rules"]["area"]
    assert summary["scored_area_mm2"] == pytest.approx(0.064**2, abs=5e-5)


def test_a_gap_between_two_pieces_of_tissue_is_in_no_region_and_tiles_count_once() -> None:
    mask = np.ones((64, 80), bool)  # px of 16
    mask[:, 38] = False  # a gap of 16 px across tile 4
    scores = replace(scores_on(WHOLE, {(4, 4): 0.75, (3, 4): 0.75, (4, 3): 0.75}), tissue=tissue_on(WHOLE, mask))
    (region,) = score_regions(scores, thresholds(0.5))
    assert region.polygon.geom_type == "MultiPolygon"
    assert region.measurements["tiles"] == 3
    assert region.measurements["area_um2"] == pytest.approx((3 - 2 / 8) * 64**2)


def test_a_tile_without_tissue_in_its_cell_makes_no_region() -> None:
    """Of overlapping tiles the middle may be glass, though the tile has some tissue."""
    scores = replace(scores_on(WHOLE, {(4, 4): 0.75}), tissue=tissue_on(WHOLE, np.zeros((8, 10), bool)))
    assert score_regions(scores, thresholds(0.5)) == []
    assert summarise(scores)["classes"]["TUM"] == {"tiles": 1, "area_mm2": 0, "share": None}


def test_features_of_two_slides_have_no_id_in_common(tmp_path: Path) -> None:
    scores, found = scores_on(WHOLE, {(4, 4): 0.75, (6, 6): 0.8}), []
    for name in ("a", "b"):
        write_exports(replace(scores, slide=name), tmp_path / name, ALL, (0, 0), f"digest of {name}")
        regions = json.loads((tmp_path / name / "regions.geojson").read_text())["features"]
        found.append({feature["id"] for feature in (*tile_features(tmp_path / name)[1], *regions)})
        assert len(found[-1]) == 4
    assert not found[0] & found[1]


def test_rings_run_counter_clockwise_in_x_and_y_as_numbers(tmp_path: Path) -> None:
    """As GeoJSON asks; on a screen, where y grows downwards, it is the other way round."""
    ring = {(col, row): 0.75 for col in (2, 3, 4) for row in (2, 3, 4) if (col, row) != (3, 3)}
    exported(scores_on(WHOLE, ring), tmp_path)
    regions = json.loads((tmp_path / "regions.geojson").read_text())["features"]
    for feature in (*tile_features(tmp_path)[1], *regions):
        outer, *holes = feature["geometry"]["coordinates"]
        assert shapely.LinearRing(outer).is_ccw
        assert not any(shapely.LinearRing(hole).is_ccw for hole in holes)


def test_a_hole_is_kept_and_regions_say_what_they_are(tmp_path: Path) -> None:
    ring = {(col, row): 0.75 for col in (2, 3, 4) for row in (2, 3, 4) if (col, row) != (3, 3)}
    scores = scores_on(WHOLE, ring | {(3, 3): 0.25, (8, 6): 0.9375})
    exported(scores, tmp_path)
    regions = [region for region in read_geojson(tmp_path / "regions.geojson") if region.name == "TUM"]
    assert [len(region.polygon.interiors) for region in regions] == [1, 0]  # the largest first
    assert regions[0].measurements == {
        "area_um2": 8 * 64.0**2,
        "tiles": 8,
        "mean_probability": 0.75,
        "threshold": 0.5,
    }
    assert regions[1].measurements["mean_probability"] == 0.9375
    feature = json.loads((tmp_path / "regions.geojson").read_text())["features"][-1]
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"]["color"] == list(class_colours(CLASSES)["TUM"])


@pytest.mark.parametrize(
    ("own", "asked", "tumours", "said"),
    [
        (None, None, 2, {"value": 0.5, "from": "default"}),
        ({"TUM": 0.8}, None, 1, {"value": 0.8, "from": "model"}),
        ({"STR": 0.8}, None, 2, {"value": 0.5, "from": "default"}),
        ({"TUM": 0.8}, 0.2, 3, {"value": 0.2, "from": "given"}),
    ],
)
def test_the_threshold_is_the_given_one_else_the_models_else_a_half_and_the_file_says_which(
    own: dict[str, float] | None, asked: float | None, tumours: int, said: dict[str, object], tmp_path: Path
) -> None:
    # 0.8 is no float32: the threshold must not fall between the two.
    scores = scores_on(WHOLE, {(0, 0): 0.8, (2, 0): 0.5, (4, 0): 0.25}, thresholds=own)
    exported(scores, tmp_path, ExportOptions(asked, ("regions",)))
    regions = [region for region in read_geojson(tmp_path / "regions.geojson") if region.name == "TUM"]
    assert len(regions) == tumours
    assert json.loads((tmp_path / "regions.geojson").read_text())["tesela"]["thresholds"]["TUM"] == said


def test_a_models_thresholds_travel_with_its_predictions(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    for own in (None, {"TUM": 0.31, "STR": 0.9}):
        scores = scores_on(WHOLE, {(0, 0): 0.8}, thresholds=own)
        tiles = with_grid(pa.table({"col": np.arange(WHOLE.cols * WHOLE.rows)}), WHOLE)
        write_table(path, scores.to_table(tiles, {}))
        assert TileScores.of_table(read_table(path), path).thresholds == own


# tiles.csv, tiles.geo.parquet


def test_the_csv_is_wsinfers(tmp_path: Path) -> None:
    scores = random_scores(OVER_THE_EDGE)
    with (exported(scores, tmp_path) / "tiles.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["minx", "miny", "width", "height", "prob_BACK", "prob_STR", "prob_TUM"]
    values = np.array(rows[1:], np.float64)
    tiles = ScoredTiles.of(scores)
    np.testing.assert_array_equal(values[:, :4], tiles.boxes)
    np.testing.assert_array_equal(values[:, 4:].astype(np.float32), tiles.probabilities)  # every digit
    assert (values[:, 0] + values[:, 2]).max() == 1501  # cut at the slide's edge
    assert (values[:, 1] + values[:, 3]).max() == 1103


def test_the_geoparquet_is_read_by_its_own_metadata(tmp_path: Path) -> None:
    scores = random_scores(OVERLAPPING)
    table = pq.read_table(exported(scores, tmp_path) / "tiles.geo.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    column = geo["columns"][geo["primary_column"]]
    assert column["encoding"] == "WKB"
    assert column["crs"] is None
    shapes = shapely.from_wkb(table[geo["primary_column"]].to_numpy())
    boxes = ScoredTiles.of(scores).boxes
    assert column["bbox"] == list(shapely.total_bounds(shapes))
    np.testing.assert_array_equal(shapely.bounds(shapes), np.c_[boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    assert {shape.geom_type for shape in shapes} == set(column["geometry_types"])
    assert struct.unpack("<bI", table["geometry"][0].as_py()[:5]) == (1, 3)  # little-endian, a polygon without z
    np.testing.assert_array_equal(table["prob_TUM"].to_numpy(), scores.probabilities[scores.scored, 2])
    assert json.loads(table.schema.metadata[b"tesela.export"])["model"] == "model-7"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ExportOptions(threshold=1.5), "threshold is 1.5"),
        (lambda: ExportOptions(threshold=float("nan")), "threshold is nan"),
        (lambda: ExportOptions(formats=("tiles", "xls")), "xls not among tiles, regions, csv, geoparquet"),
    ],
)
def test_options_that_cannot_be_are_refused(make: Callable[[], ExportOptions], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    scores = scores_on(WHOLE, {(0, 0): 0.9})
    exported(scores, tmp_path / "some", ExportOptions())
    assert {path.name for path in (tmp_path / "some").iterdir()} == {
        "tiles.geojson.gz",
        "regions.geojson",
        "tiles.csv",
    }
    exported(scores, tmp_path / "one", ExportOptions(formats=("csv",)))
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["tiles.csv"]


# heatmap.ome.zarr


def ngff_box_px(path: Path, grid: TileGrid, col: int, row: int) -> NDArray[np.float64]:
    """Level-0 px (left, top, right, bottom) of a cell, by the file's own coordinates and those of the slide.

    In NGFF the index i of a pixel is its centre, which lies at translation + scale · i. A slide's level 0 has its
    scale alone, so that a point at p µm is p ÷ mpp px from the *centre* of the first px: half a px from the corner.
    """
    dataset = zarr.open_group(path, mode="r").attrs["ome"]["multiscales"][0]["datasets"][0]
    scale, shift = (np.array(step[step["type"]][1:]) for step in dataset["coordinateTransformations"])
    index = np.array([row, col])
    mpp = np.array(grid.slide_mpp[::-1])
    first, last = ((shift + scale * (index + half)) / mpp + 0.5 for half in (-0.5, 0.5))
    return np.array([first[1], first[0], last[1], last[0]])


@pytest.mark.parametrize("name", GRIDS)
def test_by_ngff_coordinates_each_cell_lies_on_its_tile(name: str, tmp_path: Path) -> None:
    grid = GRIDS[name]
    path = tmp_path / "heatmap.ome.zarr"
    Heatmap.of(scores_on(grid, {(1, 2): 0.9})).write(path)
    yaozarrs.validate_zarr_store(path)
    spec, (dx, dy) = grid.spec, grid.downsample
    margin = (spec.size_px - spec.stride_px) // 2
    for col, row in ((0, 0), (grid.cols - 1, 0), (0, grid.rows - 1), (grid.cols - 1, grid.rows - 1), (1, 2)):
        found = ngff_box_px(path, grid, col, row)
        left, top = (col * spec.stride_px + margin) * dx, (row * spec.stride_px + margin) * dy
        expected = (left, top, left + spec.stride_px * dx, top + spec.stride_px * dy)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        if 0 < col < grid.cols - 1 and 0 < row < grid.rows - 1:  # the outer ones reach beyond the map
            cell = grid.cell(col, row)  # the same, rounded to whole px
            assert np.abs(found - (cell.x, cell.y, cell.right, cell.bottom)).max() <= 0.5 + 1e-6


def test_the_heatmap_names_its_channels_and_has_nan_where_nothing_was_scored(tmp_path: Path) -> None:
    scores = random_scores(OVERLAPPING)
    Heatmap.of(scores).write(tmp_path / "heatmap.ome.zarr")
    group = zarr.open_group(tmp_path / "heatmap.ome.zarr", mode="r")
    values = np.asarray(group["0"])
    assert values.shape == (3, OVERLAPPING.rows, OVERLAPPING.cols)
    np.testing.assert_array_equal(np.isnan(values[0]).ravel(), ~scores.scored)
    channels = group.attrs["ome"]["omero"]["channels"]
    assert [channel["label"] for channel in channels] == list(CLASSES)
    assert all(channel["window"] == {"min": 0, "max": 1, "start": 0, "end": 1} for channel in channels)
    axes = group.attrs["ome"]["multiscales"][0]["axes"]
    assert [(axis["name"], axis.get("unit")) for axis in axes] == [
        ("c", None),
        ("y", "micrometer"),
        ("x", "micrometer"),
    ]


# summary.json


def test_the_hottest_tiles_of_a_class_are_listed_with_their_places() -> None:
    hot = {(col, row): 0.5 + 0.004 * (10 * row + col) for col in range(10) for row in range(8)}
    found = notable(scores_on(OVER_THE_EDGE, hot))
    top = [entry for entry in found["top_tiles"] if entry["class"] == "TUM"]
    assert len(top) == 12
    assert top[0] == {"class": "TUM", "probability": 0.816, "box": [9 * 128, 7 * 128, 128, 128]}
    assert [entry["probability"] for entry in top] == pytest.approx([0.5 + 0.004 * n for n in range(79, 67, -1)])
    assert "12" in found["rules"]["top_tiles"]


def test_a_slide_without_a_class_has_no_hot_tiles_of_it() -> None:
    assert [entry["class"] for entry in notable(scores_on(WHOLE, {(0, 0): 0.02}))["top_tiles"]] == ["BACK"]


def test_uncertain_tiles_are_those_between_two_classes() -> None:
    found = notable(scores_on(WHOLE, {(0, 0): 0.99, (1, 0): 0.55, (2, 0): 0.47, (3, 0): 0.8}))["uncertain"]
    assert [entry["box"][0] // 128 for entry in found] == [2, 1, 3, 0]
    assert (found[0]["class"], found[0]["probability"]) == ("BACK", 0.53)


def test_near_misses_are_close_to_the_classs_own_threshold() -> None:
    scores = scores_on(WHOLE, {(0, 0): 0.3, (1, 0): 0.28, (2, 0): 0.21, (3, 0): 0.1}, thresholds={"TUM": 0.3})
    found = [entry for entry in notable(scores)["below_threshold"] if entry["class"] == "TUM"]
    assert [entry["probability"] for entry in found] == [0.28, 0.21]


def test_what_is_hardly_background_is_no_near_miss() -> None:
    """Of two classes it would be half of the list."""
    found = notable(scores_on(WHOLE, {(0, 0): 0.48, (1, 0): 0.52, (2, 0): 0.55}))["below_threshold"]
    assert [(entry["class"], entry["probability"]) for entry in found] == [("TUM", 0.48)]


def test_of_a_single_class_no_tile_is_uncertain() -> None:
    values = np.random.default_rng(1).random((WHOLE.rows * WHOLE.cols, 1)).astype(np.float32)
    assert notable(TileScores(WHOLE, ("TUM",), values, "m"))["uncertain"] == []


def test_a_slide_smaller_than_what_tiles_overlap_by_is_counted_whole() -> None:
    grid = TileGrid(TileSpec(64, 0.5, 30), 3000, 3, (0.5, 0.5))
    scores = scores_on(grid, {(col, 0): 0.75 for col in range(grid.cols)})
    assert notable(scores)["slide_score"]["TUM"] == {"share": 1, "hottest_mean": 0.75}
    assert summarise(scores)["scored_area_mm2"] == pytest.approx(3000 * 3 * 0.25 / 1e6, abs=6e-5)
    json.dumps({**summarise(scores), **notable(scores)}, allow_nan=False)


@pytest.mark.parametrize("stride", [128, 64, 50])
def test_overlapping_tiles_count_the_rim_of_the_slide_too(stride: int) -> None:
    grid = TileGrid(TileSpec(128, 0.5, stride), 1501, 1103, (0.5, 0.5))
    scores = scores_on(grid, {(col, row): 0.75 for col in range(grid.cols) for row in range(grid.rows)})
    assert summarise(scores)["scored_area_mm2"] == pytest.approx(1501 * 1103 * 0.25 / 1e6, abs=5e-5)
    (region,) = score_regions(scores, thresholds(0.5))
    assert region.polygon.bounds == (0, 0, 1501, 1103)


def test_the_slides_score_is_a_share_of_area_and_a_mean_of_the_hottest() -> None:
    # The last column is 128 - 27 = 101 px wide in the slide: its tile counts for less.
    grid = replace(WHOLE, slide_width=1280 - 27)
    found = notable(scores_on(grid, {(9, 0): 0.9, (0, 0): 0.4, (1, 0): 0.2}))["slide_score"]
    assert found["TUM"] == {"share": pytest.approx(101 / (101 + 256), abs=1e-4), "hottest_mean": 0.5}
    many = notable(scores_on(WHOLE, {(col, row): 0.9 if row else 0.1 for col in range(10) for row in (0, 1)}))
    assert many["slide_score"]["TUM"] == {"share": 0.5, "hottest_mean": 0.9}


def test_overlapping_tiles_are_not_counted_twice() -> None:
    scores = scores_on(OVERLAPPING, {(3, 3): 0.9, (4, 3): 0.9})
    region = next(one for one in score_regions(scores, thresholds(0.5)) if one.name == "TUM")
    assert region.measurements["area_um2"] == pytest.approx(2 * 25**2, rel=1e-3)
    assert summarise(scores)["classes"]["TUM"]["area_mm2"] == pytest.approx(2 * 0.025**2, abs=1e-4)


def test_the_summary_of_nothing_is_empty_lists_and_no_score() -> None:
    found = notable(scores_on(WHOLE, {}))
    assert found["top_tiles"] == found["uncertain"] == found["below_threshold"] == []
    assert found["slide_score"]["TUM"] == {"share": None, "hottest_mean": None}
    json.dumps(found, allow_nan=False)


# tesela export


@pytest.fixture
def predictions(phantom_tiled: Path, tmp_path: Path) -> Path:
    """Scores of the shared phantom."""
    with open_slide(phantom_tiled) as slide:
        grid = TileGrid.of(TileSpec(128, 0.5, 128), slide.size, slide.mpp, name=slide.name)
        tiles = with_grid(pa.table({"col": np.arange(grid.cols * grid.rows)}), grid)
        write_table(tmp_path / "tiles.parquet", with_provenance(tiles, slide.fingerprint, {}))
    scores = scores_on(grid, {(3, 2): 0.9, (4, 2): 0.4}, thresholds={"TUM": 0.35})
    tiles_file = stages.TilesFile(tmp_path / "tiles.parquet", sha256_of(tmp_path / "tiles.parquet"))
    stages.write_scores(scores, tiles_file, tmp_path, {"weights": "w", "precision": "32-true"})
    return tmp_path / "predictions.parquet"


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_exports_what_predict_left_behind(phantom_tiled: Path, predictions: Path, tmp_path: Path) -> None:
    done = run("export", phantom_tiled, "--predictions", predictions, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    written = json.loads(done.stdout)
    assert [Path(one).name for one in written] == ["tiles.geojson.gz", "regions.geojson", "tiles.csv"]
    tumour = next(one for one in read_geojson(tmp_path / "out" / "regions.geojson") if one.name == "TUM")
    assert tumour.measurements["tiles"] == 2  # at the model's own threshold, which came with the predictions
    words = ("--formats", "csv,geoparquet", "--formats", "regions", "--threshold", "0.95")
    run("export", phantom_tiled, "--predictions", predictions, "--out", tmp_path / "more", *words)
    assert {path.name for path in (tmp_path / "more").iterdir()} == {
        "regions.geojson",
        "tiles.csv",
        "tiles.geo.parquet",
    }
    assert read_geojson(tmp_path / "more" / "regions.geojson") == []


def test_the_command_moves_geojson_to_the_bounds_of_the_slide(
    phantom_tiled: Path, predictions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bounded(path: Path, mpp: float | None) -> Slide:
        slide = open_slide(path, mpp)
        slide.header = replace(slide.header, bounds_offset=(100, 50))
        return slide

    monkeypatch.setattr(stages, "open_slide", bounded)
    stages.export(phantom_tiled, predictions, tmp_path / "out", ExportOptions())
    _, features = tile_features(tmp_path / "out")
    assert features[0]["geometry"]["coordinates"][0][0] == [3 * 128 - 100, 2 * 128 - 50]


@pytest.mark.parametrize(("words", "said"), [(["--formats", "xls"], "xls"), (["--threshold", "7"], "threshold")])
def test_the_command_refuses_what_it_does_not_know(
    phantom_tiled: Path, predictions: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = run("export", phantom_tiled, "--predictions", predictions, "--out", tmp_path / "out", *words)
    assert done.exit_code != 0
    assert said in f"{done.output} {done.exception}"
    assert not (tmp_path / "out").exists()


def test_scores_of_another_slide_are_refused(phantom_jpeg: Path, predictions: Path, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match=r"0\.3 mpp, but its tiles were cut at 0\.5"):
        stages.export(phantom_jpeg, predictions, tmp_path / "out", ExportOptions(), mpp=0.3)


def test_predict_leaves_the_notable_tiles_in_the_summary(predictions: Path) -> None:
    summary = json.loads(predictions.with_name("summary.json").read_text())
    assert summary["thresholds"]["TUM"] == {"value": 0.35, "from": "model"}
    hot = [entry["probability"] for entry in summary["top_tiles"] if entry["class"] == "TUM"]
    assert hot == [0.9, 0.4]
    assert {"tiles_scored", "uncertain", "below_threshold", "slide_score", "rules", "weights"} <= set(summary)


def test_the_section_export_is_the_commands_options() -> None:
    section = ExportConfig(threshold=0.25, formats=("tiles", "csv"))
    assert flags_of(section) == "--threshold 0.25 --formats tiles --formats csv"
    assert flags_of(ExportConfig()) == ""
    assert {field.name for field in fields(ExportOptions)} == set(ExportConfig.model_fields)
    choices = get_args(get_args(get_args(ExportConfig.model_fields["formats"].annotation)[0])[0])
    assert set(choices) == set(FILES)
