"""Scoring: every candidate once, in any batching; the grid must be the model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import Checkpoint, save_checkpoint
from models.network import build, normalisation
from models.predict import PredictOptions, Scorer
from wsi.errors import InputError, MismatchError, SlideError
from wsi.geometry import TileGrid, TileSpec
from wsi.slide import Slide, open_slide
from wsi.stream import ahead, read_tiles

SPEC = TileSpec(64, 1.0, 64)
FP32 = PredictOptions(batch_size=7, precision="32-true")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained, seeded model of three classes: probabilities that differ between tiles are all that is needed."""
    torch.manual_seed(0)
    network = build("resnet10t", 3)
    mean, std = normalisation(network)
    folder = tmp_path_factory.mktemp("models") / "three"
    save_checkpoint(folder, Checkpoint("resnet10t", ("A", "B", "C"), SPEC, mean, std), network.state_dict())
    return folder


@pytest.fixture
def slide(phantom_tiled: Path) -> Slide:
    return open_slide(phantom_tiled)


def grid_on(slide: Slide, spec: TileSpec = SPEC) -> TileGrid:
    return TileGrid.of(spec, slide.size, slide.mpp, name=slide.name)


def checkerboard(grid: TileGrid) -> np.ndarray:
    return np.indices((grid.rows, grid.cols)).sum(axis=0) % 2 == 0


def test_wanted_tiles_are_scored_and_no_others(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    wanted = checkerboard(grid)
    scores = Scorer(model, FP32).score(slide, grid, wanted)
    assert (scores.scored == wanted.ravel()).all()
    np.testing.assert_allclose(scores.probabilities[scores.scored].sum(axis=1), 1, atol=1e-6)
    assert (scores.classes, scores.model) == (("A", "B", "C"), "three")


def test_a_tile_gets_what_it_would_get_alone(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    scorer = Scorer(model, FP32)
    together = scorer.score(slide, grid, np.ones((grid.rows, grid.cols), bool)).probabilities
    for row, col in ((0, 0), (3, 5), (grid.rows - 1, grid.cols - 1)):
        tile = slide.read_to(grid.box(col, row), (64, 64))[None]
        np.testing.assert_allclose(scorer.probabilities(tile)[0], together[row * grid.cols + col], atol=1e-5)


def test_batch_size_changes_nothing(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    wanted = checkerboard(grid)
    small = Scorer(model, FP32).score(slide, grid, wanted).probabilities
    large = Scorer(model, PredictOptions(50, "32-true")).score(slide, grid, wanted).probabilities
    np.testing.assert_allclose(small, large, atol=1e-5)


def test_two_runs_are_equal_to_the_bit(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    first, second = (Scorer(model, FP32).score(slide, grid, checkerboard(grid)).probabilities for _ in range(2))
    assert np.array_equal(first, second, equal_nan=True)


def test_bfloat16_is_close(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    exact = Scorer(model, FP32).score(slide, grid, checkerboard(grid)).probabilities
    rough = Scorer(model, PredictOptions(16, "bf16-mixed")).score(slide, grid, checkerboard(grid)).probabilities
    assert np.nanmax(np.abs(exact - rough)) < 0.05


@pytest.mark.parametrize("spec", [TileSpec(128, 1.0, 128), TileSpec(64, 0.5, 64)])
def test_a_grid_that_is_not_the_models_is_refused(model: Path, slide: Slide, spec: TileSpec) -> None:
    with pytest.raises(MismatchError, match="trained on 64 px at 1 mpp"):
        Scorer(model, FP32).score(slide, grid_on(slide, spec), np.ones((1, 1), bool))


def test_nothing_wanted_is_no_error(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    assert not Scorer(model, FP32).score(slide, grid, np.zeros((grid.rows, grid.cols), bool)).scored.any()


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(tmp_path)):
        Scorer(tmp_path, FP32)


def test_an_error_while_reading_ahead_is_raised_where_the_tiles_are_used() -> None:
    def broken() -> object:
        yield 1
        raise SlideError("slide.tif: tile 7 cannot be decoded")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(SlideError, match="tile 7"):
        next(items)


def test_blocks_read_every_wanted_tile_once(slide: Slide) -> None:
    grid = grid_on(slide, TileSpec(64, 0.7, 48))
    wanted = checkerboard(grid)
    index = np.concatenate([block.index for block in read_tiles(slide, grid, wanted)])
    assert sorted(index) == list(np.flatnonzero(wanted))
