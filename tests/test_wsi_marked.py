"""A clean slide and its marked copy: outlines of known shape on slides whose every px is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import Polygon, box
from typer.testing import CliRunner

from benchmarks.marked import COPIES, Moved, drawn, labelled, moved_copy
from pipelines.commands.app import app
from wsi.annotations import Region, read_regions
from wsi.errors import InputError
from wsi.fingerprint import fingerprint
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.ink import regions_mask
from wsi.labels import label_tiles
from wsi.marked import MarkedOptions, MarkedRegions, marked_regions
from wsi.phantom import Phantom, PhantomSpec
from wsi.provenance import with_provenance
from wsi.slide import open_slide
from wsi.tiles import read_table, with_grid, write_table

SIDE = 800
STILL = Moved(0, (0, 0), 1, 90, 0)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """A folder for pictures, the clean one, and another slide's."""

    folder: Path
    clean: Pixels
    other: Pixels

    def read(self, copy: Pixels, clean: Pixels | None = None, quality: int = 90) -> MarkedRegions:
        Image.fromarray(self.clean if clean is None else clean).save(self.folder / "clean.png", compress_level=1)
        Image.fromarray(copy).save(self.folder / "copy.jpg", quality=quality)
        with open_slide(self.folder / "clean.png") as slide, open_slide(self.folder / "copy.jpg") as marked:
            return marked_regions(slide, marked, MarkedOptions())


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    clean, other = (
        Phantom(PhantomSpec(seed, SIDE, SIDE, 0.5, pieces=1)).render(Box(0, 0, SIDE, SIDE)) for seed in (5, 6)
    )
    return Pair(tmp_path_factory.mktemp("marked"), clean, other)


def ellipse(x: int, y: int, half_width: int, half_height: int) -> NDArray[np.int32]:
    """An outline (N, 1, 2)."""
    points = cv2.ellipse2Poly((x, y), (half_width, half_height), 20, 0, 360, 2)
    return np.asarray(points, np.int32)[:, None]


TWO = [ellipse(280, 330, 140, 100), ellipse(570, 480, 90, 130)]


def marked_copy(clean: Pixels, outlines: list[NDArray[np.int32]], pen: str = "blue", moved: Moved = STILL) -> Pixels:
    return moved_copy(drawn(clean, outlines, np.random.default_rng(0), pen), moved)


def dice(found: MarkedRegions, outlines: list[NDArray[np.int32]]) -> float:
    truth = np.zeros((SIDE, SIDE), np.uint8)
    cv2.drawContours(truth, outlines, -1, (1,), cv2.FILLED)
    got = regions_mask(found.regions, (SIDE, SIDE))
    return float(2 * (got & (truth > 0)).sum() / (got.sum() + truth.sum()))


@pytest.mark.parametrize("pen", ["black", "blue", "green"])
def test_outlines_are_found_to_the_middle_of_the_pen_and_named_after_it(pair: Pair, pen: str) -> None:
    found = pair.read(marked_copy(pair.clean, TWO, pen))
    assert [region.name for region in found.regions] == [f"{pen} pen"] * 2
    assert [region.measurements["confidence"] for region in found.regions] == [1, 1]
    assert found.regions[0].polygon.area > found.regions[1].polygon.area
    assert dice(found, TWO) > 0.98
    assert found.notes == ()


@pytest.mark.parametrize(
    ("moved", "quality"),
    [
        (Moved(0.5, (7, -5), 1, 80, 0), 80),
        (Moved(0, (40, 0), 1, 80, 0), 80),
        (Moved(3, (0, 0), 1, 80, 0), 80),
        (Moved(0, (0, 0), 0.5, 80, 0), 80),
        (Moved(-3, (40, -40), 0.5, 50, 60), 50),
        (Moved(2, (-9, 4), 1.6, 50, 30), 50),
    ],
)
def test_a_copy_may_be_shifted_turned_scaled_and_recompressed(pair: Pair, moved: Moved, quality: int) -> None:
    found = pair.read(marked_copy(pair.clean, TWO, moved=moved), quality=quality)
    assert len(found.regions) == 2
    assert dice(found, TWO) > 0.97
    # Where the middle of the slide, and a corner, lie on the copy, by the arithmetic that moved them.
    centre, border = SIDE / 2, moved.border_px
    turn = cv2.getRotationMatrix2D((0, 0), moved.angle, moved.scale)[:, :2]
    middle = np.array([centre + border, centre + border]) * moved.scale + moved.shift
    for point in ((centre, centre), (100.0, 150.0)):
        expected = turn @ (np.array(point) - centre) + middle
        assert found.registration.matrix @ [*point, 1] == pytest.approx(expected, abs=1.0)
    assert found.registration.quality > 0.9


