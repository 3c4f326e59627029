"""Scores onto pixels: every colour where its tile is, every other pixel as it was."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely
import yaozarrs
import zarr
from cells import everywhere, exact_cell
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon, box
from skimage.color import rgb2lab

from wsi.annotations import Region, read_geojson, write_geojson
from wsi.colours import class_colours, hex_of
from wsi.errors import InputError, MismatchError
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.heatmap import Heatmap
from wsi.overlay import OverlayOptions, Painter, write_overlay
from wsi.phantom import Phantom
from wsi.phantom.files import write_truth
from wsi.preview import Caption, round_length_um, write_preview
from wsi.provenance import with_provenance
from wsi.scores import TileScores, made_of, summarise
from wsi.slide import open_slide
from wsi.tiles import read_table, with_grid, with_tissue, write_table

Pixels = NDArray[np.uint8]
CLASSES = ("BACK", "STR", "TUM")
RED = class_colours(CLASSES)["TUM"]


def scores_on(grid: TileGrid, painted: dict[tuple[int, int], float], name: str = "TUM") -> TileScores:
    """Nothing scored but the given tiles, (col, row): probability of `name`; the rest goes to BACK."""
    probabilities = np.full((grid.rows * grid.cols, len(CLASSES)), np.nan, np.float32)
    for (col, row), probability in painted.items():
        probabilities[row * grid.cols + col] = 0
        probabilities[row * grid.cols + col, 0] = 1 - probability
        probabilities[row * grid.cols + col, CLASSES.index(name)] = probability
    return TileScores(grid, CLASSES, probabilities, "fiducials", tissue=everywhere(grid))


def corners_and_centre(grid: TileGrid) -> list[tuple[int, int]]:
    right, bottom = grid.cols - 1, grid.rows - 1
    return sorted({(0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2)})


def edges(painted: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is painted, which must fill that rectangle."""
    rows, cols = np.flatnonzero(painted.any(axis=1)), np.flatnonzero(painted.any(axis=0))
    found = int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1
    assert painted[found[1] : found[3], found[0] : found[2]].all()
    return found


GRIDS = {
    "whole": TileGrid(TileSpec(128, 0.5, 128), 1500, 1100, (0.5, 0.5)),
    "odd size": TileGrid(TileSpec(64, 0.5, 64), 1501, 1103, (0.25, 0.25)),
    "non-integer": TileGrid(TileSpec(64, 0.7, 64), 1501, 1103, (0.2527, 0.2527)),
    "x and y differ": TileGrid(TileSpec(64, 0.5, 64), 1200, 900, (0.25, 0.3)),
    "overlapping": TileGrid(TileSpec(128, 0.5, 50), 1501, 1103, (0.33, 0.33)),
    "upsampled": TileGrid(TileSpec(64, 0.5, 64), 333, 251, (0.8, 0.8)),
}


@pytest.mark.parametrize("longest_px", [None, 700, 333, 151])
@pytest.mark.parametrize("name", GRIDS)
def test_a_tiles_colour_falls_on_its_cell_within_half_a_pixel(name: str, longest_px: int | None) -> None:
    """Fiducials: one tile at each corner and in the middle, on level 0 and on smaller pictures."""
    grid = GRIDS[name]
    whole = Box(0, 0, grid.slide_width, grid.slide_height)
    factor = 1.0 if longest_px is None else min(1.0, longest_px / max(whole.width, whole.height))
    size = (round(whole.width * factor), round(whole.height * factor))
    scale = (size[0] / whole.width, size[1] / whole.height)
    for col, row in corners_and_centre(grid):
        painter = Painter(scores_on(grid, {(col, row): 1.0}), OverlayOptions(alpha=1))
        picture = painter.blend(np.full((size[1], size[0], 3), 255, np.uint8), whole)
        painted = (picture != 255).any(axis=2)
        exact = exact_cell(grid, col, row)
        expected = np.array(exact) * [*scale, *scale]
        if (expected[2:] - expected[:2]).min() < 1:
            continue  # a sliver at the edge, narrower than a pixel
        assert np.abs(np.array(edges(painted)) - expected).max() <= 0.5 + 1e-6, (col, row)
        cell = grid.cell(col, row)
        assert np.abs(np.array(exact) - [cell.x, cell.y, cell.right, cell.bottom]).max() <= 0.5
        assert (picture[painted] == RED).all()


