"""What is blank: tiles of generated slides whose truth is known, class by class, and tiles made for one reason each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wsi.bands import tile_stats
from wsi.blank import REASONS, BlankOptions, blank_reasons
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.ink import ink_pixels
from wsi.phantom import CLASSES, MAP_DOWNSAMPLE, Phantom, PhantomSpec
from wsi.phantom.files import write_tiled
from wsi.shapes import box_fractions
from wsi.slide import open_slide
from wsi.tiles import candidates, make_tiles
from wsi.tilestats import ROW_STEP, STATS, Measures, TileStats
from wsi.tissue import TissueOptions, find_tissue
from wsi.tissuemask import TissueMask

TILE = TileSpec(128, 0.5, 128)
# Each has every class; what lies on the glass differs.
SPECS = [
    PhantomSpec(1, 2048, 2048, 0.5, pieces=1),
    PhantomSpec(12, 2048, 2048, 0.5, pieces=2, dust=30),
    PhantomSpec(23, 2048, 2048, 0.5, pieces=1, dust=30, background_steps=True),
    PhantomSpec(34, 2048, 2048, 0.5, pieces=2, stain_strength=0.6),
]
MAP_PX = (float(MAP_DOWNSAMPLE), float(MAP_DOWNSAMPLE))


def measured(pixels: NDArray[np.uint8], *, with_focus: bool = False) -> TileStats:
    """The numbers of tiles (N, h, w, 3)."""
    measures = Measures(BlankOptions.bright_level, with_focus)
    values = measures.of(np.ascontiguousarray(pixels[:, :: measures.row_step]), 0.5)
    return TileStats(np.arange(len(pixels)), values)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.bool_]]:
    """Class → (tiles, 2): kept by the whole stage; by the filter alone, if the mask took everything for tissue.

    A tile is of a class where half of it or more is; of BACK where all of it is.
    """
    folder = tmp_path_factory.mktemp("blank")
    found: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in CLASSES}
    for number, spec in enumerate(SPECS):
        phantom, path = Phantom(spec), folder / f"{number}.ome.tif"
        write_tiled(phantom, path)
        with open_slide(path) as slide:
            mask = find_tissue(slide, TissueOptions())[0]
            grid = TileGrid.of(TILE, slide.size, slide.mpp, name=slide.name)
            masks = (mask, replace(mask, mask=np.ones_like(mask.mask)))
            tables = [make_tiles(slide, grid, one, 0.1, BlankOptions()) for one in masks]
        both = np.stack([candidates(table, grid).ravel() for table in tables], axis=1)
        for index, name in enumerate(CLASSES):
            share = box_fractions(phantom.class_map == index, grid.boxes(), MAP_PX)
            found[name].append(both[share == 1 if name == "BACK" else share >= 0.5])
    return {name: np.concatenate(parts) for name, parts in found.items()}


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "BACK"])
def test_tissue_is_kept(kept: dict[str, NDArray[np.bool_]], name: str) -> None:
    """Of fat and mucus, too, which are nearly as bright as glass."""
    assert len(kept[name]) > 30
    stage, alone = kept[name].mean(axis=0)
    assert alone >= 0.995
    assert stage >= 0.995


def test_glass_is_dropped(kept: dict[str, NDArray[np.bool_]]) -> None:
    """With dust and steps of the background on it; the filter alone nearly as well as with the mask before it."""
    assert len(kept["BACK"]) > 300
    stage, alone = 1 - kept["BACK"].mean(axis=0)
    assert stage >= 0.99
    assert alone >= 0.97


def tile(base: tuple[int, int, int], noise: int, coloured: tuple[float, float, float] = (1, 1, 1)) -> NDArray[np.uint8]:
    """(1, 128, 128, 3) of one colour, and on it noise of one hue."""
    grain = np.random.default_rng(2).integers(-noise, noise + 1, (1, 128, 128, 1)) * np.array(coloured)
    return np.clip(np.array(base) + grain, 0, 255).astype(np.uint8)


def dusty() -> NDArray[np.uint8]:
    """Glass with grey specks on a tenth of it."""
    pixels = tile((240, 241, 243), 1)
    specks = np.random.default_rng(3).random((1, 128, 128)) < 0.1
    pixels[specks] = 70
    return pixels


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (tile((245, 244, 246), 0), "bright"),
        (dusty(), "bright"),
        (tile((150, 120, 140), 1), "flat"),
        (tile((30, 120, 60), 20), "ink"),
        (tile((180, 110, 160), 20), ""),
        (tile((236, 232, 238), 12, (0.2, 1, 0.4)), ""),  # as bright as glass, but the brightness varies with the hue
    ],
    ids=["glass", "dust", "grey", "pen", "stain", "pale stain"],
)
def test_a_tile_is_blank_for_its_own_reason(pixels: NDArray[np.uint8], reason: str) -> None:
    assert REASONS[blank_reasons(measured(pixels), BlankOptions())[0]] == reason


def test_every_threshold_is_the_options() -> None:
    stain = measured(tile((180, 110, 160), 20))
    assert REASONS[blank_reasons(stain, BlankOptions(min_contrast=50))[0]] == "flat"
    assert REASONS[blank_reasons(stain, BlankOptions(max_ink=-1))[0]] == "ink"
    assert REASONS[blank_reasons(stain, BlankOptions(max_bright=-1, min_colour=99))[0]] == "bright"


def test_focus_is_measured_where_it_is_asked_for_and_drops_only_what_the_threshold_says() -> None:
    sharp = Phantom(SPECS[0]).render(Box(896, 896, 128, 128))[None]
    assert np.isnan(measured(sharp)["focus"]).all()
    stats = measured(sharp, with_focus=True)
    value = stats["focus"][0]
    assert value > 0.5
    assert blank_reasons(stats, BlankOptions(min_focus=0.0)).tolist() == [0]
    assert REASONS[blank_reasons(stats, BlankOptions(min_focus=value + 0.1))[0]] == "out of focus"
    untold = replace(stats, values=np.where(np.arange(len(STATS)) == STATS.index("focus"), np.nan, stats.values))
    assert blank_reasons(untold, BlankOptions(min_focus=9.0)).tolist() == [0]


def test_the_numbers_are_what_they_are_called() -> None:
    """Against plain numpy on the rows that are looked at."""
    pixels = np.concatenate([Phantom(SPECS[1]).render(Box(x, 900, 128, 128))[None] for x in (300, 900, 1500)])
    stats, rows = measured(pixels), pixels[:, ::ROW_STEP].astype(float)
    spread, green = np.ptp(rows, axis=3), rows[..., 1]
    assert stats["bright"] == pytest.approx((rows.min(axis=3) > 215).mean(axis=(1, 2)), abs=1e-6)
    assert stats["saturation"] == pytest.approx(spread.mean(axis=(1, 2)), rel=1e-5)
    assert stats["colour"] == pytest.approx(spread.std(axis=(1, 2)), abs=0.1)
    assert stats["contrast"] == pytest.approx(green.std(axis=(1, 2)), abs=0.1)
    assert stats["edge_energy"] == pytest.approx(np.abs(np.diff(green, axis=2)).mean(axis=(1, 2)), rel=1e-5)
    ink = [ink_pixels(one[::ROW_STEP]).mean() for one in pixels]
    assert stats["ink"] == pytest.approx(np.array(ink), abs=0.02)


@pytest.mark.parametrize("size_px", [128, 2048])
@pytest.mark.parametrize("base", [0, 128, 254])
def test_the_contrast_is_right_whatever_the_size_and_brightness(size_px: int, base: int) -> None:
    """A standard deviation of 0.5, of sums that single precision would not hold."""
    green = base + np.random.default_rng(1).integers(0, 2, (1, size_px // ROW_STEP, size_px), np.uint8)
    stats = TileStats(np.arange(1), Measures(215).of(np.stack([green] * 3, axis=-1), 0.5))
    assert stats["contrast"] == pytest.approx(0.5, abs=0.01)


def test_rows_that_are_looked_at_stand_for_the_tile(phantom_jpeg: Path) -> None:
    with open_slide(phantom_jpeg) as slide:
        grid = TileGrid.of(TILE, slide.size, slide.mpp, name="s")
        some = tile_stats(slide, grid, np.ones((grid.rows, grid.cols), bool), Measures(215))
        assert some.index.tolist() == list(range(grid.rows * grid.cols))
        whole = np.stack([slide.read(grid.box(i % grid.cols, i // grid.cols)) for i in some.index])
    bright = (whole.min(axis=3) > 215).mean(axis=(1, 2))
    assert np.abs(some["bright"] - bright).mean() < 0.01


def test_the_mask_without_tissue_reads_nothing(phantom_tiled: Path) -> None:
    grid = TileGrid(TILE, 1500, 1100, (0.5, 0.5))
    mask = TissueMask(np.zeros((10, 10), bool), (150.0, 110.0))
    with open_slide(phantom_tiled) as slide:
        table = make_tiles(slide, grid, mask, 0.1, BlankOptions())
    assert set(table["blank_reason"].to_pylist()) == {"no tissue"}
    assert np.isnan(table["bright"].to_numpy()).all()