def test_other_colours_are_compensated(pair: Pair) -> None:
    """Another scanner: darker, yellower."""
    copy = marked_copy(pair.clean, TWO).astype(np.float64)
    found = pair.read(np.clip(copy ** [1.05, 1.04, 1.0] * [0.8, 0.82, 0.78], 0, 255).astype(np.uint8))
    assert len(found.regions) == 2
    assert dice(found, TWO) > 0.97


def test_what_both_have_is_no_mark(pair: Pair) -> None:
    """Pen and a fold on the clean slide; the copy has one outline more."""
    before = drawn(pair.clean, [ellipse(290, 590, 90, 90)], np.random.default_rng(3), "black")
    cv2.line(before, (130, 160), (600, 190), (70, 20, 80), 14)
    found = pair.read(marked_copy(before, TWO[1:], moved=Moved(0.5, (7, -5), 1, 80, 0)), before)
    assert len(found.regions) == 1
    assert dice(found, TWO[1:]) > 0.97
    assert pair.read(before, before).regions == ()


@pytest.mark.parametrize("moved", [STILL, Moved(0.7, (6, 3), 1, 60, 0), Moved(3, (40, -40), 0.5, 50, 60)])
def test_a_copy_without_marks_has_no_regions_and_says_so(pair: Pair, moved: Moved) -> None:
    found = pair.read(marked_copy(pair.clean, [], moved=moved), quality=moved.quality)
    assert found.regions == ()
    assert found.notes == ("no marks: the copy shows what the clean slide shows",)


def test_the_copy_of_another_slide_is_refused_with_both_numbers(pair: Pair) -> None:
    with pytest.raises(InputError, match=r"copy\.jpg: agrees with clean\.png by 0\.0\d .* 0\.7 is asked"):
        pair.read(marked_copy(pair.other, TWO))
    with pytest.raises(InputError, match="not mirrored"):
        pair.read(marked_copy(pair.clean, TWO)[:, ::-1])
    with pytest.raises(InputError, match="0 features"):
        pair.read(np.full((400, 400, 3), 240, np.uint8))


def test_a_gap_in_an_outline_is_bridged_and_told(pair: Pair) -> None:
    copy = marked_copy(pair.clean, TWO[:1])
    copy[200:260, 260:310] = pair.clean[200:260, 260:310]  # where the outline runs along its top
    found = pair.read(copy)
    [region] = found.regions
    assert 0.8 < region.measurements["confidence"] < 1
    assert "1 of 1 outlines are not closed by ink alone" in found.notes[0]
    assert dice(found, TWO[:1]) > 0.95


def test_a_line_that_encloses_nothing_is_told(pair: Pair) -> None:
    copy = pair.clean.copy()
    cv2.line(copy, (300, 330), (500, 370), (20, 60, 160), 12)
    found = pair.read(copy)
    assert found.regions == ()
    assert found.notes == ("1 marks enclose no tissue (open outlines, writing, arrows): in no region",)


def test_an_outline_within_another_belongs_to_it(pair: Pair) -> None:
    outer = ellipse(400, 400, 220, 190)
    found = pair.read(marked_copy(pair.clean, [outer, ellipse(400, 400, 70, 70)]))
    assert len(found.regions) == 1
    assert dice(found, [outer]) > 0.98


