"""Tissue, tiles and their labels, against phantoms whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from shapely.geometry import box

import wsi.tiles
from wsi.annotations import Region
from wsi.blank import REASONS, BlankOptions
from wsi.errors import InputError, MppError
from wsi.geometry import TileGrid, TileSpec
from wsi.ink import ink_pixels
from wsi.labels import label_tiles
from wsi.phantom import CLASSES, MAP_DOWNSAMPLE, Phantom, PhantomSpec
from wsi.phantom.files import write_tiled
from wsi.shapes import box_fractions, polygons_of, rasterise
from wsi.slide import open_slide
from wsi.stream import ahead, cut_tiles, read_tiles
from wsi.tiles import candidates, grid_of, make_tiles, read_table, write_table
from wsi.tilestats import STATS
from wsi.tissue import TissueOptions, find_tissue
from wsi.tissuemask import TissueMask
from wsi.writers.ome import Facts
from wsi.writers.pyramid import write_pyramid

Mask = NDArray[np.bool_]
MAP_PX = (float(MAP_DOWNSAMPLE), float(MAP_DOWNSAMPLE))
PALE = ("ADI", "MUC")
TILE = TileSpec(64, 1.0, 64)

# Every class, pen and nuisance in one or more of them.
SPECS = {
    "clean": PhantomSpec(1, 2400, 1800, 1.0, pieces=2, classes=("NORM", "STR", "ADI")),
    "pens": PhantomSpec(2, 2400, 1800, 1.0, pieces=2, classes=("TUM", "MUS"), pens=("blue", "green")),
    "dust": PhantomSpec(3, 2400, 1800, 1.0, pieces=1, classes=("LYM", "MUC", "STR"), dust=40),
    "all": PhantomSpec(
        4, 2400, 1800, 1.0, pieces=2, classes=("DEB", "TUM"), pens=("black", "red"), dust=20, background_steps=True
    ),
}


@dataclass(frozen=True)
class Found:
    """A phantom, its slide, the mask found on it and the truth at the mask's size."""

    phantom: Phantom
    path: Path
    mask: TissueMask
    truth: Mask
    ink: Mask
    grid: TileGrid
    tiles: pa.Table

    @property
    def clear(self) -> Mask:
        """Where no pen is near: strokes over tissue are no tissue that could be scored."""
        near = cv2.dilate(self.ink.astype(np.uint8), np.ones((5, 5), np.uint8))
        return near == 0


def shrunk(mask: Mask, shape: tuple[int, ...]) -> Mask:
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA) >= 0.5


def found_on(phantom: Phantom, path: Path) -> Found:
    write_tiled(phantom, path)
    with open_slide(path) as slide:
        mask, _ = find_tissue(slide, TissueOptions())
        grid = TileGrid.of(TILE, slide.size, slide.mpp, name=slide.name)
        tiles = make_tiles(slide, grid, mask, 0.3, BlankOptions())
    shape = mask.mask.shape
    return Found(phantom, path, mask, shrunk(phantom.tissue, shape), shrunk(phantom.ink, shape), grid, tiles)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    folder = tmp_path_factory.mktemp("tissue")
    return {name: found_on(Phantom(spec), folder / f"{name}.ome.tif") for name, spec in SPECS.items()}


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def shares(case: Found, truth: Mask) -> NDArray[np.float32]:
    """(tiles,) share of each tile that a mask of the phantom's maps covers."""
    return box_fractions(truth, case.grid.boxes(), MAP_PX)


@pytest.mark.parametrize("name", SPECS)
def test_the_mask_is_the_tissue(found: dict[str, Found], name: str) -> None:
    """Measured away from ink: IoU 0.90 to 0.94. With px of 8 µm, one px along these ragged edges and tears is 5 %."""
    case = found[name]
    assert iou(case.mask.mask & case.clear, case.truth & case.clear) >= 0.88


@pytest.mark.parametrize("name", SPECS)
def test_the_area_is_within_an_eighth_of_the_truth(found: dict[str, Found], name: str) -> None:
    """Measured: 5 to 10 % too much, since tears and gaps narrower than 48 µm are closed."""
    case = found[name]
    truth_px = (case.truth & case.clear).sum()
    assert (case.mask.mask & case.clear).sum() == pytest.approx(truth_px, rel=0.125)


def test_the_area_in_mm2_is_that_of_the_mask(found: dict[str, Found]) -> None:
    # 2400 × 1800 px at 1 µm: 4.32 mm² in all.
    mask = found["clean"].mask
    assert mask.area_mm2((1.0, 1.0)) == pytest.approx(4.32 * mask.mask.mean(), rel=1e-6)


