"""overlay.ome.tif level by level: what is painted, what stays the source's own, and how heat looks in each style."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from cells import everywhere, exact_cell
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from test_wsi_overlay import CLASSES, GRIDS, RED, Pixels, scores_on, tile_table
from typer.testing import CliRunner

from pipelines.cli import app
from wsi.colours import class_colours, heat_colours, heat_rgb
from wsi.errors import InputError, SlideError
from wsi.fingerprint import fingerprint
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.overlay import STYLES, OverlayOptions, Painter, Style, View, parse_region, write_overlay, write_region
from wsi.overlay.plan import plan_overlay
from wsi.preview import Caption, write_preview
from wsi.readers.openslide import over_white
from wsi.scores import TileScores
from wsi.slide import open_slide
from wsi.tiles import write_table
from wsi.writers.bigtiff import BigTiffFile
from wsi.writers.halving import level_sizes
from wsi.writers.jpeg import quality_of

GRID = GRIDS["whole"]
SIZE = (1500, 1100)
SHOWN = {(2, 3): 1.0, (3, 3): 0.6, (7, 6): 0.9, (GRID.cols - 1, GRID.rows - 1): 0.8}
SCORES = scores_on(GRID, SHOWN)


def levels_of(path: Path) -> list[Pixels]:
    """Every level's pixels, by tifffile."""
    with tifffile.TiffFile(path) as tiff:
        return [level.asarray() for level in tiff.series[0].levels]


