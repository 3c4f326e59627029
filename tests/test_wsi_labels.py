"""Labels of tiles: areas whose share of every tile is known."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, Polygon, box, mapping
from shapely.geometry.base import BaseGeometry
from typer.testing import CliRunner

from pipelines.commands.app import app
from wsi.annotations import Region, write_geojson
from wsi.areas import RegionCounts
from wsi.errors import InputError
from wsi.geometry import TileGrid, TileSpec
from wsi.labelcounts import LabelCounts, TileCounts
from wsi.labels import label_tiles
from wsi.tiles import read_table, with_grid, write_table

# 10 × 8 tiles of 64 px.
GRID = TileGrid(TileSpec(64, 0.5, 64), 640, 512, (0.5, 0.5))


def tiles(grid: TileGrid = GRID) -> pa.Table:
    count = grid.rows * grid.cols
    return with_grid(pa.table({"number": np.arange(count), "blank": np.zeros(count, bool)}), grid)


def labels(
    regions: list[Region], min_cover: float = 0.75, outside: str | None = None, unseen: BaseGeometry | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, cols) labels and covers."""
    table = label_tiles(tiles(), GRID, regions, min_cover, outside, Polygon() if unseen is None else unseen)
    shape = GRID.rows, GRID.cols
    return np.array(table["label"].to_pylist(), object).reshape(shape), table["cover"].to_numpy().reshape(shape)


def test_a_tile_is_named_by_what_covers_enough_of_it() -> None:
    # Columns 0 to 2 in full, a half of column 3, an eighth of column 4 from another class.
    regions = [Region(box(0, 0, 224, 512), "tumour", ""), Region(box(256, 0, 264, 512), "fat", "")]
    named, cover = labels(regions)
    assert named[0].tolist() == ["tumour"] * 3 + [None] * 7
    assert cover[0].tolist() == [1, 1, 1, 0.5, 0.125, 0, 0, 0, 0, 0]
    assert labels(regions, 0.5)[0][0, 3] == "tumour"


def test_outside_names_what_is_not_covered_and_leaves_borders_out() -> None:
    named, _ = labels([Region(box(0, 0, 224, 512), "tumour", "")], outside="benign")
    assert named[0].tolist() == ["tumour"] * 3 + [None] + ["benign"] * 6
    assert set(labels([], outside="benign")[0].ravel()) == {"benign"}
    assert set(labels([])[0].ravel()) == {None}


def test_what_nobody_saw_is_not_outside() -> None:
    named, _ = labels([Region(box(0, 0, 64, 512), "tumour", "")], outside="benign", unseen=box(480, 0, 640, 512))
    assert named[0].tolist() == ["tumour"] + ["benign"] * 6 + [None] * 3


@given(
    left=st.integers(0, 640),
    top=st.integers(0, 512),
    width=st.integers(1, 640),
    height=st.integers(1, 512),
    min_cover=st.floats(0.51, 1),
)
def test_every_tile_is_inside_outside_or_on_the_border(
    left: int, top: int, width: int, height: int, min_cover: float
) -> None:
    drawn = box(left, top, left + width, top + height)
    named, cover = labels([Region(drawn, "in", "")], min_cover, "out")
    for (row, col), name in np.ndenumerate(named):
        tile = GRID.box(col, row)
        exact = drawn.intersection(box(tile.x, tile.y, tile.right, tile.bottom)).area / 64**2
        assert cover[row, col] == pytest.approx(exact, abs=0.13)  # a raster of 16 px a side
        share = cover[row, col]
        expected = "in" if share >= np.float32(min_cover) else "out" if 1 - share >= np.float32(min_cover) else None
        assert name == expected


def test_regions_of_another_slide_are_refused_and_those_over_the_edge_are_not() -> None:
    over = Region(box(-100, -100, 64, 64), "tumour", "a.xml")
    assert labels([over], outside="benign")[0][0].tolist() == ["tumour"] + ["benign"] * 9
    elsewhere = Region(box(700, 0, 900, 100), "tumour", "a.xml")
    with pytest.raises(InputError, match=r"a\.xml: 1 regions lie outside of the slide \(640 × 512 px\)"):
        labels([over, elsewhere], outside="benign")


