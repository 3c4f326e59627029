"""Labels of tiles: areas whose share of every tile is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon, box, mapping
from shapely.geometry.base import BaseGeometry
from typer.testing import CliRunner

from pipelines.commands.app import app
from wsi.annotations import Region, write_geojson
from wsi.errors import InputError
from wsi.geometry import TileGrid, TileSpec
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
