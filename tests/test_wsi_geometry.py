"""Geometry: boxes, levels and tile grids, by arithmetic alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi.errors import InputError, MismatchError, MppError, WsiError
from wsi.geometry import Box, TileGrid, TileSpec, downsample_of, whole


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    """Any grid a slide may get: x and y mpp may differ, strides overlap, slides may be smaller than a tile."""
    size_px = draw(st.integers(8, 600))
    spec = TileSpec(size_px, draw(st.floats(0.2, 4)), draw(st.integers(max(1, size_px // 4), size_px)))
    mpp = (draw(st.floats(0.1, 2)), draw(st.floats(0.1, 2)))
    return TileGrid(spec, draw(st.integers(1, 1500)), draw(st.integers(1, 1500)), mpp)


@given(grids())
def test_tiles_cover_the_slide(grid: TileGrid) -> None:
    """Along each axis the first tile starts at 0, no gap lies between two, and the last reaches the edge."""
    boxes = grid.boxes().reshape(grid.rows, grid.cols, 4)
    for start, length, side in ((boxes[0, :, 0], boxes[0, :, 2], grid.slide_width),
                                (boxes[:, 0, 1], boxes[:, 0, 3], grid.slide_height)):  # fmt: skip
        ends = start + length
        assert start[0] == 0
        assert (start[1:] <= ends[:-1]).all()
        assert ends[-1] >= side


@given(grids(), st.data())
def test_box_of_a_tile_equals_its_row_of_boxes(grid: TileGrid, data: st.DataObject) -> None:
    col, row = data.draw(st.integers(0, grid.cols - 1)), data.draw(st.integers(0, grid.rows - 1))
    box = grid.box(col, row)
    assert (box.x, box.y, box.width, box.height) == tuple(grid.boxes()[row * grid.cols + col])


@given(grids())
def test_every_tile_has_a_size_and_touches_the_slide(grid: TileGrid) -> None:
    boxes = grid.boxes()
    assert boxes.shape == (grid.rows * grid.cols, 4)
    assert boxes.dtype == np.int64
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, 0] < grid.slide_width).all()
    assert (boxes[:, 1] < grid.slide_height).all()


@given(grids(), st.data())
def test_a_cell_lies_in_its_tile_and_has_the_strides_side_but_at_the_slides_edge(
    grid: TileGrid, data: st.DataObject
) -> None:
    col, row = data.draw(st.integers(0, grid.cols - 1)), data.draw(st.integers(0, grid.rows - 1))
    tile, cell = grid.box(col, row), grid.cell(col, row)
    assert tile.x <= cell.x
    assert tile.y <= cell.y
    assert cell.right <= max(min(tile.right, grid.slide_width), cell.x + 1)
    assert cell.bottom <= max(min(tile.bottom, grid.slide_height), cell.y + 1)
    sides = ((cell.width, col, grid.cols), (cell.height, row, grid.rows))
    for (side, number, count), downsample in zip(sides, grid.downsample, strict=True):
        if 0 < number < count - 1:
            assert abs(side - grid.spec.stride_px * downsample) <= 1


@given(grids())
def test_cells_part_the_slide_among_them(grid: TileGrid) -> None:
    """Every place of it is in one of them, and what they add up to is the slide's area."""
    x, y = grid.cell_edges()
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, grid.slide_width, grid.slide_height)
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > 0).all()
    slide_mm2 = grid.slide_width * grid.slide_mpp[0] * grid.slide_height * grid.slide_mpp[1] / 1e6
    assert grid.cell_areas_mm2().sum() == pytest.approx(slide_mm2)


def test_what_is_in_no_tile_is_in_no_cell() -> None:
    """Tiles over the edge are dropped: a strip at the right and below is in none."""
    grid = TileGrid(TileSpec(128, 0.5, 100), 1000, 1000, (0.5, 0.5), "drop")
    x, y = grid.cell_edges()
    assert x[-1] == y[-1] == 8 * 100 + 128


@given(st.integers(8, 300), st.integers(1, 5000), st.integers(1, 16))
def test_a_whole_downsample_gives_exact_boxes(size_px: int, width: int, factor: int) -> None:
    grid = TileGrid(TileSpec(size_px, 0.25 * factor, size_px), width, 100, (0.25, 0.25))
    assert grid.downsample == (factor, factor)
    boxes = grid.boxes()
    assert (boxes[:, 2:] == size_px * factor).all()
    assert (boxes[:, 0] % (size_px * factor) == 0).all()


