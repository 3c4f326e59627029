"""Marks at known places of a slide, looked for in the tiles that a grid says they are in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
from numpy.typing import NDArray

from wsi.geometry import TileGrid, TileSpec
from wsi.readers.openslide import OpenSlideReader
from wsi.slide import Slide, open_slide
from wsi.stream import read_tiles
from wsi.writers.ome import Facts
from wsi.writers.pyramid import PyramidOptions, write_pyramid

# Odd on purpose: no multiple of a native tile, of a tile, or of two.
SIZE, MPP = (1501, 1103), 0.5
SIDE_PX = 16
BLUE = np.array([20, 30, 200])


def marks() -> list[tuple[int, int]]:
    """Level-0 (x, y) of the marks' top left: the slide's corners, and places inside."""
    right, bottom = SIZE[0] - SIDE_PX, SIZE[1] - SIDE_PX
    inside = np.random.default_rng(1).integers((100, 100), (right - 100, bottom - 100), (12, 2))
    return [(0, 0), (right, 0), (0, bottom), (right, bottom), *(tuple(place) for place in inside.tolist())]


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lossless pyramid, white but for the marks."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    for x, y in marks():
        pixels[y : y + SIDE_PX, x : x + SIDE_PX] = BLUE
    path = tmp_path_factory.mktemp("fiducials") / "marked.ome.tif"
    write_pyramid(path, [pixels], SIZE, Facts((MPP, MPP)), PyramidOptions.of_quality(0))
    return path


def blueness(tile: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(h, w) share of each px that is mark: 0 to 1."""
    return np.clip((255 - tile[..., 0].astype(float)) / (255 - BLUE[0]), 0, 1)


def check(slide: Slide, grid: TileGrid) -> int:
    """Each mark is in all tiles whose boxes hold it, where it is to be to half a px, and in no other one.

    Half a px of the tile or of level 0, whichever is larger. Returns how many were found.
    """
    tiles = {
        int(index): pixels
        for block in read_tiles(slide, grid, np.ones((grid.rows, grid.cols), bool))
        for index, pixels in zip(block.index, block.pixels, strict=True)
    }
    seen = 0
    for index, pixels in tiles.items():
        box, size = grid.box(index % grid.cols, index // grid.cols), grid.spec.size_px
        px = np.array([box.width, box.height]) / size
        found, left = blueness(pixels), blueness(pixels)
        for mark in marks():
            start = (np.array(mark) - (box.x, box.y)) / px
            end = start + SIDE_PX / px
            (x0, y0), (x1, y1) = np.floor(start - 1).astype(int).clip(0), np.ceil(end + 1).astype(int).clip(0)
            left[y0:y1, x0:x1] = 0
            if (start >= 0).all() and (end <= size).all():
                part = found[y0:y1, x0:x1]
                ys, xs = np.mgrid[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] + 0.5
                middle = np.array([(part * xs).sum(), (part * ys).sum()]) / part.sum()
                last = (
                    np.add(mark, SIDE_PX) == SIZE
                )  # of an odd number of px, a level half the size leaves the last out
                off = np.abs(middle - (start + end) / 2) * px
                assert (off <= 0.5 * np.maximum(1, px) + 0.5 * last).all(), (mark, box, off)
                seen += 1
        assert left.max() < 0.05  # nothing but the marks that are here
    return seen


@pytest.mark.parametrize("stride", ["whole", "overlap"])
@pytest.mark.parametrize("mpp", [0.5, 0.65, 0.7, 1.0, 1.37, 2.0])
def test_marks_are_in_their_tiles_at_any_downsample(marked: Path, mpp: float, stride: str) -> None:
    """1, 1.3, 1.4, 2, 2.74 and 4: from level 0, from a reduced level, and resampled between them."""
    with open_slide(marked) as slide:
        spec = TileSpec(96, mpp, 96 if stride == "whole" else 60)
        assert check(slide, TileGrid.of(spec, slide.size, slide.mpp, name="s")) >= 8


@pytest.mark.parametrize("mpp", [0.5, 0.7])
def test_the_corners_are_in_the_corner_tiles(marked: Path, mpp: float) -> None:
    with open_slide(marked) as slide:
        grid = TileGrid.of(TileSpec(96, mpp, 96), slide.size, slide.mpp, name="s")
        for col, row in ((0, 0), (grid.cols - 1, 0), (0, grid.rows - 1), (grid.cols - 1, grid.rows - 1)):
            assert blueness(slide.read_to(grid.box(col, row), (96, 96))).max() > 0.9


def test_a_tile_over_the_edge_is_white_there_or_left_out(marked: Path) -> None:
    spec = TileSpec(128, 0.5, 128)
    with open_slide(marked) as slide:
        padded = TileGrid.of(spec, slide.size, slide.mpp, name="s")
        assert (padded.cols, padded.rows) == (12, 9)  # 1501 px are 11.7 tiles, 1103 px 8.6
        corner = slide.read(padded.box(11, 8))
        assert (corner[1103 - 8 * 128 :] == 255).all()
        assert (corner[:, 1501 - 11 * 128 :] == 255).all()
        cut = TileGrid.of(spec, slide.size, slide.mpp, name="s", edge="drop")
        assert (cut.cols, cut.rows) == (11, 8)
        assert check(slide, cut) >= 4


def test_the_place_of_the_scanned_area_moves_no_tile(marked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some scanners say where on the glass they scanned. Level-0 coordinates begin at the slide's corner even so."""
    properties = dict(openslide.OpenSlide(marked).properties)
    bounds = {openslide.PROPERTY_NAME_BOUNDS_X: "200", openslide.PROPERTY_NAME_BOUNDS_Y: "100"}
    monkeypatch.setattr(openslide.OpenSlide, "properties", {**properties, **bounds})
    reader = OpenSlideReader.open(marked)
    assert reader is not None
    assert reader.header.bounds_offset == (200, 100)
    with Slide(marked, reader, (MPP, MPP)) as slide:
        assert check(slide, TileGrid.of(TileSpec(96, 0.7, 96), slide.size, slide.mpp, name="s")) >= 8