def test_a_region_within_one_of_another_class_is_cut_out_of_it() -> None:
    """CAMELYON's normal tissue in a metastasis, in ASAP; a benign gland in a tumour, in QuPath."""
    around, within = Region(box(0, 0, 640, 512), "metastasis", ""), Region(box(128, 128, 256, 256), "normal", "")
    for regions in ([around, within], [within, around]):
        named, cover = labels(regions, outside="benign")
        assert named[2, 2] == named[3, 3] == "normal"
        assert (named == "normal").sum() == 4
        assert (named == "metastasis").sum() == 76
        assert cover.min() == 1


# Where regions overlap. 16 × 16 tiles of 128 px.
PLAIN = TileGrid(TileSpec(128, 0.5, 128), 2048, 2048, (0.5, 0.5))
BIG, MID, SMALL = box(256, 256, 1792, 1792), box(512, 512, 1536, 1536), box(768, 768, 1280, 1280)
LEFT, RIGHT = box(256, 256, 1024, 1792), box(1024, 256, 1792, 1792)


def regions_of(*drawn: tuple[str, BaseGeometry]) -> list[Region]:
    return [Region(polygon, name, "a.geojson") for name, polygon in drawn]


def counts(
    *drawn: tuple[str, BaseGeometry], outside: str | None = "benign", min_cover: float = 0.75, **options: Any
) -> LabelCounts:
    """Of every order of the regions the same."""
    found = [
        label_tiles(tiles(PLAIN), PLAIN, regions_of(*order), min_cover, outside, **options)
        for order in (drawn, drawn[::-1])
    ]
    assert found[0].equals(found[1])
    return LabelCounts.of_table(found[0], Path("labels.parquet"))


def test_the_innermost_region_decides_at_any_depth() -> None:
    found = counts(("Tumor", BIG), ("Necrosis", MID), ("Tumor", SMALL))
    assert found.tiles == TileCounts(256, {"Necrosis": 48, "Tumor": 96, "benign": 112})
    assert found.regions == RegionCounts(3, used=3)
    core = box(896, 896, 1152, 1152)
    deeper = counts(("A", BIG), ("B", MID), ("A", SMALL), ("C", core))
    assert deeper.tiles.classes == {"A": 80 + 12, "B": 48, "C": 4, "benign": 112}


@pytest.mark.parametrize("names", [("A", "B"), ("B", "A")])
def test_of_two_equal_outlines_neither_decides_whatever_their_names(names: tuple[str, str]) -> None:
    found = counts((names[0], LEFT), (names[1], LEFT))
    assert found.tiles == TileCounts(256, {"benign": 184}, contested=72)
    assert found.regions == RegionCounts(2, contested=2)
    assert found.contested == {("A", "B"): 72}
    assert any("72 tiles have no class: A and B contest them" in note for note in found.notes)


def test_outlines_that_differ_as_hands_do_are_one_outline_drawn_twice() -> None:
    by_hand = box(262, 250, 1029, 1788)
    assert counts(("A", LEFT), ("B", by_hand)).tiles.contested == 72
    rounded = box(256.004, 256.004, 1023.996, 1791.996)
    assert counts(("A", LEFT), ("B", rounded)).tiles.contested == 72


def test_a_region_across_two_others_lies_within_neither_and_their_tiles_have_no_class() -> None:
    found = counts(("_0", LEFT), ("_1", RIGHT), ("_2", MID))
    assert found.tiles == TileCounts(256, {"_0": 40, "_1": 40, "benign": 112}, contested=64)
    assert found.contested == {("_0", "_2"): 32, ("_1", "_2"): 32}
    assert found.regions == RegionCounts(3, used=2, contested=1)
    assert [note for note in found.notes if "32 tiles have no class" in note] == list(found.notes[:2])