def footprint(shape: tuple[int, ...], downsample: int) -> NDArray[np.bool_]:
    """Px of a level in which part of a painted tile's cell lies."""
    touched = np.zeros(shape[:2], bool)
    for col, row in SHOWN:
        cell = GRID.cell(col, row)
        rows = slice(cell.y // downsample, -(-cell.bottom // downsample))
        touched[rows, cell.x // downsample : -(-cell.right // downsample)] = True
    return touched


@pytest.fixture(scope="module")
def phantom_svs(phantom_jpeg: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Levels 1 and 4, as Aperio writes them, in JPEG of quality 95 whose level 1 is rounded up."""
    pixels = levels_of(phantom_jpeg)
    path = tmp_path_factory.mktemp("svs") / "slide.tif"
    options = {"tile": (240, 240), "compression": "jpeg", "compressionargs": {"level": 95}, "photometric": "rgb"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(pixels[0], resolution=(20_000, 20_000), resolutionunit="CENTIMETER", **options)
        tiff.write(pixels[2], subfiletype=1, **options)
    return path


@pytest.mark.parametrize(
    ("source", "style"),
    [
        ("phantom_tiled", "blocky"),  # tiles are copied
        ("phantom_tiled", "smooth"),
        ("phantom_tiled", "outline"),
        ("phantom_jpeg", "blocky"),  # all are encoded anew
        ("phantom_svs", "smooth"),  # levels are missing
        ("phantom_flat", "blocky"),  # all but the first
        ("phantom_zarr", "outline"),
        ("phantom_jpg", "blocky"),
    ],
)
def test_a_lossless_overlay_is_the_source_on_every_level_but_where_a_tile_is_painted(
    source: str, style: Style, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with open_slide(request.getfixturevalue(source)) as slide:
        write_overlay(tmp_path / "painted.ome.tif", slide, SCORES, OverlayOptions(style=style, quality=0))
        write_overlay(tmp_path / "plain.ome.tif", slide, scores_on(GRID, {}), OverlayOptions(quality=0))
        found, plain = levels_of(tmp_path / "painted.ome.tif"), levels_of(tmp_path / "plain.ome.tif")
        assert [level.shape for level in found] == [(h, w, 3) for w, h in level_sizes(*SIZE, 256)]
        for power, (level, own) in enumerate(zip(found, plain, strict=True)):
            touched = footprint(level.shape, 2**power)
            assert np.array_equal(level[~touched], own[~touched]), power
            assert not np.array_equal(level[touched], own[touched]), power
            if any(each.downsample == 2**power for each in slide.header.levels):  # else the finer level's px, halved
                size = (level.shape[1], level.shape[0])
                box = Box(0, 0, size[0] * 2**power, size[1] * 2**power)
                assert np.array_equal(own, slide.read_to(box, size)), power


@pytest.mark.parametrize("source", ["phantom_jpeg", "phantom_svs"])
@pytest.mark.parametrize("style", STYLES)
def test_a_jpeg_tile_that_nothing_is_painted_on_keeps_its_bytes(
    source: str, style: Style, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = tmp_path / "overlay.ome.tif"
    with open_slide(request.getfixturevalue(source)) as slide:
        write_overlay(path, slide, SCORES, OverlayOptions(style=style))
        with open_slide(path) as overlay:
            for index, level in enumerate(slide.header.levels):
                power = int(level.downsample).bit_length() - 1
                before, after = slide.native(index), overlay.native(power)
                assert before is not None
                assert after is not None
                for tile in range(before.rows * before.columns):
                    row, col = divmod(tile, before.columns)
                    high, wide = before.tile_height, before.tile_width
                    cut = np.s_[row * high : (row + 1) * high, col * wide : (col + 1) * wide]
                    touched = bool(footprint((level.height, level.width), 2**power)[cut].any())
                    assert touched or before.raw(tile) == after.raw(tile), (power, tile)
                    assert not touched or style == "outline" or before.raw(tile) != after.raw(tile), (power, tile)


def test_painted_tiles_are_no_coarser_than_the_source_or_than_asked(phantom_svs: Path, tmp_path: Path) -> None:
    path = tmp_path / "overlay.ome.tif"
    for asked, expected in ((50, 95), (99, 99)):
        with open_slide(phantom_svs) as slide:
            write_overlay(path, slide, SCORES, OverlayOptions(quality=asked))
        with open_slide(path) as overlay:
            tiles = overlay.native(0)
            assert tiles is not None
            found = {quality_of(tiles.jpeg_tables or b"", tiles.raw(index)) for index in range(tiles.columns * 5)}
            assert found == {95, expected}


@pytest.mark.parametrize("quality", [1, 30, 75, 90, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    assert quality_of(bytes(imagecodecs.jpeg8_encode(noise, level=quality))) == quality
    assert quality_of(b"") is None


def test_openslide_and_tifffile_see_the_same_levels_and_pixels(phantom_svs: Path, tmp_path: Path) -> None:
    """Copied tiles, painted ones between them, and levels that the source lacks."""
    path = tmp_path / "overlay.ome.tif"
    with open_slide(phantom_svs) as slide:
        write_overlay(path, slide, SCORES, OverlayOptions())
    found = levels_of(path)
    with openslide.OpenSlide(path) as other:
        assert list(other.level_dimensions) == [(level.shape[1], level.shape[0]) for level in found]
        for index, level in enumerate(found):
            shown = over_white(np.asarray(other.read_region((0, 0), index, other.level_dimensions[index])))
            assert np.abs(shown.astype(int) - level).max() <= 3, index


# Heat on pixels


@st.composite
def grids_and_levels(draw: st.DrawFn) -> tuple[TileGrid, int]:
    """Any grid, and the power of a level of its slide."""
    size = draw(st.tuples(st.integers(40, 5000), st.integers(40, 5000)))
    px, mpp = draw(st.integers(8, 200)), draw(st.floats(0.2, 1.0))
    spec = TileSpec(px, draw(st.floats(mpp, 4.0)), draw(st.integers(max(1, px // 4), px)))
    power = draw(st.integers(0, 8))
    return TileGrid(spec, *size, (mpp, mpp * draw(st.floats(0.9, 1.1)))), min(power, min(size).bit_length() - 1)


@given(grids_and_levels(), st.integers(0, 10**9))
def test_a_single_hot_tile_is_on_every_level_at_full_strength_and_in_its_place(
    case: tuple[TileGrid, int], seed: int
) -> None:
    """However small: at most half a px of the level off."""
    grid, power = case
    col, row = seed % grid.cols, seed // grid.cols % grid.rows
    x, y, right, bottom = exact_cell(grid, col, row)
    size = (grid.slide_width >> power, grid.slide_height >> power)
    painter = Painter(scores_on(grid, {(col, row): 1.0}), OverlayOptions(alpha=1))
    painted = (painter.on(View.of_level(size, 2**power)).paint(white(size), 0, 0) != 255).any(axis=2)
    assert painted.any()
    for indices, begin, end, count in (
        (np.flatnonzero(painted.any(axis=0)), x, right, size[0]),
        (np.flatnonzero(painted.any(axis=1)), y, bottom, size[1]),
    ):
        begin, end = begin / 2**power, end / 2**power
        first, last = int(indices[0]), int(indices[-1]) + 1
        if last == count and end > count:
            begin, end = min(begin, count - 0.5), count  # what rounding left out of the level is shown in its last px
        if end - begin >= 1:
            assert max(abs(first - begin), abs(last - end)) <= 0.5 + 1e-6
        else:
            assert abs((first + last) / 2 - (begin + end) / 2) <= 0.5 + 1e-6


def white(size: tuple[int, int]) -> Pixels:
    return np.full((size[1], size[0], 3), 255, np.uint8)


def test_one_hot_tile_of_a_huge_slide_shows_at_the_lowest_level_in_the_strongest_class() -> None:
    """100,000 px, 609,961 tiles: 98 px square at the lowest level, eight tiles to a px."""
    grid = TileGrid(TileSpec(128, 0.5, 128), 100_000, 100_000, (0.5, 0.5))
    values = np.tile(np.array([0.4, 0.6, 0.0], np.float32), (grid.rows * grid.cols, 1))  # STR, faintly, everywhere
    values[300 * grid.cols + 411] = (0, 0.1, 0.9)
    scores = TileScores(grid, CLASSES, values, "", tissue=everywhere(grid))
    brush = Painter(scores, OverlayOptions(alpha=1)).on(View.of_level((97, 97), 1024))
    found = brush.paint(white((97, 97)), 0, 0)
    others = found[np.arange(97) != 300 // 8]
    assert np.abs(found[300 // 8, 411 // 8] - (0.9 * np.array(RED) + 0.1 * 255)).max() <= 1
    expected = 0.6 * np.array(class_colours(CLASSES)["STR"]) + 0.4 * 255
    assert np.abs(others - expected).max() <= 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", GRIDS)
def test_a_view_in_parts_is_the_view_in_one(style: Style, name: str) -> None:
    grid = GRIDS[name]
    values = np.random.default_rng(1).dirichlet((1, 1, 1), grid.rows * grid.cols).astype(np.float32)
    painter = Painter(TileScores(grid, CLASSES, values, "", tissue=everywhere(grid)), OverlayOptions(style=style))
    size = (grid.slide_width // 2, grid.slide_height // 2)
    brush = painter.on(View.of_level(size, 2))
    whole = brush.paint(white(size), 0, 0)
    for x, y, width, height in ((0, 0, 50, 60), (61, 33, 101, 77), (size[0] - 50, size[1] - 40, 50, 40)):
        part = np.s_[y : y + height, x : x + width]
        assert np.array_equal(brush.paint(white((width, height)), x, y), whole[part])
        assert brush.touches(x, y, width, height) == bool((whole[part] != 255).any())
        region = painter.blend(white((width, height)), Box(2 * x, 2 * y, 2 * width, 2 * height))
        assert np.array_equal(region, whole[part])


# One class


def test_the_heat_of_one_class_is_cividis_from_0_to_1_and_alpha_times_its_probability() -> None:
    """Whatever class is more probable, and whatever the slide's highest probability is."""
    shown = {(2, 2): 0.3, (5, 5): 0.5, (8, 3): 0.7}
    painter = Painter(scores_on(GRID, shown), OverlayOptions(heat="TUM", threshold=0.3))
    found = painter.blend(white(SIZE), Box(0, 0, *SIZE))
    for (col, row), p in shown.items():
        a = 0.45 * p
        expected = (1 - a) * 255 + a * heat_rgb(np.array(p)).astype(float)
        assert np.abs(found[row * 128 + 5, col * 128 + 5] - expected).max() <= 1
    assert (found != 255).any(axis=2).sum() == 3 * 128 * 128


def test_the_colour_scale_is_fixed_and_grows_brighter() -> None:
    assert heat_rgb(np.array([0.0, 1.0])).tolist() == [[0, 34, 78], [254, 232, 56]]
    assert (np.diff(heat_colours().astype(int) @ (299, 587, 114)) > -2000).all()


@pytest.mark.parametrize(
    ("own", "given", "lowest"), [({"TUM": 0.62}, None, 0.62), ({"TUM": 0.62}, 0.2, 0.2), (None, None, 0.5)]
)
def test_heat_begins_at_the_given_threshold_or_the_models(
    own: dict[str, float] | None, given: float | None, lowest: float
) -> None:
    shown = {(col, 2): col / 10 for col in range(1, 10)}
    scores = replace(scores_on(GRID, shown), thresholds=own)
    painter = Painter(scores, OverlayOptions(heat="TUM", threshold=given))
    painted = (painter.blend(white(SIZE), Box(0, 0, *SIZE)) != 255).any(axis=2)
    assert {col for col in range(1, 10) if painted[300, col * 128 + 9]} == {c for c, _ in shown if c / 10 >= lowest}


def test_classes_and_heat_exclude_each_other_and_are_known() -> None:
    with pytest.raises(InputError, match="not both"):
        OverlayOptions(heat="TUM", classes=("TUM",))
    with pytest.raises(InputError, match=r"overlay\.heat: tumor not among the model's BACK, STR, TUM"):
        Painter(SCORES, OverlayOptions(heat="tumor"))
    with pytest.raises(InputError, match=r"overlay\.style: 'jet'; give blocky, smooth, outline"):
        OverlayOptions(style="jet")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"overlay\.outline_px: 0"):
        OverlayOptions(outline_px=0)


# Smooth


def opacities(shown: dict[tuple[int, int], float], options: OverlayOptions, name: str = "TUM") -> NDArray[np.float64]:
    """(h, w) opacity, seen on black and on white: what the first adds, the second leaves."""
    painter = Painter(scores_on(GRID, shown, name), options)
    return (
        1
        - np.subtract(
            painter.blend(white(SIZE), Box(0, 0, *SIZE)).astype(float)[..., 0],
            painter.blend(np.zeros_like(white(SIZE)), Box(0, 0, *SIZE))[..., 0],
        )
        / 255
    )


@pytest.mark.parametrize("options", [OverlayOptions(style="smooth"), OverlayOptions(style="smooth", heat="TUM")])
def test_smooth_heat_goes_from_centre_to_centre_and_ends_with_the_tiles(options: OverlayOptions) -> None:
    seen = opacities({(3, 3): 1.0, (4, 3): 0.6, (6, 6): 0.8}, options)
    middle = seen[3 * 128 + 64]
    assert middle[3 * 128 + 64] == pytest.approx(0.45, abs=0.005)
    assert middle[4 * 128 + 64] == pytest.approx(0.45 * 0.6, abs=0.005)
    between = middle[3 * 128 + 64 : 4 * 128 + 64]
    assert (np.diff(between) <= 0.005).all()  # both colours are rounded
    assert between[64] == pytest.approx(0.45 * 0.8, abs=0.005)
    alone = seen[6 * 128 : 7 * 128, 6 * 128 : 7 * 128]
    assert np.abs(alone - 0.45 * 0.8).max() <= 0.005  # nothing beside it pulls it down
    assert (seen > 0.002).sum() == 3 * 128 * 128  # no px of a tile that is not painted


def test_smooth_heat_mixes_no_classes() -> None:
    """A colour between two classes could be a third one's."""
    scores = scores_on(GRID, {(3, 3): 0.9})
    scores.probabilities[3 * GRID.cols + 4] = (0, 0.9, 0.1)
    found = Painter(scores, OverlayOptions(style="smooth", alpha=1)).blend(white(SIZE), Box(0, 0, *SIZE))
    colours = {tuple(px) for px in found[3 * 128 + 64, 3 * 128 : 5 * 128].tolist()}
    assert len(colours) == 2


# Outlines


@pytest.mark.parametrize("downsample", [1, 2, 4])
@pytest.mark.parametrize("width_px", [1, 3])
def test_an_outline_is_as_wide_at_every_level_and_hides_nothing_within(downsample: int, width_px: int) -> None:
    options = OverlayOptions(style="outline", outline_px=width_px)
    area = {(col, row): 0.9 for col in (3, 4, 5) for row in (2, 3)}
    size = (SIZE[0] // downsample, SIZE[1] // downsample)
    brush = Painter(scores_on(GRID, area), options).on(View.of_level(size, downsample))
    found = brush.paint(white(size), 0, 0)
    painted = (found != 255).any(axis=2)
    side = 128 // downsample
    expected = np.zeros(painted.shape, bool)
    expected[2 * side : 4 * side, 3 * side : 6 * side] = True
    expected[2 * side + width_px : 4 * side - width_px, 3 * side + width_px : 6 * side - width_px] = False
    assert np.array_equal(painted, expected)
    assert (found[painted] == RED).all()


def test_areas_of_two_classes_are_outlined_each_in_its_colour() -> None:
    scores = scores_on(GRID, {(3, 3): 0.9})
    scores.probabilities[3 * GRID.cols + 4] = (0, 0.9, 0.1)
    found = Painter(scores, OverlayOptions(style="outline", outline_px=2)).blend(white(SIZE), Box(0, 0, *SIZE))
    line = found[3 * 128 + 64, 4 * 128 - 3 : 4 * 128 + 3].tolist()
    stroma = list(class_colours(CLASSES)["STR"])
    assert line == [[255] * 3, list(RED), list(RED), stroma, stroma, [255] * 3]


# Regions


@pytest.mark.parametrize("style", STYLES)
def test_a_region_is_the_overlays_own_pixels(style: Style, phantom_tiled: Path, tmp_path: Path) -> None:
    options, region = OverlayOptions(style=style, quality=0), Box(250, 333, 401, 299)
    with open_slide(phantom_tiled) as slide:
        write_overlay(tmp_path / "overlay.ome.tif", slide, SCORES, options)
        write_region(tmp_path / "region.png", slide, SCORES, options, region)
        write_region(tmp_path / "small.png", slide, SCORES, options, region, 2.5)
    whole = levels_of(tmp_path / "overlay.ome.tif")[0]
    found = np.asarray(Image.open(tmp_path / "region.png"))
    assert np.array_equal(found, whole[region.y : region.bottom, region.x : region.right])
    assert Image.open(tmp_path / "small.png").size == (160, 120)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--region", "1400,0,101,50"], "reaches beyond .* 1500 × 1100 px"),
        (["--region", "-1,0,10,10"], "reaches beyond"),
        (["--region", "0,0,10"], "give x,y,width,height"),
        (["--region", "0,0,0,10"], "positive size"),
        (["--region", "0,0,10,10", "--downsample", "0.5"], "give 1 or more"),
        (["--region", "0,0,10,10", "--preview", "p.png"], "leave it out"),
        (["--downsample", "2"], "is for a --region"),
    ],
)
def test_what_no_region_can_show_is_one_line(
    words: list[str], message: str, phantom_tiled: Path, tmp_path: Path
) -> None:
    write_table(tmp_path / "predictions.parquet", SCORES.to_table(tile_table(GRID, fingerprint(phantom_tiled)), {}))
    common = ["overlay", str(phantom_tiled), "--predictions", str(tmp_path / "predictions.parquet")]
    done = CliRunner().invoke(app, [*common, "--out", str(tmp_path / "region.png"), *words])
    with pytest.raises(InputError, match=message):
        raise done.exception or AssertionError(done.output)
    assert not (tmp_path / "region.png").exists()


def test_a_region_by_the_command_line(phantom_tiled: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "predictions.parquet", SCORES.to_table(tile_table(GRID, fingerprint(phantom_tiled)), {}))
    out = tmp_path / "region.png"
    words = ["overlay", str(phantom_tiled), "--predictions", str(tmp_path / "predictions.parquet"), "--out", str(out)]
    done = CliRunner().invoke(app, [*words, "--region", "256,384,256,128", "--heat", "TUM", "--style", "smooth"])
    assert done.exit_code == 0, done.output
    assert Image.open(out).size == (256, 128)
    assert parse_region("1, 2,3,4") == Box(1, 2, 3, 4)


# What can go wrong, and the preview


@pytest.mark.parametrize("source", ["phantom_jpeg", "phantom_flat"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    source: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BigTiffFile, "append", full)
    with (
        open_slide(request.getfixturevalue(source)) as slide,
        pytest.raises(
            SlideError, match=r"overlay\.ome\.tif: cannot be written \(No space left on device\).*GB are free"
        ),
    ):
        write_overlay(tmp_path / "out" / "overlay.ome.tif", slide, SCORES, OverlayOptions())
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_stored_as_asked_is_copied(phantom_jpeg: Path, phantom_tiled: Path) -> None:
    for path, quality, copied in (
        (phantom_jpeg, 87, 4),
        (phantom_jpeg, 0, 0),
        (phantom_tiled, 0, 4),
        (phantom_tiled, 87, 0),
    ):
        with open_slide(path) as slide:
            assert len(plan_overlay(slide, quality).copied) == copied


@pytest.mark.parametrize("style", STYLES)
def test_the_preview_of_one_class_is_the_same_bytes_in_every_run(
    style: Style, phantom_jpeg: Path, tmp_path: Path
) -> None:
    options = OverlayOptions(heat="TUM", style=style)
    with open_slide(phantom_jpeg) as slide:
        for name in ("a.png", "b.png"):
            write_preview(tmp_path / name, slide, SCORES, options, Caption("A7", "m", "2024-05-01"), 500)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
