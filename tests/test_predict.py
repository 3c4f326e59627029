"""Scoring: every candidate once, in any batching; the grid must be the model's."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.description import sealed
from models.evaluation.predicting import predict_tiles
from models.network import build, normalisation
from models.predict import Failed, PredictOptions, Scored, Scorer, SlideJob, score_slide, score_slides
from models.registry import Registry
from pipelines.commands.app import app
from wsi.errors import InputError, MismatchError, SlideError, WsiError
from wsi.geometry import TileGrid, TileSpec
from wsi.heatmap import Heatmap
from wsi.scores import made_of
from wsi.slide import Slide, open_slide
from wsi.stream import ahead, read_tiles
from wsi.writers.ome import Facts
from wsi.writers.pyramid import write_pyramid

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
    scores = score_slide(Scorer(model, FP32), slide, grid, wanted)
    assert (scores.scored == wanted.ravel()).all()
    np.testing.assert_allclose(scores.probabilities[scores.scored].sum(axis=1), 1, atol=1e-6)
    assert (scores.classes, scores.model) == (("A", "B", "C"), "three")


def test_a_tile_gets_what_it_would_get_alone(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    scorer = Scorer(model, FP32)
    together = score_slide(scorer, slide, grid, np.ones((grid.rows, grid.cols), bool)).probabilities
    for row, col in ((0, 0), (3, 5), (grid.rows - 1, grid.cols - 1)):
        tile = slide.read_to(grid.box(col, row), (64, 64))[None]
        np.testing.assert_allclose(scorer.probabilities(tile)[0], together[row * grid.cols + col], atol=1e-5)


def test_batch_size_changes_nothing(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    wanted = checkerboard(grid)
    small = score_slide(Scorer(model, FP32), slide, grid, wanted).probabilities
    large = score_slide(Scorer(model, PredictOptions(50, "32-true")), slide, grid, wanted).probabilities
    np.testing.assert_allclose(small, large, atol=1e-5)


def test_two_runs_are_equal_to_the_bit(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    first, second = (score_slide(Scorer(model, FP32), slide, grid, checkerboard(grid)).probabilities for _ in range(2))
    assert np.array_equal(first, second, equal_nan=True)


def test_bfloat16_is_close(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    exact = score_slide(Scorer(model, FP32), slide, grid, checkerboard(grid)).probabilities
    rough = score_slide(Scorer(model, PredictOptions(16, "bf16-mixed")), slide, grid, checkerboard(grid)).probabilities
    assert np.nanmax(np.abs(exact - rough)) < 0.05


@pytest.mark.parametrize("spec", [TileSpec(128, 1.0, 128), TileSpec(64, 0.5, 64)])
def test_a_grid_that_is_not_the_models_is_refused(model: Path, slide: Slide, spec: TileSpec) -> None:
    with pytest.raises(MismatchError, match="trained on 64 px at 1 mpp"):
        score_slide(Scorer(model, FP32), slide, grid_on(slide, spec), np.ones((1, 1), bool))


def test_nothing_wanted_is_no_error(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    assert not score_slide(Scorer(model, FP32), slide, grid, np.zeros((grid.rows, grid.cols), bool)).scored.any()


def jobs_of(slide: Slide, *wanted: np.ndarray) -> list[SlideJob]:
    """The same slide again and again, each time with other tiles wanted."""
    return [SlideJob(f"s{i}", lambda: nullcontext(slide), grid_on(slide), each) for i, each in enumerate(wanted)]


def test_slides_together_get_to_the_bit_what_each_gets_alone(model: Path, slide: Slide) -> None:
    grid = grid_on(slide)
    few, none = np.zeros((grid.rows, grid.cols), bool), np.zeros((grid.rows, grid.cols), bool)
    few[1, 1:4] = True
    wanted = (checkerboard(grid), few, none, ~checkerboard(grid), few)
    scorer = Scorer(model, FP32)
    told: list[int] = []
    together = list(score_slides(scorer, jobs_of(slide, *wanted), told.append))
    assert [found.name for found in together] == ["s0", "s1", "s2", "s3", "s4"]
    for found, own in zip(together, wanted, strict=True):
        assert isinstance(found, Scored)
        alone = score_slide(scorer, slide, grid, own)
        assert np.array_equal(found.scores.probabilities, alone.probabilities, equal_nan=True)
    assert sum(told) == sum(int(each.sum()) for each in wanted)
    # But for the last one, every batch was full, whatever slides it held tiles of.
    assert set(told[:-1]) == {FP32.batch_size}


def test_a_slide_that_fails_stops_no_other(model: Path, slide: Slide) -> None:
    first, second, third = jobs_of(slide, *[checkerboard(grid_on(slide))] * 3)

    def broken() -> nullcontext[Slide]:
        raise SlideError("s1: cut short")

    found = list(score_slides(Scorer(model, FP32), [first, dataclasses.replace(second, open=broken), third]))
    assert [type(each) for each in found] == [Scored, Failed, Scored]
    assert str(found[1].error) == "s1: cut short"  # type: ignore[union-attr]
    assert np.array_equal(found[0].scores.probabilities, found[2].scores.probabilities, equal_nan=True)  # type: ignore[union-attr]


def test_a_disk_that_fails_under_a_slide_stops_no_other(model: Path, slide: Slide) -> None:
    first, second = jobs_of(slide, *[checkerboard(grid_on(slide))] * 2)

    def gone() -> nullcontext[Slide]:
        raise OSError(5, "Input/output error")

    failed, scored = score_slides(Scorer(model, FP32), [dataclasses.replace(first, open=gone), second])
    assert isinstance(failed, Failed)
    assert "s0: cannot be read ([Errno 5] Input/output error)" in str(failed.error)
    assert isinstance(scored, Scored)


def test_scores_of_a_registered_model_say_its_name_and_version(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESELA_MODELS", str(tmp_path))
    assert Scorer(Registry(tmp_path).add(model, "colon").folder, FP32).name == "colon@1"


def test_weights_that_give_no_numbers_are_refused_and_not_taken_for_tiles_without_a_score(
    model: Path, slide: Slide, tmp_path: Path
) -> None:
    checkpoint, network = load_checkpoint(model)
    weights = network.state_dict()
    weights["fc.weight"][0, 0] = float("nan")
    save_checkpoint(tmp_path / "broken", checkpoint, weights)
    scorer = Scorer(tmp_path / "broken", FP32)
    with pytest.raises(InputError, match=r"broken: its probabilities are no numbers, so its weights are damaged"):
        score_slide(scorer, slide, grid_on(slide), checkerboard(grid_on(slide)))


@pytest.mark.parametrize(
    "error",
    [MemoryError("Unable to allocate 286 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")],
)
def test_out_of_memory_names_a_batch_size(model: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Scorer, "_forward", fail)
    with pytest.raises(WsiError, match=r"batches of 7 tiles; set predict\.batch_size to 3"):
        Scorer(model, FP32).probabilities(np.zeros((2, 64, 64, 3), np.uint8))


def test_a_tile_in_all_its_orientations_is_scored_the_same_however_it_lies(model: Path) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    every = Scorer(model, PredictOptions(4, "32-true", "d4"))
    plain = Scorer(model, PredictOptions(4, "32-true"))
    turned, mirrored = np.rot90(tiles, axes=(1, 2)), tiles[:, ::-1]
    for other in (turned, mirrored):
        np.testing.assert_allclose(every.probabilities(other), every.probabilities(tiles), atol=1e-6)
    assert np.abs(plain.probabilities(turned) - plain.probabilities(tiles)).max() > 1e-4
    assert every.made_of["tta"] == "d4"


def test_a_model_is_scored_in_the_orientations_it_was_fitted_in(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    shutil.copytree(model, folder)
    raw = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(sealed(raw | {"tta": "d4", "temperature": 1.0})))
    tiles = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    own, asked = Scorer(folder, FP32), Scorer(folder, dataclasses.replace(FP32, tta="none"))
    assert (own.made_of["tta"], asked.made_of["tta"], Scorer(model, FP32).made_of["tta"]) == ("d4", "none", "none")
    # What evaluation says of the model is what predict says: the mean of the logits, then the softmax.
    checkpoint, network = load_checkpoint(folder)
    logits = torch.from_numpy(predict_tiles(network, checkpoint, tiles))
    np.testing.assert_allclose(own.probabilities(tiles), logits.softmax(dim=1).numpy(), atol=1e-6)
    as_they_lie = dataclasses.replace(checkpoint, tta="none")
    every = [np.rot90(lying, k, axes=(1, 2)) for lying in (tiles, tiles[:, ::-1]) for k in range(4)]
    expected = np.mean([predict_tiles(network, as_they_lie, each) for each in every], axis=0)
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("given", [{"tta": "d8"}, {"precision": "16-mixed"}])
def test_unknown_options_are_named(given: dict[str, str]) -> None:
    with pytest.raises(InputError, match=f"predict.{next(iter(given))} is '{next(iter(given.values()))}'; give one of"):
        PredictOptions(**given)  # type: ignore[arg-type]


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


def test_a_slide_that_is_no_bright_field_picture_is_scored_only_where_that_is_wanted(
    model: Path, phantom_pixels: NDArray[np.uint8], tmp_path: Path
) -> None:
    glow = np.zeros_like(phantom_pixels)
    glow[..., 2] = np.clip(243 - phantom_pixels.min(axis=2).astype(int), 0, 255)
    slide = tmp_path / "fluorescence.ome.tif"
    write_pyramid(slide, [glow], (glow.shape[1], glow.shape[0]), Facts((0.5, 0.5)))
    given = ["predict", str(slide), "--model", str(model), "--out", str(tmp_path / "out"), "--precision", "32-true"]
    found = CliRunner().invoke(app, given)
    assert found.exit_code != 0
    assert "not bright-field: dark background" in f"{found.exception} {found.stderr}"
    assert not (tmp_path / "out" / "summary.json").exists()
    CliRunner().invoke(app, [*given, "--any-stain"], catch_exceptions=False)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["tiles_scored"] > 0


def test_the_command_scores_many_slides_and_says_which_failed(
    model: Path, phantom_tiled: Path, phantom_jpeg: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(phantom_tiled.read_bytes()[:5000])
    slides = [str(phantom_tiled), str(broken), str(phantom_jpeg)]
    given = ["predict", *slides, "--model", str(model), "--out", str(tmp_path / "out"), "--precision", "32-true"]
    found = CliRunner().invoke(app, given)
    assert isinstance(found.exception, InputError)
    assert str(found.exception) == "1 of 3 slides failed"
    assert "failed: " in found.stderr
    assert "broken.tif" in found.stderr
    for done in (phantom_tiled, phantom_jpeg):
        summary = json.loads((tmp_path / "out" / done.stem / "summary.json").read_text())
        assert summary["tiles_scored"] > 0
    assert not (tmp_path / "out" / "broken" / "predictions.parquet").exists()


def test_a_slide_whose_results_find_no_room_stops_no_other(
    model: Path, phantom_tiled: Path, phantom_jpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Heatmap.write

    def full(heatmap: Heatmap, path: Path, belongs: Mapping[str, str] | None = None) -> None:
        if path.parent.name == phantom_tiled.stem:
            raise OSError(28, "No space left on device")
        write(heatmap, path, belongs)

    monkeypatch.setattr(Heatmap, "write", full)
    given = ["predict", str(phantom_tiled), str(phantom_jpeg), "--model", str(model), "--out", str(tmp_path)]
    found = CliRunner().invoke(app, [*given, "--precision", "32-true"])
    assert str(found.exception) == "1 of 2 slides failed"
    said = f"{tmp_path / phantom_tiled.stem}: cannot be written ([Errno 28] No space left on device); mend that"
    assert said in found.stderr
    assert f"{tmp_path / phantom_jpeg.stem}: " in found.stderr
    assert (tmp_path / phantom_jpeg.stem / "summary.json").is_file()


def described(model: Path, to: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a model whose model.json was changed by hand."""
    raw = json.loads((shutil.copytree(model, to) / "model.json").read_text())
    change(raw)
    (to / "model.json").write_text(json.dumps(raw))
    return to