def test_no_tile_lies_outside_by_rounding() -> None:
    # 631 px are five tiles of 126.156 px and 0.22 px: a sixth would begin at 631 once rounded.
    grid = TileGrid(TileSpec(128, 0.4191674, 128), 631, 300, (0.425285, 0.425285))
    assert grid.cols == 5
    assert grid.box(4, 0).right == 631


def test_a_slide_smaller_than_a_tile_has_one_tile() -> None:
    grid = TileGrid(TileSpec(128, 0.5, 128), 50, 40, (0.5, 0.5))
    assert (grid.cols, grid.rows) == (1, 1)
    assert grid.box(0, 0) == Box(0, 0, 128, 128)


@given(grids())
def test_without_padding_no_tile_reaches_over_the_edge_and_none_that_fits_is_left_out(grid: TileGrid) -> None:
    first = grid.box(0, 0)
    if first.right > grid.slide_width or first.bottom > grid.slide_height:
        with pytest.raises(InputError, match=r"no room for a tile.*set tile\.edge to pad"):
            replace(grid, edge="drop")
        return
    dropped = replace(grid, edge="drop")
    last = dropped.box(dropped.cols - 1, dropped.rows - 1)
    assert last.right <= grid.slide_width
    assert last.bottom <= grid.slide_height
    following = grid.box(dropped.cols, dropped.rows)
    assert following.right > grid.slide_width
    assert following.bottom > grid.slide_height
    assert dropped.cols <= grid.cols
    assert dropped.box(0, dropped.rows - 1) == grid.box(0, dropped.rows - 1)


def test_an_edge_policy_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"tile\.edge is 'crop'; give one of pad, drop"):
        TileGrid(TileSpec(128, 0.5, 128), 1000, 1000, (0.5, 0.5), "crop")  # type: ignore[arg-type]


def test_an_exact_fit_has_no_extra_tile() -> None:
    # 1280 px in tiles of 128: ten; one px more: eleven.
    spec = TileSpec(128, 0.5, 128)
    assert TileGrid(spec, 1280, 1281, (0.5, 0.5)).cols == 10
    assert TileGrid(spec, 1280, 1281, (0.5, 0.5)).rows == 11


def test_mpp_that_differs_in_x_and_y_gives_square_tiles_in_um() -> None:
    grid = TileGrid.of(TileSpec(100, 1.0, 100), (2000, 2000), (0.5, 0.25), name="s")
    assert grid.downsample == (2, 4)
    assert grid.box(1, 1) == Box(200, 400, 200, 400)
    assert (grid.cols, grid.rows) == (10, 5)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5)])
def test_a_box_without_a_size_is_refused_with_its_numbers(width: int, height: int) -> None:
    with pytest.raises(InputError, match=f"{width} × {height}"):
        Box(0, 0, width, height)


def test_a_box_may_start_outside_the_slide() -> None:
    box = Box(-5, -6, 10, 20)
    assert (box.right, box.bottom) == (5, 14)


@pytest.mark.parametrize(
    ("size", "level", "expected"),
    [
        ((18048, 15936), (141, 124), 128),  # halved seven times, rounded down at each: 15936 / 124 = 128.5
        ((18048, 15936), (9024, 7968), 2),
        ((46000, 32914), (11500, 8228), 4),  # Aperio CMU-1: quarters, rounded down
        ((46000, 32914), (2875, 2057), 16),
        ((4443, 3567), (1110, 891), 4),  # Aperio JPEG 2000
        ((1501, 1101), (750, 550), 2),
        ((19, 19), (4, 4), 4),  # halved twice: 4.75
        ((1000, 800), (1000, 800), 1),
    ],
)
def test_the_downsample_of_a_level_is_the_whole_number_its_writer_meant(
    size: tuple[int, int], level: tuple[int, int], expected: int
) -> None:
    assert downsample_of(size, level) == expected


def test_the_downsample_of_an_odd_level_is_the_mean_of_both_sides() -> None:
    assert downsample_of((1000, 1000), (300, 300)) == pytest.approx(1000 / 300)