@pytest.mark.parametrize("name", ["pens", "all"])
def test_pens_on_glass_are_no_tissue(found: dict[str, Found], name: str) -> None:
    """Measured: 1 % of blue and green strokes is taken, 7 % of black and red ones."""
    case = found[name]
    drawn = case.ink & ~cv2.dilate(case.truth.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    assert drawn.sum() > 100
    assert (case.mask.mask & drawn).sum() <= 0.1 * drawn.sum()


@pytest.mark.parametrize("name", ["dust", "all"])
def test_dust_is_no_tissue(found: dict[str, Found], name: str) -> None:
    """Nothing is taken that does not touch the tissue: dust adds no piece of its own."""
    case = found[name]
    _, pieces = cv2.connectedComponents(case.mask.mask.astype(np.uint8))
    near = cv2.dilate(case.truth.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    for piece in range(1, pieces.max() + 1):
        assert (near & (pieces == piece)).any()


@pytest.mark.parametrize("shade", [255, 240, 225])
def test_a_slide_of_bare_glass_has_no_tissue_and_no_tiles(shade: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(-2, 3, (900, 1200, 1))
    pixels = np.clip(shade + noise.repeat(3, axis=2), 0, 255).astype(np.uint8)
    write_pyramid(tmp_path / "glass.ome.tif", [pixels], (1200, 900), Facts((1.0, 1.0)))
    with open_slide(tmp_path / "glass.ome.tif") as slide:
        mask, quality = find_tissue(slide, TissueOptions())
        grid = TileGrid.of(TILE, slide.size, slide.mpp, name="glass")
        tiles = make_tiles(slide, grid, mask, 0.3, BlankOptions())
    assert not mask.mask.any()
    assert mask.regions() == []
    assert quality["tissue_area_mm2"] == 0
    assert set(tiles["blank_reason"].to_pylist()) == {"no tissue"}


def test_tissue_of_a_slide_without_mpp_is_an_error(phantom: Phantom, tmp_path: Path) -> None:
    write_tiled(phantom, tmp_path / "a.tif", with_mpp=False)
    with open_slide(tmp_path / "a.tif") as slide, pytest.raises(MppError, match=r"a\.tif: no mpp"):
        find_tissue(slide, TissueOptions())


def test_outlines_give_the_mask_back(found: dict[str, Found]) -> None:
    case = found["clean"]
    again = TissueMask.of_regions(case.mask.regions(), (2400, 1800), 8.0, (1.0, 1.0))
    assert again.px_size == case.mask.px_size
    assert iou(again.mask, case.mask.mask) >= 0.999


# wsi.shapes

masks = st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(lambda shape: arrays(bool, shape))


@example(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]], bool), (1.0, 1.0))  # a hole that touches the outside at a corner
@given(masks, st.sampled_from([(1.0, 1.0), (8.0, 8.0), (2.5, 7.0)]))
def test_polygons_keep_the_area_and_come_back_as_the_mask(coarse: Mask, px_size: tuple[float, float]) -> None:
    """But for the inner corners, which are cut obliquely: at most half a px each."""
    mask = np.kron(coarse, np.ones((3, 3), bool))
    polygons = polygons_of(mask, px_size)
    assert all(polygon.is_valid for polygon in polygons)
    around = np.pad(mask, 1).astype(int)
    corners = around[:-1, :-1] + around[1:, :-1] + around[:-1, 1:] + around[1:, 1:]
    diagonal = (corners == 2) & (around[:-1, :-1] == around[1:, 1:])
    union = shapely.union_all(polygons)
    allowed_px = 0.5 * (corners == 3).sum() + diagonal.sum() + 1e-6
    assert abs(union.area / (px_size[0] * px_size[1]) - mask.sum()) <= allowed_px
    assert np.array_equal(rasterise(union, mask.shape, px_size), mask)