@pytest.mark.parametrize(("pokes_out_px", "decides"), [(0, True), (12, True), (45, True), (80, False), (500, False)])
def test_a_border_that_pokes_out_by_a_sliver_still_lies_within(pokes_out_px: int, decides: bool) -> None:
    """Up to 5 % of the inner region."""
    inner = box(256 - pokes_out_px, 512, 1152, 1536)
    found = counts(("A", BIG), ("B", inner))
    assert (found.tiles.contested == 0) == decides
    assert ("B" in found.tiles.classes) == (decides or pokes_out_px == 500)


def test_what_is_drawn_around_a_hole_lies_within_the_region_with_the_hole() -> None:
    ring = BIG - SMALL
    assert counts(("A", ring), ("B", MID)).tiles.classes == {"A": 80, "B": 64, "benign": 112}
    assert counts(("A", ring), ("B", BIG)).tiles.classes == {"A": 128, "B": 16, "benign": 112}


def test_a_region_of_several_parts_is_taken_part_by_part() -> None:
    both = MultiPolygon([box(384, 384, 640, 640), box(1280, 1280, 1536, 1536)])
    assert counts(("A", BIG), ("B", both)).tiles.classes == {"A": 136, "B": 8, "benign": 112}


def test_what_ends_in_a_star_has_no_class_and_is_not_outside_either() -> None:
    found = counts(("Tumor", LEFT), ("Ignore*", RIGHT))
    assert found.tiles == TileCounts(256, {"Tumor": 72, "benign": 112}, ignored=72)
    assert found.regions == RegionCounts(2, used=1, ignored=1)
    # Within a region, around one, across two, of two names: no class of its own, and nobody's rival.
    assert counts(("Tumor", BIG), ("Ignore*", MID)).tiles == TileCounts(256, {"Tumor": 80, "benign": 112}, ignored=64)
    around = counts(("Region*", BIG), ("Tumor", MID))
    assert around.tiles == TileCounts(256, {"Tumor": 64, "benign": 112}, ignored=80)
    across = counts(("Tumor", LEFT), ("Region*", MID), ("Ignore*", MID))
    assert across.tiles == TileCounts(256, {"Tumor": 40, "benign": 112 + 40}, ignored=64)
    assert across.contested == {}
    assert any("nothing is drawn but what is ignored" in note for note in counts(("Ignore*", MID)).notes)


def test_of_two_classes_that_cover_a_tile_alike_neither_names_it() -> None:
    found = counts(("A", box(0, 0, 64, 128)), ("B", box(64, 0, 128, 128)), min_cover=0.5, outside=None)
    assert found.tiles == TileCounts(256, {}, contested=1, undrawn=255)
    assert found.contested == {("A", "B"): 1}


def test_two_that_cover_a_tile_alike_but_too_little_leave_it_outside() -> None:
    found = counts(("A", box(0, 0, 8, 128)), ("B", box(120, 0, 128, 128)))
    assert found.tiles == TileCounts(256, {"benign": 256})


def test_a_class_that_names_no_tile_is_said() -> None:
    found = counts(("Tumor", LEFT), ("Nerve", box(1500, 1500, 1540, 1540)))
    assert any("no tile is Nerve, though 1 regions are" in note for note in found.notes)
    assert any("nothing is drawn: tiles are benign" in note for note in counts().notes)


def test_names_that_differ_in_capitals_alone_are_said_also_where_one_is_the_outside() -> None:
    assert any("'Tumor' and 'tumor' differ" in note for note in counts(("Tumor", LEFT), ("tumor", RIGHT)).notes)
    assert any("'Benign' and 'benign' differ" in note for note in counts(("Benign", LEFT)).notes)
    assert not counts(("Tumor", LEFT), ("benign", RIGHT)).notes


def test_regions_that_reach_over_the_edge_are_said_with_how_far() -> None:
    found = counts(("Tumor", LEFT), ("Stroma", box(1500, 1500, 9000, 9000)))
    [said] = [note for note in found.notes if "reach over" in note]
    assert "a.geojson: 1 of 2 regions" in said
    assert "(2048 × 2048 px), by 6952 px at most; 99% of a region Stroma" in said
    assert not counts(("Tumor", box(-0.5, -0.5, 2048.5, 1000))).notes  # rounded


