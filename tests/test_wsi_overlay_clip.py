"""Heat lies on tissue: on every level, in every style; no px of glass is painted, and no tissue is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from cells import exact_cell, tissue_on
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from test_wsi_overlay import CLASSES, GRIDS, RED, scores_on, tile_table
from test_wsi_overlay_levels import grids_and_levels, levels_of, white
from typer.testing import CliRunner

from benchmarks.cores import CLASSES as CORE_CLASSES
from benchmarks.cores import SPEC, always_right, core_regions
from pipelines import stages
from pipelines.cli import app
from wsi.blank import BlankOptions
from wsi.digest import sha256_of
from wsi.errors import InputError
from wsi.exports.regions import score_regions
from wsi.fingerprint import fingerprint
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.overlay import STYLES, OverlayOptions, Painter, Style, View, write_overlay, write_region
from wsi.preview import Caption, write_preview
from wsi.provenance import with_provenance
from wsi.scores import Threshold, TileScores, summarise
from wsi.slide import open_slide
from wsi.tiles import make_tiles, read_table, tissue_of, with_grid, write_table
from wsi.tissue import TissueOptions, find_tissue
from wsi.tissuemask import TissueMask

GRID = GRIDS["whole"]
SIZE = (GRID.slide_width, GRID.slide_height)
HALF = Threshold(0.5, "given")
WHOLE_SLIDE = Box(0, 0, *SIZE)


def all_hot(grid: TileGrid, mask: NDArray[np.bool_], probability: float = 1.0) -> TileScores:
    """Every tile is of one class, on tissue of this mask."""
    scores = scores_on(grid, {(col, row): probability for col in range(grid.cols) for row in range(grid.rows)})
    return replace(scores, tissue=tissue_on(grid, mask))


def blobs(seed: int, shape: tuple[int, int] = (69, 94)) -> NDArray[np.bool_]:
    """Tissue with ragged borders and holes; a px is about 16 px of the slide."""
    coarse = np.random.default_rng(seed).random((-(-shape[0] // 5), -(-shape[1] // 5))) < 0.5
    return np.kron(coarse, np.ones((5, 5), bool))[: shape[0], : shape[1]]


def tissue_px(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(h, w) level-0 px of GRID's slide whose centres are on tissue."""
    rows = ((np.arange(SIZE[1]) + 0.5) * mask.shape[0] / SIZE[1]).astype(int)
    cols = ((np.arange(SIZE[0]) + 0.5) * mask.shape[1] / SIZE[0]).astype(int)
    return mask[rows][:, cols]


@pytest.mark.parametrize(
    "options",
    [OverlayOptions(alpha=1), OverlayOptions(style="smooth"), OverlayOptions(heat="TUM"), OverlayOptions(alpha=0.01)],
)
def test_on_level_0_exactly_the_tissue_is_painted(options: OverlayOptions) -> None:
    mask = blobs(1)
    found = Painter(all_hot(GRID, mask), options).blend(white(SIZE), WHOLE_SLIDE)
    assert np.array_equal((found != 255).any(axis=2), tissue_px(mask))


def test_whole_tiles_are_painted_where_that_is_asked_for() -> None:
    found = Painter(all_hot(GRID, blobs(1)), OverlayOptions(clip="tile")).blend(white(SIZE), WHOLE_SLIDE)
    assert (found != 255).any(axis=2).all()


def test_a_painted_px_has_the_colour_it_has_without_clipping() -> None:
    values = np.random.default_rng(2).dirichlet((1, 1, 1), GRID.rows * GRID.cols).astype(np.float32)
    mask = blobs(2)
    scores = TileScores(GRID, CLASSES, values, "", tissue=tissue_on(GRID, mask))
    for style in ("blocky", "smooth"):
        clipped, whole = (
            Painter(scores, OverlayOptions(style=style, clip=clip)).blend(white(SIZE), WHOLE_SLIDE)
            for clip in ("tissue", "tile")
        )
        on_tissue = tissue_px(mask)
        assert np.array_equal(clipped[on_tissue], whole[on_tissue])
        assert (clipped[~on_tissue] == 255).all()