@given(masks, st.integers(0, 2**32 - 1))
def test_box_fractions_are_those_of_counting(mask: Mask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes = np.column_stack([rng.integers(-10, 30, (20, 2)), rng.integers(1, 30, (20, 2))]) * 4
    around = np.pad(mask, 64)
    expected = [around[y + 64 : y + 64 + h, x + 64 : x + 64 + w].mean() for x, y, w, h in boxes // 4]
    assert box_fractions(mask, boxes, (4.0, 4.0)) == pytest.approx(np.array(expected), abs=1e-6)


# wsi.tiles and wsi.blank


def test_the_table_is_as_documented(found: dict[str, Found]) -> None:
    tiles, grid = found["clean"].tiles, found["clean"].grid
    kinds = dict(zip(tiles.schema.names, map(str, tiles.schema.types), strict=True))
    assert list(kinds) == ["col", "row", "x", "y", "tissue", "blank", "blank_reason", *STATS]
    assert [kinds[name] for name in ("col", "row", "x", "y")] == ["int32", "int32", "int64", "int64"]
    assert [kinds[name] for name in ("tissue", "blank", "blank_reason")] == ["float", "bool", "string"]
    assert {kinds[name] for name in STATS} == {"float"}
    assert all(f"| {name} |" in wsi.tiles.__doc__ for name in STATS)
    assert tiles.num_rows == grid.rows * grid.cols
    assert np.array_equal(np.column_stack([tiles["x"], tiles["y"]]), grid.boxes()[:, :2])
    assert set(tiles["blank_reason"].to_pylist()) <= set(REASONS)
    assert np.array_equal(np.array(tiles["blank_reason"]) != "", tiles["blank"])
    assert np.array_equal(candidates(tiles, grid).ravel(), ~tiles["blank"].to_numpy(zero_copy_only=False))


def test_only_tiles_with_tissue_are_read(found: dict[str, Found]) -> None:
    tiles = found["pens"].tiles
    unread = np.isnan(tiles["ink"].to_numpy())
    for name in set(STATS) - {"focus"}:
        assert np.array_equal(np.isnan(tiles[name].to_numpy()), unread)
    assert np.isnan(tiles["focus"].to_numpy()).all()  # nobody asked for it
    assert np.array_equal(unread, np.array(tiles["blank_reason"]) == "no tissue")
    assert np.array_equal(unread, tiles["tissue"].to_numpy() < 0.3)


def same(table: pa.Table, other: pa.Table) -> None:
    """Equal tables, where NaN equals NaN."""
    assert table.schema.equals(other.schema, check_metadata=True)
    for name in table.column_names:
        np.testing.assert_array_equal(table[name], other[name], name)


def test_the_table_comes_back_from_its_file_with_its_grid(found: dict[str, Found], tmp_path: Path) -> None:
    tiles, grid = found["clean"].tiles, found["clean"].grid
    write_table(tmp_path / "tiles.parquet", tiles)
    again = read_table(tmp_path / "tiles.parquet")
    same(again, tiles)
    assert grid_of(again, tmp_path / "tiles.parquet") == grid


def test_a_table_that_does_not_fit_its_grid_is_refused(found: dict[str, Found], tmp_path: Path) -> None:
    path = tmp_path / "tiles.parquet"
    with pytest.raises(InputError, match=r"tiles\.parquet: 5 rows, but its grid has"):
        grid_of(found["clean"].tiles.slice(0, 5), path)
    with pytest.raises(InputError, match="no tile grid"):
        grid_of(pa.table({"x": [1]}), path)
    path.write_text("no parquet")
    with pytest.raises(InputError, match="not a readable Parquet"):
        read_table(path)


def kept_of(found: dict[str, Found], names: tuple[str, ...]) -> NDArray[np.bool_]:
    """For tiles that are half or more of one of `names`, and free of ink: which ones are kept."""
    kept = []
    for case in found.values():
        wanted = np.isin(case.phantom.class_map, [CLASSES.index(name) for name in names])
        chosen = (shares(case, wanted) >= 0.5) & (shares(case, case.phantom.ink) < 0.1)
        kept.append(~case.tiles["blank"].to_numpy(zero_copy_only=False)[chosen])
    return np.concatenate(kept)


def test_tiles_with_tissue_are_kept(found: dict[str, Found]) -> None:
    kept = kept_of(found, tuple(name for name in CLASSES if name not in (*PALE, "BACK")))
    assert len(kept) > 500
    assert kept.mean() >= 0.99


def test_pale_tissue_is_kept_as_far_as_it_is_no_glass(found: dict[str, Found]) -> None:
    """Fat and mucus at a piece's border are as pale as glass: measured 96 % and 100 %."""
    kept = kept_of(found, PALE)
    assert len(kept) > 50
    assert kept.mean() >= 0.93


@pytest.mark.parametrize("name", SPECS)
def test_background_is_dropped(found: dict[str, Found], name: str) -> None:
    case = found[name]
    glass = shares(case, case.phantom.tissue) == 0
    assert case.tiles["blank"].to_numpy(zero_copy_only=False)[glass].mean() >= 0.98


def test_tiles_of_ink_on_glass_are_dropped(found: dict[str, Found]) -> None:
    dropped = []
    for case in (found["pens"], found["all"]):
        chosen = (shares(case, case.phantom.ink) > 0.9) & (shares(case, case.phantom.tissue) < 0.1)
        dropped.append(case.tiles["blank"].to_numpy(zero_copy_only=False)[chosen])
    assert np.concatenate(dropped).mean() >= 0.8


def test_stain_is_no_ink(found: dict[str, Found]) -> None:
    with open_slide(found["clean"].path) as slide:
        assert ink_pixels(slide.read(slide.bounds)).mean() < 0.005


@pytest.mark.parametrize("stride_px", [64, 40])
def test_streamed_tiles_are_the_tiles_of_the_grid(phantom_tiled: Path, stride_px: int) -> None:
    """Also across the borders of blocks and over the slide's edge, where they are white."""
    with open_slide(phantom_tiled) as slide:
        grid = TileGrid.of(TileSpec(64, 0.5, stride_px), slide.size, slide.mpp, name="s")
        wanted = np.random.default_rng(3).random((grid.rows, grid.cols)) < 0.3
        wanted[-1, -1] = True
        seen = []
        for block in read_tiles(slide, grid, wanted):
            for index, pixels in zip(block.index, block.pixels, strict=True):
                assert np.array_equal(pixels, slide.read(grid.box(index % grid.cols, index // grid.cols)))
            seen += block.index.tolist()
    assert sorted(seen) == np.flatnonzero(wanted).tolist()


@pytest.mark.parametrize(("stride_px", "size_px", "mpp"), [(64, 64, 0.5), (40, 64, 0.5), (50, 50, 0.5), (64, 64, 0.7)])
def test_some_rows_of_a_tile_are_those_of_the_whole_tile(
    phantom_jpeg: Path, stride_px: int, size_px: int, mpp: float
) -> None:
    """For sizes that eight divides and others, with and without overlap, exact and resampled, over the edge too."""
    with open_slide(phantom_jpeg) as slide:
        grid = TileGrid.of(TileSpec(size_px, mpp, stride_px), slide.size, slide.mpp, name="s")
        rows, cols = (axis.ravel() for axis in np.mgrid[grid.rows - 9 : grid.rows, grid.cols - 5 : grid.cols])
        whole, some = cut_tiles(slide, grid, rows, cols), cut_tiles(slide, grid, rows, cols, row_step=8)
    assert np.array_equal(whole.index, some.index)
    assert np.array_equal(whole.pixels[:, ::8], some.pixels)


def test_reading_ahead_gives_the_same_items_and_raises_the_same_error() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise InputError("here")

    assert list(ahead(iter(range(50)))) == list(range(50))
    with pytest.raises(InputError, match="here"):
        list(ahead(failing()))
    endless = ahead(iter(int, 1))
    assert next(endless) == 0
    del endless  # ends its thread


# wsi.labels


@pytest.mark.parametrize("name", SPECS)
def test_a_tiles_label_is_the_class_that_covers_most_of_it(found: dict[str, Found], name: str) -> None:
    case = found[name]
    labelled = label_tiles(case.tiles, case.grid, case.phantom.regions(), 0.5)
    cover = np.stack([shares(case, case.phantom.class_map == i) for i in range(len(CLASSES))])
    cover[CLASSES.index("BACK")] = 0
    labels, best = np.array(labelled["label"].to_pylist(), object), np.array(CLASSES)[cover.argmax(axis=0)]
    clear, none = cover.max(axis=0) >= 0.53, cover.max(axis=0) < 0.47
    assert (labels[clear] == best[clear]).all()
    assert all(label is None for label in labels[none])
    assert (
        np.abs(labelled["cover"].to_numpy() - cover.max(axis=0)).max() <= 1 / 16
    )  # one step of the raster along a side


def test_labels_are_null_where_nothing_is_drawn_and_types_are_documented(found: dict[str, Found]) -> None:
    case = found["clean"]
    drawn = [Region(box(0, 0, 64, 64), "TUM", "test"), Region(box(0, 0, 30, 64), "STR", "test")]
    labelled = label_tiles(case.tiles, case.grid, drawn, 0.5)
    assert labelled["label"].to_pylist() == ["TUM"] + [None] * (case.tiles.num_rows - 1)
    assert [str(labelled[name].type) for name in ("label", "cover")] == ["string", "float"]
    assert grid_of(labelled, Path("a")) == case.grid
    nothing = label_tiles(case.tiles, case.grid, [], 0.5)
    assert nothing["label"].null_count == nothing.num_rows


# Real slides.


@pytest.mark.real
def test_tissue_of_the_real_slides_is_a_credible_share(real_data: Path) -> None:
    for name, low, high in (("colorectal-serrated-adenoma.tif", 0.05, 0.7), ("oral-carcinoma.tif", 0.05, 0.8)):
        with open_slide(real_data / "slides" / name) as slide:
            mask, quality = find_tissue(slide, TissueOptions())
        assert low < quality["tissue_fraction"] < high, (name, quality)
        assert mask.mask.any()