@given(st.integers(2, 100_000), st.integers(2, 100_000), st.integers(0, 8))
def test_a_size_halved_and_rounded_down_keeps_its_power_of_two(width: int, height: int, halvings: int) -> None:
    level = (width >> halvings, height >> halvings)
    if min(level) >= 2**halvings:
        assert downsample_of((width, height), level) == 2**halvings


def test_a_blurred_ratio_is_the_whole_number_it_stands_for() -> None:
    assert whole(2.001) == 2
    assert whole(1.01) == 1.01
    assert whole(0.4) == 0.4


def test_a_missing_mpp_is_an_error_that_names_the_slide_and_the_remedy() -> None:
    with pytest.raises(MppError, match=r"A7: no mpp.*--mpp.*column 'mpp'"):
        TileGrid.of(TileSpec(128, 0.5, 128), (1000, 1000), None, name="A7")


def test_too_coarse_a_slide_is_refused_with_both_numbers_unless_upsampling_is_allowed() -> None:
    spec, size, mpp = TileSpec(128, 0.25, 128), (1000, 1000), (0.5, 0.5)
    with pytest.raises(MppError, match=r"A7: 0.25 mpp asked, the finest level has 0.5; .*tile.allow_upsample"):
        TileGrid.of(spec, size, mpp, name="A7")
    assert TileGrid.of(spec, size, mpp, name="A7", allow_upsample=True).downsample == (0.5, 0.5)


def test_two_percent_of_measuring_error_is_not_too_coarse() -> None:
    # Scanners state 0.5015 or 0.499 for what is sold as 0.5.
    TileGrid.of(TileSpec(128, 0.5, 128), (1000, 1000), (0.5015, 0.5), name="A7")
    with pytest.raises(MppError):
        TileGrid.of(TileSpec(128, 0.5, 128), (1000, 1000), (0.5, 0.52), name="A7")


@pytest.mark.parametrize(
    ("size_px", "mpp", "stride_px", "named"),
    [
        (4, 0.5, 4, "tile.size_px is 4"),
        (128, 0.5, 0, "tile.stride_px is 0"),
        (128, 0.5, 129, "tile.stride_px is 129; give 1 to 128"),
        (128, 0.0, 128, "tile.mpp is 0"),
        (128, math.nan, 128, "tile.mpp is nan"),
    ],
)
def test_a_tile_that_cannot_be_is_refused_by_its_key(size_px: int, mpp: float, stride_px: int, named: str) -> None:
    with pytest.raises(InputError, match=named) as caught:
        TileSpec(size_px, mpp, stride_px)
    assert isinstance(caught.value, WsiError)


def test_a_tile_answers_for_its_stride_in_mm2() -> None:
    grid = TileGrid(TileSpec(256, 0.5, 100), 2000, 2000, (0.5, 0.5))
    areas = grid.cell_areas_mm2()
    assert areas[grid.cols + 1] == pytest.approx(0.05**2)  # 100 px of 0.5 µm: 0.05 mm
    assert areas[0] == pytest.approx((178 * 0.5e-3) ** 2)  # in the corner, to the slide's edge: 78 px more


def test_glass_beyond_the_slides_edge_has_no_area() -> None:
    small = TileGrid(TileSpec(128, 2.051, 128), 300, 300, (0.5, 0.5))  # one tile, wider than the slide
    assert small.cell_areas_mm2().sum() == pytest.approx(0.15**2)
    odd = TileGrid(TileSpec(64, 0.7, 64), 1501, 1103, (0.5, 0.4))
    assert odd.cell_areas_mm2().sum() == pytest.approx(1501 * 0.5 * 1103 * 0.4 / 1e6)


def test_a_grid_refuses_a_slide_it_was_not_laid_on() -> None:
    grid = TileGrid(TileSpec(64, 1, 64), 1500, 1100, (0.5, 0.5))
    grid.check_slide((1500, 1100), (0.5, 0.5), "a.tif")
    with pytest.raises(MismatchError, match=r"a\.tif: 1501 × 1100 px, but its tiles were cut from .* 1500 × 1100"):
        grid.check_slide((1501, 1100), (0.5, 0.5), "a.tif")
    with pytest.raises(MismatchError, match=r"0\.25 mpp, but its tiles were cut at 0\.5"):
        grid.check_slide((1500, 1100), (0.25, 0.25), "a.tif")