def test_a_picture_in_parts_is_the_picture_in_one(phantom_pixels: Pixels) -> None:
    grid = GRIDS["overlapping"]
    grid = replace(grid, slide_width=1500, slide_height=1100)
    values = np.random.default_rng(1).dirichlet((1, 1, 1), grid.rows * grid.cols).astype(np.float32)
    painter = Painter(TileScores(grid, CLASSES, values, "", tissue=everywhere(grid)), OverlayOptions())
    whole = painter.blend(phantom_pixels, Box(0, 0, 1500, 1100))
    for part in (Box(0, 0, 700, 300), Box(401, 333, 517, 411), Box(1400, 1000, 100, 100)):
        cut = np.s_[part.y : part.bottom, part.x : part.right]
        assert np.array_equal(painter.blend(phantom_pixels[cut], part), whole[cut])


@pytest.fixture(scope="module")
def painted(phantom_tiled: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TileScores, OverlayOptions, Pixels]:
    """A few tiles painted on the phantom: scores, options and the pixels of the overlay.ome.tif, lossless."""
    grid = GRIDS["whole"]
    shown = {(2, 3): 1.0, (3, 3): 0.6, (7, 7): 0.9, (grid.cols - 1, grid.rows - 1): 0.8}
    scores, options = scores_on(grid, shown), OverlayOptions(alpha=0.45, quality=0)
    path = tmp_path_factory.mktemp("overlay") / "overlay.ome.tif"
    told: list[float] = []
    with open_slide(phantom_tiled) as slide:
        write_overlay(path, slide, scores, options, told.append)
    assert told[-1] == 1
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx((0.5, 0.5))
        assert len(slide.header.levels) == 4
        return scores, options, slide.read(slide.bounds)


