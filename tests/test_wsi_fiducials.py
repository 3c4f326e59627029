"""Marks at known places of a slide, looked for in the tiles that a grid says they are in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile
from cells import everywhere, exact_cell
from numpy.typing import NDArray

from wsi.geometry import TileGrid, TileSpec
from wsi.overlay import OverlayOptions, write_overlay
from wsi.readers.openslide import OpenSlideReader
from wsi.scores import TileScores
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


# The overlay: what is painted against what is on the slide


def corners_and_centre(grid: TileGrid) -> list[tuple[int, int]]:
    """(col, row) of tiles of which enough lies on the slide to be seen."""
    right, bottom = grid.cols - 1, grid.rows - 1
    found = [(0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2)]
    cells = [exact_cell(grid, *place) for place in found]
    return [place for place, (x, y, x1, y1) in zip(found, cells, strict=True) if x1 - x > SIDE_PX and y1 - y > SIDE_PX]


# Tile size, mpp and stride on slides of 0.5 mpp: downsamples of 1, 1.4, 2 and 2.74, and overlapping tiles.
OVERLAID = {"1": (128, 0.5, 128), "1.4": (64, 0.7, 64), "2.74": (64, 1.37, 64), "overlap": (128, 0.65, 50)}
SOURCES = ("pyramid", "flat", "odd levels", "bounds")


def write_marked(path: Path, grid: TileGrid, source: str) -> None:
    """A lossless slide, white but for a blue mark on each tile that will be painted."""
    covered = np.zeros((SIZE[1], SIZE[0], 1))
    for place in corners_and_centre(grid):
        x, y, right, bottom = exact_cell(grid, *place)  # px that an edge cuts are blue in part
        along, down = np.arange(SIZE[0]), np.arange(SIZE[1])
        across = np.clip(np.minimum(along + 1, right) - np.maximum(along, x), 0, 1)
        covered[..., 0] += np.outer(np.clip(np.minimum(down + 1, bottom) - np.maximum(down, y), 0, 1), across)
    pixels = np.rint(255 + covered * (BLUE - 255.0)).astype(np.uint8)
    lossless = {"compression": "deflate", "photometric": "rgb", "resolutionunit": "CENTIMETER"}
    if source == "flat":
        tifffile.imwrite(path, pixels, rowsperstrip=16, resolution=(20_000, 20_000), **lossless)
    elif source == "odd levels":  # 2.5 is no level of an overlay; that of 4 is rounded up
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(pixels, tile=(256, 256), resolution=(20_000, 20_000), **lossless)
            for size in ((600, 441), (376, 276)):
                even = np.pad(pixels, ((0, 1), (0, 3), (0, 0)), mode="edge") if size[0] == 376 else pixels
                smaller = cv2.resize(even, size, interpolation=cv2.INTER_AREA)
                tiff.write(smaller, tile=(256, 256), subfiletype=1, **lossless)
    else:
        write_pyramid(path, [pixels], SIZE, Facts((MPP, MPP)), PyramidOptions.of_quality(0))


def opened(path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> Slide:
    """The slide; of "bounds" by OpenSlide, with a scanned area that begins elsewhere on the glass."""
    if source != "bounds":
        return open_slide(path)
    properties = dict(openslide.OpenSlide(path).properties)
    bounds = {openslide.PROPERTY_NAME_BOUNDS_X: "200", openslide.PROPERTY_NAME_BOUNDS_Y: "100"}
    monkeypatch.setattr(openslide.OpenSlide, "properties", {**properties, **bounds})
    reader = OpenSlideReader.open(path)
    assert reader is not None
    assert reader.header.bounds_offset == (200, 100)
    return Slide(path, reader, (MPP, MPP))


def off_px(mark: NDArray[np.float64], paint: NDArray[np.bool_]) -> float:
    """How far the painted px are from the mark's, in px: their edges; of what is narrower than two px, their middle.

    mark, paint: along x or y, (n,) share of each px that is mark, and which are painted.
    """
    places, painted = np.arange(len(mark)) + 0.5, np.flatnonzero(paint)
    first, last = painted[0], painted[-1] + 1
    assert last - first == len(painted)
    if mark.sum() < 2:
        return float(abs((mark * places).sum() / mark.sum() - (first + last) / 2))
    middle = int((mark * places).sum() / mark.sum())
    return float(max(abs(middle - mark[:middle].sum() - first), abs(middle + mark[middle:].sum() - last)))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", OVERLAID)
def test_the_overlay_lies_on_the_slide_within_half_a_pixel_of_every_level(
    name: str,
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Marks are looked for in the file's own pixels: written once with colours, and once without."""
    grid = TileGrid.of(TileSpec(*OVERLAID[name]), SIZE, (MPP, MPP), name="s")
    write_marked(tmp_path / "slide.tif", grid, source)
    values = np.full((grid.rows * grid.cols, 2), np.nan, np.float32)
    plain = TileScores(grid, ("BACK", "TUM"), values.copy(), "", tissue=everywhere(grid))
    for col, row in corners_and_centre(grid):
        values[row * grid.cols + col] = (0, 1)
    painted = TileScores(grid, ("BACK", "TUM"), values, "", tissue=everywhere(grid))
    with opened(tmp_path / "slide.tif", source, monkeypatch) as slide:
        for kind, scores in (("plain", plain), ("painted", painted)):
            write_overlay(tmp_path / f"{kind}.ome.tif", slide, scores, OverlayOptions(alpha=1, quality=0))
    with tifffile.TiffFile(tmp_path / "plain.ome.tif") as a, tifffile.TiffFile(tmp_path / "painted.ome.tif") as b:
        levels = [(x.asarray(), y.asarray()) for x, y in zip(a.series[0].levels, b.series[0].levels, strict=True)]
    assert len(levels) == 4
    worst = 0.0
    for power, (before, after) in enumerate(levels):
        mark, paint = blueness(before), (before != after).any(axis=2)
        for place in corners_and_centre(grid):
            x, y, right, bottom = (edge / 2**power for edge in exact_cell(grid, *place))
            around = np.s_[max(0, int(y) - 2) : int(bottom) + 3, max(0, int(x) - 2) : int(right) + 3]
            here, seen = mark[around], paint[around]
            for axis in (0, 1):
                worst = max(worst, off_px(here.max(axis=axis), seen.any(axis=axis)))
    record_property("told", f"overlay off its slide by at most {worst:.2f} px of a level ({name}, {source})")
    assert 0 <= worst <= 0.5 + 0.02  # the marks' own grey levels are rounded to 1/255