def test_what_the_copy_does_not_show_is_unseen(pair: Pair) -> None:
    found = pair.read(marked_copy(pair.clean, TWO)[:, :700])
    assert found.unseen.symmetric_difference(box(700, 0, SIDE, SIDE)).area < 0.01 * SIDE * SIDE
    assert dice(found, TWO) > 0.97


def test_a_region_has_an_area_where_mpp_is_known(pair: Pair) -> None:
    pair.read(marked_copy(pair.clean, TWO))
    with open_slide(pair.folder / "clean.png", 0.5) as slide, open_slide(pair.folder / "copy.jpg") as marked:
        region = marked_regions(slide, marked, MarkedOptions()).regions[0]
    drawn_area = Polygon(TWO[0][:, 0]).area
    assert region.measurements["area_mm2"] == pytest.approx(drawn_area * 0.25 / 1e6, rel=0.05)
    assert shapely.is_valid(region.polygon)


def command(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["label", *map(str, words)])
    return done.exit_code, str(done.exception) if done.exception else done.output


def write_tiles(path: Path, grid: TileGrid, slide: Path) -> pa.Table:
    count = grid.rows * grid.cols
    table = with_grid(pa.table({"number": np.arange(count), "blank": np.zeros(count, bool)}), grid)
    table = with_provenance(table, fingerprint(slide), {})
    write_table(path, table)
    return table


def test_the_command_labels_from_a_pair(pair: Pair, tmp_path: Path) -> None:
    grid = TileGrid(TileSpec(50, 0.5, 50), SIDE, SIDE, (0.5, 0.5))
    pair.read(marked_copy(pair.clean, TWO))
    table = write_tiles(tmp_path / "tiles.parquet", grid, pair.folder / "clean.png")
    words = ["--marked", pair.folder / "copy.jpg", "--slide", pair.folder / "clean.png", "--name", "tumour"]
    out = [tmp_path / "tiles.parquet", "--out", tmp_path / "labels.parquet", "--mpp", 0.5]
    code, said = command(*out, *words, "--outside", "benign", "--regions-out", tmp_path / "r.geojson")
    assert code == 0, said
    truth = [Region(Polygon(outline[:, 0]), "tumour", "") for outline in TWO]
    expected = label_tiles(table, grid, truth, 0.75, "benign")["label"].to_pylist()
    found = read_table(tmp_path / "labels.parquet")["label"].to_pylist()
    assert np.mean([a == b for a, b in zip(found, expected, strict=True)]) > 0.97
    assert set(found) == {"tumour", "benign", None}
    assert [region.name for region in read_regions(tmp_path / "r.geojson")] == ["tumour"] * 2
    about = json.loads((tmp_path / "r.geojson").read_text())["tesela"]
    assert about["slide"] == fingerprint(pair.folder / "clean.png")


def test_the_command_refuses_a_slide_that_the_tiles_were_not_cut_from(pair: Pair, tmp_path: Path) -> None:
    Image.fromarray(pair.clean).save(tmp_path / "clean.png", compress_level=1)
    grid = TileGrid(TileSpec(64, 0.5, 64), 640, 512, (0.5, 0.5))
    write_tiles(tmp_path / "tiles.parquet", grid, tmp_path / "clean.png")
    words = ["--marked", tmp_path / "clean.png", "--slide", tmp_path / "clean.png", "--name", "x", "--mpp", 0.5]
    code, said = command(tmp_path / "tiles.parquet", "--out", tmp_path / "labels.parquet", *words)
    assert code != 0
    assert "its tiles were cut from a slide of 640 × 512 px" in said


@pytest.mark.real
@pytest.mark.parametrize("moved", COPIES.values(), ids=COPIES)
def test_labels_through_a_pair_are_those_of_the_masks(real_data: Path, moved: Moved) -> None:
    """Of one image of 11; `make bench` measures all."""
    found = labelled(7, real_data / "prostate" / "images" / "test106.jpg", moved)
    assert found.agree >= 0.97
    assert found.commonest < 0.5  # tumour, benign and border tiles: one answer for all would not do