def test_a_region_that_reaches_farther_than_any_slide_is_refused() -> None:
    with pytest.raises(InputError, match=r"a\.geojson: a region Tumor reaches 1e\+300 px beyond the slide"):
        counts(("Tumor", box(-1e300, -1e300, 1e300, 1e300)))


def test_counts_are_kept_in_the_table_and_say_which_tiles_are_blank() -> None:
    table = tiles(PLAIN).set_column(1, "blank", pa.array([True] * 128 + [False] * 128))
    labelled = label_tiles(table, PLAIN, regions_of(("Tumor", BIG)), 0.75, exclusions=2, notes=["said before"])
    raw = json.loads(labelled.schema.metadata[b"tesela.label_counts"])
    assert raw["tiles"] == {
        "all": 256, "classes": {"Tumor": 72}, "blank": 128, "contested": 0, "ignored": 0, "unseen": 0, "undrawn": 56,
        "border": 0,
    }  # fmt: skip
    assert raw["regions"]["drawn"] == 3
    assert raw["notes"] == ["said before"]
    found = LabelCounts.of_table(labelled, Path("labels.parquet"))
    assert json.loads(json.dumps(found.to_json())) == raw
    assert found.lines() == [
        "labelled tiles: 72 Tumor",
        "without a class: 128 blank, 56 undrawn (of 256 tiles in all)",
        "regions: 1 used, 2 exclusions (of 3 that were drawn)",
    ]
    with pytest.raises(InputError, match=r"labels\.parquet: does not say how many"):
        LabelCounts.of_table(table, Path("labels.parquet"))


NAMES = st.sampled_from(["A", "B", "C", "Ignore*"])
SPANS = st.tuples(st.integers(0, 600), st.integers(0, 480), st.integers(4, 640), st.integers(4, 512))


@given(
    drawn=st.lists(st.tuples(NAMES, SPANS), max_size=6),
    min_cover=st.floats(0, 1),
    outside=st.sampled_from([None, "out", "A"]),
    order=st.randoms(use_true_random=False),
)
def test_counts_add_up_and_neither_order_nor_names_matter(
    drawn: list[tuple[str, tuple[int, int, int, int]]], min_cover: float, outside: str | None, order: random.Random
) -> None:
    regions = [Region(box(x, y, x + w, y + h), name, "") for name, (x, y, w, h) in drawn]
    blank = np.arange(GRID.rows * GRID.cols) % 7 == 0
    table = tiles().set_column(1, "blank", pa.array(blank))

    def labelled(regions: list[Region]) -> pa.Table:
        return label_tiles(table, GRID, regions, min_cover, outside, box(500, 0, 640, 300), exclusions=3)

    found = labelled(regions)
    counts = LabelCounts.of_table(found, Path())
    parts = asdict(counts.tiles)
    every, classes = parts.pop("all"), parts.pop("classes")
    assert every == len(table) == sum(parts.values()) + sum(classes.values())
    kinds = asdict(counts.regions)
    assert kinds.pop("drawn") == len(regions) + 3 == sum(kinds.values())
    seen = [name for name, empty in zip(found["label"].to_pylist(), blank, strict=True) if name and not empty]
    assert Counter(seen) == classes

    shuffled = order.sample(regions, len(regions))
    assert labelled(shuffled).equals(found)
    # Other names, in another alphabetical order, give the same tiles.
    other = {"A": "Z", "B": "Y", "C": "X", "Ignore*": "Ignore*", "out": "out", None: None}
    if outside != "A":
        renamed = labelled([replace(region, name=other[region.name]) for region in regions])["label"].to_pylist()
        assert renamed == [other[name] for name in found["label"].to_pylist()]