def test_an_outline_runs_along_the_tissue_and_hides_nothing_within() -> None:
    mask = np.zeros((69, 94), bool)
    mask[20:50, 30:60] = True
    options = OverlayOptions(style="outline", outline_px=3)
    painted = (Painter(all_hot(GRID, mask), options).blend(white(SIZE), WHOLE_SLIDE) != 255).any(axis=2)
    rows, cols = np.flatnonzero(tissue_px(mask).any(axis=1)), np.flatnonzero(tissue_px(mask).any(axis=0))
    expected = np.zeros_like(painted)
    expected[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = True
    expected[rows[0] + 3 : rows[-1] - 2, cols[0] + 3 : cols[-1] - 2] = False
    assert np.array_equal(painted, expected)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("downsample", [1, 2, 3.7, 16, 64, 256])
def test_a_view_in_parts_is_the_view_in_one_and_a_touched_part_is_one_that_is_painted(
    style: Style, downsample: float
) -> None:
    values = np.random.default_rng(3).dirichlet((1, 1, 1), GRID.rows * GRID.cols).astype(np.float32)
    scores = TileScores(GRID, CLASSES, values, "", tissue=tissue_on(GRID, blobs(3)))
    size = (max(1, int(SIZE[0] / downsample)), max(1, int(SIZE[1] / downsample)))
    brush = Painter(scores, OverlayOptions(style=style)).on(View.of_level(size, downsample))
    whole = brush.paint(white(size), 0, 0)
    step = max(2, size[1] // 5)
    for top in range(0, size[1] - step + 1, step):
        for left in range(0, size[0] - step + 1, step):
            part = whole[top : top + step, left : left + step]
            assert np.array_equal(brush.paint(white((step, step)), left, top), part)
            assert brush.touches(left, top, step, step) == bool((part != 255).any())


@given(grids_and_levels(), st.integers(0, 10**9))
def test_on_every_level_a_painted_px_holds_tissue_and_a_hot_tiles_tissue_shows(
    case: tuple[TileGrid, int], seed: int
) -> None:
    """However coarse the level: one hot tile of which a corner is tissue, as large as a px of the mask or more."""
    grid, power = case
    mask = np.random.default_rng(seed).random((17, 23)) < 0.3
    col, row = seed % grid.cols, seed // grid.cols % grid.rows
    left, top, right, bottom = exact_cell(grid, col, row)
    tissue = tissue_on(grid, mask)
    scores = replace(scores_on(grid, {(col, row): 1.0}), tissue=tissue)
    size = (grid.slide_width >> power, grid.slide_height >> power)
    painted = (
        Painter(scores, OverlayOptions(alpha=1)).on(View.of_level(size, 2**power)).paint(white(size), 0, 0) != 255
    ).any(axis=2)
    x, y = (np.arange(23) + 0.5) * tissue.px_size[0], (np.arange(17) + 0.5) * tissue.px_size[1]
    within = mask & ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
    if within.any():  # a middle of a px of the mask is in the tile
        assert painted.any()
    px = 2**power
    for py, px_col in np.argwhere(painted)[:200]:
        first, last = (py * px / tissue.px_size[1], (py + 1) * px / tissue.px_size[1])
        begin, end = (px_col * px / tissue.px_size[0], (px_col + 1) * px / tissue.px_size[0])
        # The last px of a level stands for what rounding its size left out.
        last = 17 if py == size[1] - 1 else last
        end = 23 if px_col == size[0] - 1 else end
        seen = mask[int(first + 1e-9) : int(np.ceil(last - 1e-9)), int(begin + 1e-9) : int(np.ceil(end - 1e-9))]
        assert seen.any()


def test_a_jpeg_tile_of_glass_is_copied_though_its_tile_is_painted_beside(phantom_jpeg: Path, tmp_path: Path) -> None:
    """The tile that is scored is larger than native ones: those of them on glass alone keep their bytes."""
    grid = TileGrid(TileSpec(512, 0.5, 512), *SIZE, (0.5, 0.5))
    mask = np.zeros((69, 94), bool)
    mask[:, :10] = True  # 160 px: the first native column alone
    with open_slide(phantom_jpeg) as slide:
        write_overlay(tmp_path / "overlay.ome.tif", slide, all_hot(grid, mask), OverlayOptions())
        with open_slide(tmp_path / "overlay.ome.tif") as overlay:
            before, after = slide.native(0), overlay.native(0)
            assert before is not None
            assert after is not None
            for tile in range(before.rows * before.columns):
                assert (before.raw(tile) == after.raw(tile)) == (tile % before.columns > 0)


@pytest.mark.parametrize("style", STYLES)
def test_region_and_preview_and_pyramid_agree(style: Style, phantom_tiled: Path, tmp_path: Path) -> None:
    mask, options, region = blobs(4), OverlayOptions(style=style, quality=0), Box(250, 333, 401, 299)
    scores = all_hot(GRID, mask, 0.8)
    with open_slide(phantom_tiled) as slide:
        write_overlay(tmp_path / "overlay.ome.tif", slide, scores, options)
        write_region(tmp_path / "region.png", slide, scores, options, region)
        write_preview(tmp_path / "preview.png", slide, scores, options, Caption("A7", "m", "2024-05-01"), 1500)
        own = slide.read(slide.bounds)
    whole = levels_of(tmp_path / "overlay.ome.tif")[0]
    region_px = np.asarray(Image.open(tmp_path / "region.png"))
    assert np.array_equal(region_px, whole[region.y : region.bottom, region.x : region.right])
    preview = np.asarray(Image.open(tmp_path / "preview.png").convert("RGB"))[: SIZE[1], : SIZE[0]]
    assert np.array_equal(preview, whole)
    assert np.array_equal(whole[~tissue_px(mask)], own[~tissue_px(mask)])


# Tables, and where they come from


def test_the_tissue_travels_with_the_tiles_and_the_predictions(phantom_tiled: Path, tmp_path: Path) -> None:
    with open_slide(phantom_tiled) as slide:
        mask = find_tissue(slide, TissueOptions())[0]
        grid = TileGrid.of(TileSpec(128, 0.5, 128), slide.size, slide.mpp, name="s")
        table = make_tiles(slide, grid, mask, 0.1, BlankOptions())
    write_table(tmp_path / "tiles.parquet", table)
    scored = np.where(table["blank"].to_numpy(zero_copy_only=False)[:, None], np.nan, [[0.1, 0.2, 0.7]])
    scores = TileScores(grid, CLASSES, scored.astype(np.float32), "m")
    tiles = stages.TilesFile(tmp_path / "tiles.parquet", sha256_of(tmp_path / "tiles.parquet"))
    summary = stages.write_scores(scores, tiles, tmp_path, {"weights": "w"})
    path = tmp_path / "predictions.parquet"
    again = TileScores.of_table(read_table(path), path)
    assert again.tissue is not None
    assert np.array_equal(again.tissue.mask, mask.mask)
    assert again.tissue.px_size == pytest.approx(mask.px_size)
    assert summary["area_of"] == "tissue"
    assert 0 < summary["scored_area_mm2"] <= summary["tissue_area_mm2"] == round(mask.area_mm2((0.5, 0.5)), 4)


def test_a_mask_comes_back_from_its_text_and_damage_is_one_line() -> None:
    mask = TissueMask(blobs(5), (7.25, 8.5))
    again = TissueMask.unpacked(mask.packed(), "t.parquet")
    assert np.array_equal(again.mask, mask.mask)
    assert again.px_size == mask.px_size
    for text in ("", "{}", mask.packed().replace("69", "690"), mask.packed()[:-30] + '"}', '{"shape": [1, 1]}'):
        with pytest.raises(InputError, match=r"t\.parquet: the tissue in its metadata is damaged"):
            TissueMask.unpacked(text, "t.parquet")


def test_a_mask_of_another_slide_is_refused(tmp_path: Path) -> None:
    table = tile_table(GRID)
    text = TissueMask(np.ones((1, 1), bool), (900.0, 900.0)).packed()
    table = table.replace_schema_metadata({**table.schema.metadata, b"tesela.tissue": text})
    with pytest.raises(InputError, match="its tissue is of a slide of 900 × 900 px, its tiles of one of 1500 × 1100"):
        tissue_of(table, tmp_path / "a.parquet")


@pytest.mark.parametrize("words", [["--preview", "p.png"], ["--region", "0,0,64,64"]])
def test_a_table_of_before_is_one_line_with_both_remedies_and_paints_whole_tiles_where_asked(
    words: list[str], phantom_tiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scores = replace(scores_on(GRID, {(0, 0): 0.9}), tissue=None)
    table = with_grid(tile_table(GRID).replace_schema_metadata({}), GRID)
    table = with_provenance(table, fingerprint(phantom_tiled), {})
    write_table(tmp_path / "predictions.parquet", scores.to_table(table, {}))
    out = "o.png" if "--region" in words else "o.ome.tif"
    common = ["overlay", str(phantom_tiled), "--predictions", "predictions.parquet", "--out", out, *words]
    done = CliRunner().invoke(app, common)
    assert isinstance(done.exception, InputError)
    message = r"predictions\.parquet: .*cut the tiles again with `tesela tiles`.*--clip tile"
    with pytest.raises(InputError, match=message):
        raise done.exception
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.parquet"]
    done = CliRunner().invoke(app, [*common, "--clip", "tile"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / out).exists()


def test_a_clipping_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"overlay\.clip: 'glass'; give tissue, tile"):
        OverlayOptions(clip="glass")  # type: ignore[arg-type]


# Areas


@given(grids_and_levels(), st.integers(0, 10**6))
def test_the_areas_of_all_cells_add_up_to_the_tissue(case: tuple[TileGrid, int], seed: int) -> None:
    grid, _ = case
    tissue = tissue_on(grid, np.random.default_rng(seed).random((13, 19)) < 0.4)
    every = replace(scores_on(grid, {}), tissue=tissue).areas_mm2()
    assert (every >= 0).all()
    assert (every <= grid.cell_areas_mm2() * (1 + 1e-9) + 1e-12).all()
    assert every.sum() == pytest.approx(tissue.area_mm2(grid.slide_mpp))


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_painted_is_what_is_counted(name: str) -> None:
    """Px of level 0 against areas: the same to the px that borders run through."""
    grid = GRIDS[name]
    scores = replace(random_half(grid), tissue=tissue_on(grid, blobs(6, (41, 53))))
    size = (grid.slide_width, grid.slide_height)
    painted = (Painter(scores, OverlayOptions(alpha=1)).blend(white(size), Box(0, 0, *size)) == RED).all(axis=2)
    painted_mm2 = painted.sum() * grid.slide_mpp[0] * grid.slide_mpp[1] / 1e6
    counted = summarise(scores)["classes"]["TUM"]["area_mm2"]
    assert painted_mm2 == pytest.approx(counted, rel=0.01, abs=5e-5)


def random_half(grid: TileGrid) -> TileScores:
    """Every other tile, by chance, is of one class, and the rest not scored."""
    chosen = np.argwhere(np.random.default_rng(7).random((grid.rows, grid.cols)) < 0.5)
    return scores_on(grid, {(int(col), int(row)): 1.0 for row, col in chosen})


def test_exact_areas_where_lines_run_through_px_of_the_mask() -> None:
    """Two thirds of a px of the mask are in one cell, a third in the next."""
    tissue = TissueMask(np.array([[False, True, False]]), (30.0, 10.0))
    x, y = np.array([0.0, 50.0, 90.0]), np.array([0.0, 5.0, 10.0])
    assert tissue.areas_px(x, y) == pytest.approx(np.array([[100, 50], [100, 50]]))
    some, every = tissue.some_and_every(np.array([0.0, 30.0, 50.0, 60.0, 90.0]), np.array([0.0, 10.0]))
    assert some.tolist() == [[False, True, True, False]]
    assert every.tolist() == [[False, True, True, False]]


def test_the_summary_keys_of_a_slide_score_are_of_tissue() -> None:
    """A tile that is mostly glass weighs as little as it holds tissue."""
    mask = np.ones((1, 1500 // 4), bool)
    mask[:, 8:32] = False  # of tile 0, a quarter is left
    scores = replace(scores_on(GRID, {(0, 0): 0.9, (1, 0): 0.1}), tissue=tissue_on(GRID, mask))
    assert summarise(scores)["classes"]["TUM"]["share"] == pytest.approx(0.2)


def test_the_predictions_of_a_slide_stay_small(tmp_path: Path) -> None:
    """A mask of 100 mm² whose borders are 200 mm long or so takes some kB."""
    mask = TissueMask(np.kron(blobs(8, (250, 250)), np.ones((5, 5), bool)).astype(bool), (16.0, 16.0))
    table = tile_table(GRID)
    write_table(tmp_path / "plain.parquet", table)
    table = table.replace_schema_metadata({**table.schema.metadata, b"tesela.tissue": mask.packed()})
    write_table(tmp_path / "tissue.parquet", table)
    assert pq.read_schema(tmp_path / "tissue.parquet").metadata[b"tesela.tissue"]
    more = (tmp_path / "tissue.parquet").stat().st_size - (tmp_path / "plain.parquet").stat().st_size
    assert more < 30_000


def core_scores(found: TissueMask) -> TileScores:
    """A needle core 1 mm wide in tiles of 262 µm, scored from a tenth of tissue on, by a model that is always right."""
    grid = TileGrid(SPEC, 8000, 2400, (1.0, 1.0))
    return TileScores(grid, CORE_CLASSES, always_right(grid, found.fractions(grid) >= 0.1), "right", tissue=found)


def test_on_a_needle_core_class_areas_are_the_truth_within_2_percent_where_the_model_is_right() -> None:
    regions = core_regions()
    scores = core_scores(TissueMask.of_regions(list(regions), (8000, 2400), 8.0, (1.0, 1.0)))
    summary, whole = summarise(scores), summarise(replace(scores, tissue=None))
    drawn = {
        name: sum(
            one.polygon.area for one in score_regions(scores, dict.fromkeys(CORE_CLASSES, HALF)) if one.name == name
        )
        for name in CORE_CLASSES
    }
    for region in regions:
        truth_mm2 = region.polygon.area / 1e6
        assert summary["classes"][region.name]["area_mm2"] == pytest.approx(truth_mm2, rel=0.02)
        assert drawn[region.name] / 1e6 == pytest.approx(truth_mm2, rel=0.02)
        assert whole["classes"][region.name]["area_mm2"] > 1.1 * truth_mm2  # what whole tiles made of it


@pytest.mark.parametrize("downsample", [1, 4, 16, 64])
def test_on_a_needle_core_heat_ends_with_the_core_on_every_level(downsample: int) -> None:
    regions = core_regions()
    scores = core_scores(TissueMask.of_regions(list(regions), (8000, 2400), 8.0, (1.0, 1.0)))
    size = (8000 // downsample, 2400 // downsample)
    brush = Painter(scores, OverlayOptions(alpha=1)).on(View.of_level(size, downsample))
    painted = (brush.paint(white(size), 0, 0) != 255).any(axis=2)
    band = shapely.union_all([region.polygon for region in regions])
    y, x = (np.argwhere(painted)[:: max(1, painted.sum() // 5000)] + 0.5).T * downsample
    # A px of the mask is 8 µm wide, and a px of the level shows what is within its own half.
    off_um = shapely.distance(band, shapely.points(x, y))
    assert off_um.max() <= 8 * 2**0.5 / 2 + downsample * 2**0.5
    assert painted.sum() * downsample**2 == pytest.approx(band.area, rel=0.02 + 0.04 * downsample / 16)