def test_a_pixel_that_no_painted_tile_touches_is_the_slides_own(
    painted: tuple[TileScores, OverlayOptions, Pixels], phantom_pixels: Pixels
) -> None:
    scores, _, pixels = painted
    untouched = np.ones(pixels.shape[:2], bool)
    for index in np.flatnonzero(scores.scored):
        cell = scores.grid.cell(index % scores.grid.cols, index // scores.grid.cols)
        untouched[cell.y : cell.bottom, cell.x : cell.right] = False
    assert np.array_equal(pixels[untouched], phantom_pixels[untouched])
    assert untouched.mean() > 0.9


def test_a_painted_pixel_is_blended_by_alpha_times_probability(
    painted: tuple[TileScores, OverlayOptions, Pixels], phantom_pixels: Pixels
) -> None:
    scores, options, pixels = painted
    for index in np.flatnonzero(scores.scored):
        cell = scores.grid.cell(index % scores.grid.cols, index // scores.grid.cols)
        cut = np.s_[cell.y : cell.bottom, cell.x : cell.right]
        a = options.alpha * scores.probabilities[index, CLASSES.index("TUM")]
        expected = (1 - a) * phantom_pixels[cut] + a * np.array(RED)
        assert np.abs(pixels[cut] - expected).max() <= 1
        assert not np.array_equal(pixels[cut], phantom_pixels[cut])


@pytest.mark.parametrize(
    ("probability", "options", "shows"),
    [
        (0.8, OverlayOptions(), True),
        (0.8, OverlayOptions(threshold=0.8), True),
        (0.8, OverlayOptions(threshold=0.81), False),
        (0.8, OverlayOptions(classes=("TUM",)), True),
        (0.8, OverlayOptions(classes=("STR",)), False),
        (0.8, OverlayOptions(classes=()), False),
        (0.8, OverlayOptions(alpha=0), False),
        # The tile's most probable class is BACK, which is painted only where asked for.
        (0.3, OverlayOptions(), False),
        (0.3, OverlayOptions(classes=("BACK",)), True),
    ],
)
def test_threshold_and_classes_decide_what_is_painted(probability: float, options: OverlayOptions, shows: bool) -> None:
    # 0.8 is no float32: the threshold must not fall between the two.
    grid = GRIDS["whole"]
    painter = Painter(scores_on(grid, {(2, 2): probability}), options)
    picture = np.full((1100, 1500, 3), 255, np.uint8)
    assert (painter.blend(picture, Box(0, 0, 1500, 1100)) != 255).any() == shows


def test_what_was_not_scored_is_never_painted() -> None:
    grid = GRIDS["whole"]
    scores = scores_on(grid, {})
    picture = np.full((1100, 1500, 3), 255, np.uint8)
    for classes in (None, CLASSES):
        painter = Painter(scores, OverlayOptions(alpha=1, classes=classes))
        assert (painter.blend(picture, Box(0, 0, 1500, 1100)) == 255).all()
    assert (scores.winners() == -1).all()


def test_an_unknown_class_is_refused_with_the_models_own() -> None:
    with pytest.raises(InputError, match=r"overlay\.classes: tumor not among the model's BACK, STR, TUM"):
        Painter(scores_on(GRIDS["whole"], {}), OverlayOptions(classes=("tumor",)))


@pytest.mark.parametrize("values", [{"alpha": 1.2}, {"alpha": -0.1}, {"threshold": 2}, {"alpha": float("nan")}])
def test_options_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(InputError, match="must lie in 0 to 1"):
        OverlayOptions(**values)  # type: ignore[arg-type]


def test_scores_of_another_slide_are_refused_and_leave_no_file(phantom_tiled: Path, tmp_path: Path) -> None:
    scores = scores_on(GRIDS["odd size"], {})
    with open_slide(phantom_tiled) as slide, pytest.raises(MismatchError, match=r"1500 × 1100 px.*1501 × 1103 px"):
        write_overlay(tmp_path / "overlay.ome.tif", slide, scores, OverlayOptions())
    assert list(tmp_path.iterdir()) == []


# overlay.png


def test_the_preview_is_the_same_bytes_in_every_run(phantom_jpeg: Path, tmp_path: Path) -> None:
    scores = scores_on(GRIDS["whole"], {(3, 3): 0.9, (4, 3): 0.7})
    caption = Caption("A7", "tissue9", "2024-05-01")
    with open_slide(phantom_jpeg) as slide:
        for name in ("a.png", "b.png"):
            write_preview(tmp_path / name, slide, scores, OverlayOptions(threshold=0.5), caption, 600)
        nothing = scores_on(GRIDS["whole"], {})
        write_preview(tmp_path / "none.png", slide, nothing, OverlayOptions(), caption, 600)
    first, second, none = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png", "none.png"))
    assert first == second
    assert first[:8] == none[:8] == b"\x89PNG\r\n\x1a\n"
    assert first != none


def test_the_preview_shows_the_slide_blended(phantom_jpeg: Path) -> None:
    scores = scores_on(GRIDS["whole"], {(3, 3): 1.0})
    with open_slide(phantom_jpeg) as slide:
        plain = slide.thumbnail(750)
        picture = Painter(scores, OverlayOptions()).blend(plain, slide.bounds)
    assert edges((picture != plain).any(axis=2)) == (192, 192, 256, 256)  # tile 3 of 128 px, at half size


@pytest.mark.parametrize(("about_um", "expected"), [(1234, 1000), (999, 500), (5.1, 5), (2, 2), (0.3, 0.2)])
def test_a_scale_bar_has_a_round_length(about_um: float, expected: float) -> None:
    assert round_length_um(about_um) == pytest.approx(expected)


# heatmap.ome.zarr


def test_the_heatmap_is_valid_ngff_and_keeps_numbers_and_nan(tmp_path: Path) -> None:
    grid = GRIDS["overlapping"]
    scores = scores_on(grid, {(2, 3): 0.75, (0, 0): 0.5})
    path = tmp_path / "heatmap.ome.zarr"
    Heatmap.of(scores).write(path)
    yaozarrs.validate_zarr_store(path)
    group = zarr.open_group(path, mode="r")
    values = np.asarray(group["0"])
    assert values.dtype == np.float32
    assert values.shape == (3, grid.rows, grid.cols)
    assert values[:, 3, 2].tolist() == [0.25, 0, 0.75]
    assert np.isnan(values).sum() == 3 * (grid.rows * grid.cols - 2)
    np.testing.assert_array_equal(values, scores.heatmap())
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5"
    assert [channel["label"] for channel in ome["omero"]["channels"]] == list(CLASSES)
    assert ome["omero"]["channels"][2]["color"] == hex_of(RED)[1:].upper()


def test_the_heatmap_lies_where_the_cells_are() -> None:
    # Stride 50 of tiles of 128 at 0.5 mpp: cells of 25 µm, the first one 39 px = 19.5 µm in.
    heatmap = Heatmap.of(scores_on(GRIDS["overlapping"], {}))
    assert heatmap.um_per_cell == (25, 25)
    assert heatmap.offset_um == (19.5, 19.5)


# wsi.scores


def tile_table(grid: TileGrid, slide: str = "") -> pa.Table:
    """As tiles were cut, all of it tissue; slide: its fingerprint."""
    table = pa.table({"col": pa.array(np.tile(np.arange(grid.cols, dtype=np.int32), grid.rows))})
    return with_provenance(with_tissue(with_grid(table, grid), everywhere(grid)), slide, {})


def test_scores_come_back_from_their_table(tmp_path: Path) -> None:
    scores = scores_on(GRIDS["odd size"], {(1, 2): 0.9, (3, 3): 0.2})
    path = tmp_path / "predictions.parquet"
    write_table(path, scores.to_table(tile_table(scores.grid), {"weights": "w", "precision": "32-true"}))
    assert made_of(path) == {"model": scores.model, "slide": "", "weights": "w", "precision": "32-true"}
    again = TileScores.of_table(read_table(path), path)
    assert (again.grid, again.classes, again.model) == (scores.grid, scores.classes, scores.model)
    np.testing.assert_array_equal(again.probabilities, scores.probabilities)
    assert again.probabilities.dtype == np.float32


def test_a_table_without_scores_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.parquet: no column 'prob_<class>'.*tesela predict"):
        TileScores.of_table(tile_table(GRIDS["whole"]), tmp_path / "a.parquet")


def test_the_summary_counts_tiles_and_areas() -> None:
    # 128 px at 0.5 mpp: 0.064 mm a side, 0.004096 mm² a tile.
    summary = summarise(scores_on(GRIDS["whole"], {(0, 0): 0.9, (1, 0): 0.8, (2, 0): 0.7, (3, 0): 0.1}))
    assert summary["tiles_scored"] == 4
    assert summary["scored_area_mm2"] == pytest.approx(4 * 0.004096, abs=1e-4)
    assert summary["classes"]["TUM"] == {"tiles": 3, "area_mm2": pytest.approx(0.0123), "share": 0.75}
    assert summary["classes"]["BACK"] == {"tiles": 1, "area_mm2": pytest.approx(0.0041), "share": 0.25}
    assert summary["classes"]["STR"] == {"tiles": 0, "area_mm2": 0, "share": 0}
    assert summary["model"] == "fiducials"


def test_the_summary_of_nothing_has_no_shares() -> None:
    summary = summarise(scores_on(GRIDS["whole"], {}))
    assert summary["tiles_scored"] == 0
    assert summary["classes"]["TUM"]["share"] is None


def test_classes_have_colours_of_their_own_in_any_order() -> None:
    assert class_colours(["TUM", "STR"]) == class_colours(["STR", "TUM"])
    others = class_colours(["a", "b", "c", "TUM"])
    assert len(set(others.values())) == 4
    assert hex_of((1, 16, 255)) == "#0110ff"


@pytest.mark.parametrize("named", [(), ("TUM",)])
def test_no_two_of_thirty_classes_look_alike(named: tuple[str, ...]) -> None:
    """A legend with a colour twice would show one class as another. ΔE (CIE 1976) of 20 is plain beside one another."""
    colours = class_colours([*named, *(f"class {number}" for number in range(30 - len(named)))])
    lab = rgb2lab(np.array(list(colours.values())) / 255)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(30, 1)]
    assert apart.min() > 20


# GeoJSON

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}