def test_tens_of_thousands_of_regions_take_seconds() -> None:
    grid = TileGrid(TileSpec(256, 0.5, 256), 60_000, 60_000, (0.5, 0.5))
    places = np.random.default_rng(0).uniform(100, 59_900, (30_000, 2))
    kinds = np.array(["lymphocyte", "epithelium"])[np.arange(len(places)) % 2]
    nuclei = shapely.buffer(shapely.points(places), 12, quad_segs=4)
    drawn = [Region(nucleus, kind, "") for nucleus, kind in zip(nuclei, kinds, strict=True)]
    tumour = Region(Point(30_000, 30_000).buffer(25_000, 200), "tumour", "")
    began = time.process_time()
    found = LabelCounts.of_table(label_tiles(tiles(grid), grid, [*drawn, tumour], 0.75), Path())
    assert time.process_time() - began < 15  # 3 on a quiet core
    assert found.regions.drawn == sum(asdict(found.regions).values()) - found.regions.drawn == 30_001


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["label", *map(str, words)])
    return done.exit_code, str(done.exception) if done.exception else done.output


def test_the_command_labels_from_any_annotation_file(tmp_path: Path) -> None:
    write_table(tmp_path / "tiles.parquet", tiles())
    write_geojson(tmp_path / "r.geojson", [Region(box(0, 0, 192, 512), "tumour", "")])
    corners = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((0, 0), (192, 0), (192, 512), (0, 512)))
    region = f'<Region Type="0" NegativeROA="0"><Vertices>{corners}</Vertices></Region>'
    (tmp_path / "r.xml").write_text(
        f'<Annotations><Annotation Name="tumour"><Regions>{region}</Regions></Annotation></Annotations>'
    )
    for name in ("r.geojson", "r.xml"):
        out = tmp_path / "labels.parquet"
        code, said = run(
            tmp_path / "tiles.parquet", "--regions", tmp_path / name, "--out", out, "--outside", "benign", "--json"
        )
        assert code == 0, said
        table = read_table(out)
        assert table["label"].to_pylist()[:10] == ["tumour"] * 3 + ["benign"] * 7
        assert '"benign": 56' in said


def test_the_command_asks_from_where_a_drawing_on_a_slide_with_bounds_counts(tmp_path: Path) -> None:
    write_table(tmp_path / "tiles.parquet", with_grid(tiles(), GRID, bounds_offset=(128, 64)))
    drawing = {"geometry": mapping(box(0, 0, 64, 64)), "properties": {"classification": {"name": "tumour"}}}
    (tmp_path / "r.geojson").write_text(json.dumps([drawing]))
    words = (tmp_path / "tiles.parquet", "--regions", tmp_path / "r.geojson", "--out", tmp_path / "labels.parquet")
    code, said = run(*words)
    assert code != 0
    assert "--origin bounds" in said
    for origin, labelled in (("slide", 0), ("bounds", GRID.cols + 2)):
        assert run(*words, "--origin", origin)[0] == 0
        labels = read_table(tmp_path / "labels.parquet")["label"].to_pylist()
        assert [number for number, name in enumerate(labels) if name == "tumour"] == [labelled]


def test_tiles_that_do_not_say_where_bounds_begin_are_cut_again(tmp_path: Path) -> None:
    plain = tiles()
    only_grid = {b"tesela.grid": plain.schema.metadata[b"tesela.grid"]}
    write_table(tmp_path / "tiles.parquet", plain.replace_schema_metadata(only_grid))
    write_geojson(tmp_path / "r.geojson", [Region(box(0, 0, 192, 512), "tumour", "")])
    code, said = run(tmp_path / "tiles.parquet", "--regions", tmp_path / "r.geojson", "--out", tmp_path / "l.parquet")
    assert code != 0
    assert "cut the tiles again" in said


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--marked", "a.jpg"],
        ["--marked", "a.jpg", "--slide", "b.tif"],
        ["--regions", "r.geojson", "--marked", "a.jpg", "--slide", "b.tif", "--name", "x"],
        ["--regions", "r.geojson", "--name", "x"],
    ],
)
def test_half_a_request_is_refused(words: list[str], tmp_path: Path) -> None:
    code, said = run(tmp_path / "tiles.parquet", "--out", tmp_path / "labels.parquet", *words)
    assert code != 0
    assert "give --regions R.geojson; or --marked COPY, --slide CLEAN and --name CLASS together" in said