def test_every_result_says_by_which_model_it_was_made(model: Path, phantom_tiled: Path, tmp_path: Path) -> None:
    given = ["predict", str(phantom_tiled), "--precision", "32-true", "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(app, [*given, "--model", str(model)])
    assert "note:" not in found.stderr
    digest = json.loads((model / "model.json").read_text())["digest"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["model_digest"] == digest
    assert made_of(tmp_path / "out" / "predictions.parquet")["model_digest"] == digest
    swapped = described(model, tmp_path / "swapped", lambda raw: raw["classes"].reverse())
    found = CliRunner().invoke(app, [*given, "--model", str(swapped)])
    assert isinstance(found.exception, InputError)
    assert "altered after training (classes)" in str(found.exception)


def test_a_model_of_before_there_were_digests_scores_to_the_bit_as_it_did_and_is_noted_once(
    model: Path, phantom_tiled: Path, phantom_jpeg: Path, tmp_path: Path
) -> None:
    old = described(model, tmp_path / "old", lambda raw: (raw.pop("digest"), raw.pop("digest_parts")))
    tiles = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    assert np.array_equal(Scorer(old, FP32).probabilities(tiles), Scorer(model, FP32).probabilities(tiles))
    assert "model_digest" not in Scorer(old, FP32).made_of
    given = ["predict", str(phantom_tiled), str(phantom_jpeg), "--model", str(old), "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(app, [*given, "--precision", "32-true"])
    assert found.stderr.count("note: model old: it has no digest") == 1


def test_tiles_of_another_slide_of_the_same_size_are_refused(
    model: Path, finished_slides: Path, tmp_path: Path
) -> None:
    tiles = tmp_path / "tiles.parquet"
    words = ["--size", str(SPEC.size_px), "--mpp", str(SPEC.mpp), "--allow-upsample", "--out", str(tiles)]
    cut = CliRunner().invoke(app, ["tiles", str(finished_slides / "a.tif"), *words], catch_exceptions=False)
    assert cut.exit_code == 0
    predict = ["predict", str(finished_slides / "other.tif"), "--tiles", str(tiles)]
    with pytest.raises(MismatchError, match=r"tiles\.parquet: is of another slide"):
        CliRunner().invoke(
            app, [*predict, "--model", str(model), "--out", str(tmp_path / "out")], catch_exceptions=False
        )
    assert not (tmp_path / "out" / "predictions.parquet").exists()


def test_scores_are_not_added_to_scores(model: Path, phantom_tiled: Path, tmp_path: Path) -> None:
    given = ["predict", str(phantom_tiled), "--model", str(model), "--precision", "32-true"]
    assert CliRunner().invoke(app, [*given, "--out", str(tmp_path / "a")]).exit_code == 0
    tiles = ["--tiles", str(tmp_path / "a" / "predictions.parquet")]
    found = CliRunner().invoke(app, [*given, *tiles, "--out", str(tmp_path / "b")])
    assert "has scores already; give the tiles.parquet" in str(found.exception)
    assert not (tmp_path / "b").exists()


def test_slides_of_one_name_are_refused_before_anything_is_read(model: Path, tmp_path: Path) -> None:
    given = ["predict", "a/x.svs", "b/x.svs", "--model", str(model), "--out", str(tmp_path)]
    found = CliRunner().invoke(app, given)
    assert "x: slides of one name; predict them one by one" in str(found.exception)