def feature(geometry: object, name: object = "TUM") -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": {"name": name}}}


def collection(*features: object) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features})


def test_regions_come_back_from_their_geojson(tmp_path: Path) -> None:
    holed = Polygon([(0, 0), (50, 0), (50, 40), (0, 40)], [[(10, 10), (20, 10), (20, 20), (10, 20)]])
    many = MultiPolygon([box(100, 100, 120, 130), box(200, 200, 210, 210)])
    regions = [Region(holed, "TUM", "test"), Region(many, "Närbild", "test")]
    write_geojson(tmp_path / "a.geojson", regions, {"TUM": RED})
    again = read_geojson(tmp_path / "a.geojson")
    assert [(region.name, region.source) for region in again] == [("TUM", "a.geojson"), ("Närbild", "a.geojson")]
    assert all(shapely.equals(a.polygon, b.polygon) for a, b in zip(again, regions, strict=True))
    write_geojson(tmp_path / "b.geojson", regions, {"TUM": RED})
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b.geojson").read_bytes()
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress((tmp_path / "a.geojson").read_bytes()))
    assert len(read_geojson(tmp_path / "a.geojson.gz")) == 2


def test_a_phantoms_truth_comes_back_with_its_areas(phantom: Phantom, tmp_path: Path) -> None:
    write_truth(phantom, tmp_path / "truth.geojson")
    again = {region.name: region.polygon.area for region in read_geojson(tmp_path / "truth.geojson")}
    assert again == pytest.approx({region.name: region.polygon.area for region in phantom.regions()})