def test_the_command_says_what_became_of_regions_and_tiles(tmp_path: Path) -> None:
    write_table(tmp_path / "tiles.parquet", tiles(PLAIN))
    write_geojson(tmp_path / "r.geojson", regions_of(("Tumor", LEFT), ("Stroma", LEFT), ("[/b]", RIGHT)))
    words = (tmp_path / "tiles.parquet", "--regions", tmp_path / "r.geojson", "--out", tmp_path / "labels.parquet")
    said = CliRunner().invoke(app, ["label", *map(str, words)])
    assert said.exit_code == 0, said.exception
    assert "warning: 72 tiles have no class: Stroma and Tumor contest them" in said.stderr
    assert "labelled tiles: 72 [/b]\n" in said.stderr
    assert "without a class: 72 contested, 112 undrawn (of 256 tiles in all)\n" in said.stderr
    assert "regions: 1 used, 2 contested (of 3 that were drawn)\n" in said.stderr
    as_json = CliRunner().invoke(app, ["label", *map(str, words), "--json"])
    found = json.loads(as_json.stdout)
    assert found["contested"] == [{"classes": ["Stroma", "Tumor"], "tiles": 72}]
    kept = LabelCounts.of_table(read_table(tmp_path / "labels.parquet"), tmp_path)
    assert found == json.loads(json.dumps(kept.to_json()))


@pytest.mark.parametrize(("outside", "said"), [("none", "leave it out"), ("NULL", "leave it out"), ("Ignore*", "star")])
def test_a_class_outside_that_means_none_is_refused(outside: str, said: str, tmp_path: Path) -> None:
    write_table(tmp_path / "tiles.parquet", tiles(PLAIN))
    write_geojson(tmp_path / "r.geojson", regions_of(("Tumor", LEFT)))
    words = (tmp_path / "tiles.parquet", "--regions", tmp_path / "r.geojson", "--out", tmp_path / "labels.parquet")
    code, error = run(*words, "--outside", outside)
    assert code != 0
    assert f"outside: {outside!r}" in error
    assert said in error
    assert not (tmp_path / "labels.parquet").exists()
    assert run(*words, "--outside", " benign  tissue ")[0] == 0
    assert "benign tissue" in LabelCounts.of_table(read_table(tmp_path / "labels.parquet"), tmp_path).tiles.classes


def test_an_annotation_of_a_slide_of_another_mpp_is_refused_by_the_command(tmp_path: Path) -> None:
    write_table(tmp_path / "tiles.parquet", tiles())
    corners = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((0, 0), (192, 0), (192, 512), (0, 512)))
    region = f'<Region Type="0"><Vertices>{corners}</Vertices></Region>'
    for mpp, fits in (("0.25", False), ("0.504", True), ("0", True), ("", True)):
        (tmp_path / "r.xml").write_text(
            f'<Annotations MicronsPerPixel="{mpp}"><Annotation Name="T"><Regions>{region}</Regions></Annotation>'
            "</Annotations>"
        )
        code, said = run(tmp_path / "tiles.parquet", "--regions", tmp_path / "r.xml", "--out", tmp_path / "l.parquet")
        assert (code == 0) == fits
        assert fits or "r.xml: drawn on a slide of 0.25 mpp (MicronsPerPixel), but this one has 0.5" in said


@pytest.mark.parametrize(
    ("name", "outside", "said"),
    [
        ("none", "benign", "name: 'none'"),
        ("Ignore*", "benign", "ends in a star"),
        ("benign ", "benign", "are both 'benign'"),
    ],
)
def test_what_is_drawn_on_a_marked_copy_needs_a_class_of_its_own(
    name: str, outside: str, said: str, tmp_path: Path
) -> None:
    pair = ("--marked", "copy.jpg", "--slide", "clean.svs", "--name", name, "--outside", outside)
    code, error = run(tmp_path / "tiles.parquet", "--out", tmp_path / "labels.parquet", *pair)
    assert code != 0
    assert said in error