def test_one_feature_and_a_bare_list_are_read_too(tmp_path: Path) -> None:
    for value in (feature(SQUARE), [feature(SQUARE)]):
        (tmp_path / "a.geojson").write_text(json.dumps(value))
        assert read_geojson(tmp_path / "a.geojson")[0].polygon.area == 100


def test_a_polygon_that_crosses_itself_is_mended(tmp_path: Path) -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
    (tmp_path / "a.geojson").write_text(collection(feature(bow)))
    assert read_geojson(tmp_path / "a.geojson")[0].polygon.area == 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "not a readable GeoJSON"),
        ("", "not a readable GeoJSON"),
        ("3", "no list of GeoJSON features"),
        ('{"features": 3}', "no list of GeoJSON features"),
        (collection(feature(SQUARE), {"geometry": SQUARE, "properties": {}}), "feature 2: no classification name"),
        (collection({"geometry": SQUARE, "properties": None}), "feature 1: no classification name"),
        (collection("text"), "feature 1: no classification name"),
        (collection(feature(SQUARE, None)), "feature 1: no classification name"),
        (collection(feature(SQUARE, " ")), "feature 1: no classification name"),
        (collection(feature(None)), "feature 1: no polygon"),
        (collection(feature({"type": "Polygon"})), "feature 1: no polygon"),
        (collection(feature({"type": "Blob", "coordinates": []})), "feature 1: no polygon"),
        (collection(feature({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]})), "feature 1: no polygon"),
        (collection(feature({"type": "Polygon", "coordinates": [["a", "b"]]})), "feature 1: no polygon"),
        (collection(feature({"type": "Polygon", "coordinates": []})), "feature 1: the Polygon encloses no area"),
        (collection(feature({"type": "Point", "coordinates": [3, 4]})), "feature 1: the Point encloses no area"),
    ],
)
def test_a_geojson_that_labels_nothing_is_refused_at_its_place(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "drawn.geojson").write_text(content)
    with pytest.raises(InputError, match=rf"drawn\.geojson.*{message}"):
        read_geojson(tmp_path / "drawn.geojson")


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.geojson: not a readable"):
        read_geojson(tmp_path / "gone.geojson")
    whole = gzip.compress(b"[]" * 1000)
    for name, content in (("text.geojson.gz", b"no gzip"), ("cut.geojson.gz", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not a readable"):
            read_geojson(tmp_path / name)
    (tmp_path / "latin.geojson").write_bytes(b'{"features": ["\xff"]}')
    with pytest.raises(InputError, match="not a readable"):
        read_geojson(tmp_path / "latin.geojson")
