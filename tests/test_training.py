"""Training a tile classifier: what it leaves behind, what it depends on, going on after a kill. Truth is generated."""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from coloured_tiles import COLOURS, TILE, write_tile
from safetensors.torch import save_file
from typer.testing import CliRunner

import models.training.train as training
from models.augment import EvalCrop
from models.checkpoint import Checkpoint, load_checkpoint
from models.data import read_folder
from models.evaluation.predicting import predict_tiles
from models.loading import labels_among
from models.network import build, to_input
from models.progress import ConsoleReporter, EpochReport, SilentReporter
from models.splits import Split, k_folds
from models.training.device import choose_precision
from models.training.fit import Fit, Schedule
from models.training.folds import train_folds
from models.training.freezing import freeze_all_but, train_mode, trainable
from models.training.judge import Seen
from models.training.loaders import loaders_for
from models.training.mixing import mixed
from models.training.resume import FILE
from models.training.settings import TrainSettings
from models.training.train import train
from pipelines.commands.app import app
from wsi.errors import InputError, WsiError

pytestmark = pytest.mark.usefixtures("one_thread")
FAST = TrainSettings(
    architecture="resnet10t",
    tile=TILE,
    epochs=3,
    batch_size=16,
    learning_rate=3e-3,
    precision="32-true",
    val_fraction=0.25,
    workers=0,
)


@pytest.fixture(scope="module")
def trained(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Checkpoint]:
    out = tmp_path_factory.mktemp("run") / "model"
    images = read_folder(tiles, 0.5)
    return out, train(FAST, images, images, out, reporter=SilentReporter()).checkpoint


def test_training_learns_and_leaves_everything_behind(trained: tuple[Path, Checkpoint]) -> None:
    out, checkpoint = trained
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.9
    assert metrics["val"]["accuracy"] > 0.9
    assert any("tiles of one slide are on both sides" in warning for warning in metrics["val"]["warnings"])
    assert len(metrics["history"]) == 3
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "metrics.json",
        "model.json",
        "model.safetensors",
        "plots/batch.png",
        "plots/confusion.png",
        "plots/curve.png",
        "plots/precision_recall.png",
        "plots/reliability.png",
        "plots/roc.png",
        "plots/thresholds.png",
        "splits.csv",
    ]
    # Three classes of one colour each: no model can beat the mean colour, and a person is told.
    assert any("mean RGB (logistic regression) does as well" in warning for warning in metrics["test"]["warnings"])
    loaded, network = load_checkpoint(out)
    assert loaded.classes == checkpoint.classes == ("blue", "green", "red")
    assert loaded.provenance["data"]["split"] == "no case ids: split by tile"
    assert loaded.provenance["data"]["train_tiles"] == {"blue": 18, "green": 18, "red": 18}
    assert loaded.provenance["data"]["left_out"] == {name: {".txt": 1} for name in COLOURS}
    assert metrics["model_digest"] == loaded.digest == checkpoint.digest
    assert loaded.digest is not None
    assert loaded.provenance["settings"]["seed"] == 0
    assert loaded.provenance["packages"]["tesela"] == importlib.metadata.version("tesela")
    assert loaded.provenance["test"]["balanced_accuracy"] == metrics["test"]["balanced_accuracy"]
    assert loaded.temperature == metrics["val"]["calibration"]["temperature"]
    assert set(loaded.thresholds or {}) == set(COLOURS)
    tiles = torch.stack([torch.full((32, 32, 3), 1, dtype=torch.uint8) * torch.tensor(c) for c in COLOURS.values()])
    with torch.inference_mode():
        scores = network(to_input(tiles.to(torch.uint8), loaded.mean, loaded.std))
    assert scores.argmax(dim=1).tolist() == [0, 1, 2]


def test_the_same_seed_is_the_same_training(trained: tuple[Path, Checkpoint], tiles: Path, tmp_path: Path) -> None:
    out, first = trained
    again = train(FAST, read_folder(tiles, 0.5), None, tmp_path / "again", reporter=SilentReporter())
    assert again.checkpoint.provenance["val"] == first.provenance["val"]
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    other = dataclasses.replace(FAST, seed=1, epochs=1)
    changed = train(other, read_folder(tiles, 0.5), None, tmp_path / "other", reporter=SilentReporter())
    assert changed.checkpoint.provenance["val"]["loss"] != first.provenance["val"]["loss"]


class Counting(SilentReporter):
    """Counts the tiles of each epoch's batches, and keeps what is said."""

    def __init__(self) -> None:
        self.tiles: dict[int, list[int]] = {}
        self.lines: list[str] = []

    def batch(self, epoch: int, tiles: int, loss: float) -> None:  # noqa: ARG002
        self.tiles.setdefault(epoch, []).append(tiles)

    def said(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize(("mixup", "sizes"), [(0.0, [11, 10]), (0.2, [10, 10])])
def test_every_tile_of_an_epoch_is_trained_on_or_said_to_be_left_out(
    tiles: Path, tmp_path: Path, mixup: float, sizes: list[int]
) -> None:
    """21 tiles in batches of 16: a last batch of 5 used to be left out, of every epoch."""
    images = read_folder(tiles, 0.5)
    part = Split(np.arange(0, 63, 3), np.arange(1, 72, 3), "by hand", by_tile=True)
    settings = dataclasses.replace(FAST, epochs=2, mixup=mixup)
    told = Counting()
    train(settings, images, None, tmp_path, parts=part, reporter=told)
    assert told.tiles == {1: sizes, 2: sizes}
    assert any(line.startswith("1 of 21 tiles are left out of each epoch") for line in told.lines) == (mixup > 0)


def test_a_test_set_of_other_classes_is_refused_before_training(tiles: Path, tmp_path: Path) -> None:
    (tmp_path / "t" / "purple").mkdir(parents=True)
    write_tile(tmp_path / "t" / "purple" / "a.png", (90, 0, 90), np.random.default_rng(0))
    with pytest.raises(InputError, match=r"classes \['purple'\]; the model knows only"):
        train(FAST, read_folder(tiles, 0.5), read_folder(tmp_path / "t", 0.5), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_test_set_may_lack_a_class(tiles: Path) -> None:
    images = read_folder(tiles, 0.5)
    some = dataclasses.replace(images, classes=("green", "red"), labels=images.labels % 2)
    assert set(labels_among(some, images.classes)) == {1, 2}


def test_an_image_that_breaks_during_training_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            (tmp_path / name / f"{i}.png").write_text("no picture")
    monkeypatch.setattr(training, "decode_or_check", lambda *_: None)
    settings = dataclasses.replace(FAST, workers=1)
    with pytest.raises(InputError, match=r"^[ab]/\d\.png: cannot be decoded") as caught:
        train(settings, read_folder(tmp_path, 0.5), None, tmp_path / "out", reporter=SilentReporter())
    assert "\n" not in str(caught.value)


def test_weights_that_the_last_step_of_an_epoch_broke_are_not_kept(tiles: Path, tmp_path: Path) -> None:
    """One step an epoch: no training loss tells of it any more."""
    settings = dataclasses.replace(FAST, epochs=1, batch_size=500, learning_rate=1e30)
    with pytest.raises(InputError, match=r"validation loss became nan in epoch 1; lower train\.learning_rate"):
        train(settings, read_folder(tiles, 0.5), None, tmp_path / "out", reporter=SilentReporter())
    assert not list((tmp_path / "out").glob("*.*"))


def test_a_training_ends_with_where_its_model_is_and_how_it_did(
    trained: tuple[Path, Checkpoint], capsys: pytest.CaptureFixture[str]
) -> None:
    out, checkpoint = trained
    ConsoleReporter().finished(out, checkpoint.provenance)
    assert re.fullmatch(
        rf"{re.escape(str(out))}: balanced accuracy [01]\.\d{{4}} on 72 test tiles, [01]\.\d{{4}} on 18 validation "
        r"tiles; kept epoch [123]\n",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_bar_or_lines(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if terminal else "0")
    reporter = ConsoleReporter()
    reporter.start(2, 32)
    for epoch in (1, 2):
        reporter.batch(epoch, 16, 0.5)
        reporter.batch(epoch, 16, 0.4)
        reporter.epoch(EpochReport(epoch, 2, 0.45, 0.3, 0.9, 0.91, 1e-3, 120.0, 0.3, epoch == 1))
    reporter.stop()
    shown = capsys.readouterr()
    assert "val balanced accuracy 0.9100  120 tiles/s" in shown.err
    assert shown.out == ""
    assert terminal or len(shown.err.splitlines()) == 2


def test_bad_settings_are_named_all_at_once() -> None:
    with pytest.raises(InputError, match=r"train\.epochs is 0; .*train\.precision is 'half'"):
        TrainSettings(epochs=0, precision="half")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("x"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_names_a_batch_size(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(Fit, "train_epoch", fail)
    with pytest.raises(WsiError, match=r"batch_size 16 of 32 px; set train\.batch_size to 8"):
        train(FAST, read_folder(tiles, 0.5), None, tmp_path / "out", reporter=SilentReporter())


def test_precision_trial_leaves_the_random_state_alone() -> None:
    network = build("resnet10t", 3)
    before, weights = torch.random.get_rng_state(), network.state_dict()["fc.weight"].clone()
    precision, speeds = choose_precision(network, 4, 32)
    assert precision in {"32-true", "bf16-mixed", "16-mixed"}
    assert all(speed > 0 for speed in speeds.values())
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(weights, network.state_dict()["fc.weight"])


def test_learning_rate_warms_up_and_falls() -> None:
    schedule = Schedule(1e-3, 0.05, 0.1, 0.0, 10, 10)
    factors = [schedule.factor(step) for step in range(100)]
    assert np.argmax(factors) == 10
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[-1] < 0.02
    assert factors[10:] == sorted(factors[10:], reverse=True)


def test_a_case_in_training_and_test_is_refused_by_name(tiles: Path, tmp_path: Path) -> None:
    images = read_folder(tiles, 0.5)
    some = dataclasses.replace(images, groups=tuple(f"p{i % 9}" for i in range(len(images))))
    other = dataclasses.replace(images, groups=tuple(f"p{i % 9 + 8}" for i in range(len(images))))
    with pytest.raises(InputError, match="case p8: in training and in test"):
        train(FAST, some, other, tmp_path, reporter=SilentReporter())


def test_what_speaks_against_a_model_is_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    ConsoleReporter().warned(["class a: never predicted, though 9 tiles are of it"])
    assert capsys.readouterr().err == "warning: class a: never predicted, though 9 tiles are of it\n"


# Going on after a kill.

_KILLED = """
import dataclasses, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_training import FAST, read_folder, train
torch.set_num_threads(1)
settings = dataclasses.replace(FAST, epochs=4, architecture={architecture!r}, mixup={mixup!r})
train(settings, read_folder(Path({tiles!r}), 0.5), None, Path({out!r}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "mixup"),
    [pytest.param("resnet10t", 0.0, marks=pytest.mark.acceptance), ("efficientnet_b0", 0.4)],
)
def test_a_training_that_was_killed_goes_on_and_ends_the_same(
    tiles: Path, tmp_path: Path, architecture: str, mixup: float
) -> None:
    """SIGKILL in epoch 2: weights and figures are those of an unbroken training, to the last bit (fp32, CPU).

    EfficientNet has dropout, and mixup draws for every batch: what is random in an epoch does not depend on what came
    before.
    """

    def command(out: str) -> list[str]:
        words = {"tests": str(Path(__file__).parent), "tiles": str(tiles), "architecture": architecture}
        return [sys.executable, "-c", _KILLED.format(out=str(tmp_path / out), mixup=mixup, **words)]

    subprocess.run(command("unbroken"), check=True, capture_output=True)
    with subprocess.Popen(command("broken"), stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while not running.stderr.readline().startswith("epoch 1/4"):
            pass
        time.sleep(0.05)
        os.kill(running.pid, signal.SIGKILL)
    assert (tmp_path / "broken" / FILE).exists()
    assert not (tmp_path / "broken" / "model.json").exists()
    again = subprocess.run(command("broken"), check=True, capture_output=True, text=True)
    assert "going on after epoch" in again.stderr
    assert "epoch 1/4" not in again.stderr.replace("after epoch 1/4", "")
    names = ("model.safetensors", "metrics.json")
    broken, unbroken = ([tmp_path / out / name for name in names] for out in ("broken", "unbroken"))
    assert broken[0].read_bytes() == unbroken[0].read_bytes()
    assert _figures(broken[1]) == _figures(unbroken[1])
    assert not (tmp_path / "broken" / FILE).exists()


def _figures(path: Path) -> object:
    """All but what depends on the clock."""
    found = json.loads(path.read_text())
    return found | {"history": [e | {"tiles_per_s": 0, "seconds": 0} for e in found["history"]]}


@pytest.mark.parametrize("more", [[], ["--folds", "3"]])
def test_one_class_is_refused_before_the_first_epoch(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "tiles" / "only").mkdir(parents=True)
    for number in range(8):
        write_tile(tmp_path / "tiles" / "only" / f"{number}.png", (150, 100, 150), np.random.default_rng(number))
    config = f"tile: {{size_px: 32, mpp: 0.5}}\ntrain: {{folder: {tmp_path / 'tiles'}, source_mpp: 0.5}}\n"
    (tmp_path / "c.yaml").write_text(config)
    given = ["train", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "m"), *more]
    found = CliRunner().invoke(app, given)
    assert isinstance(found.exception, InputError)
    assert "only: all 8 tiles to train on are of this one class" in str(found.exception)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("damage", ["other settings", "cut short", "not ours"])
def test_a_state_of_another_training_or_a_damaged_one_is_not_gone_on_with(
    trained: tuple[Path, Checkpoint], tiles: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "forget_state", lambda _: None)
    settings = dataclasses.replace(FAST, seed=1) if damage == "other settings" else FAST
    train(settings, read_folder(tiles, 0.5), None, tmp_path, reporter=SilentReporter())
    if damage == "cut short":
        (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-100])
    if damage == "not ours":
        save_file({"x": torch.zeros(1)}, tmp_path / FILE)
    train(FAST, read_folder(tiles, 0.5), None, tmp_path, reporter=SilentReporter())
    assert (tmp_path / "model.safetensors").read_bytes() == (trained[0] / "model.safetensors").read_bytes()


# Which part learns, and when.


def test_the_backbone_is_kept_while_only_the_head_learns_and_the_last_stages_learn_after(
    tiles: Path, tmp_path: Path
) -> None:
    start = build("resnet10t", 3, False, 32).state_dict()
    save_file(start, tmp_path / "start.safetensors")
    base = dataclasses.replace(FAST, pretrained=tmp_path / "start.safetensors", epochs=2, freeze_epochs=1)
    images = read_folder(tiles, 0.5)
    for name, settings, moves in (
        ("head", dataclasses.replace(base, freeze_epochs=2), ("fc.",)),
        ("one", dataclasses.replace(base, train_blocks=1), ("fc.", "layer4.")),
        ("all", base, ("fc.", "layer4.", "layer3.", "layer2.", "layer1.", "conv1.", "bn1.")),
    ):
        train(settings, images, None, tmp_path / name, reporter=SilentReporter())
        found = load_checkpoint(tmp_path / name)[1].state_dict()
        moved = {key for key in start if not torch.allclose(found[key].float(), start[key].float(), atol=1e-7)}
        assert moved, name
        assert all(key.startswith(moves) for key in moved), name
        assert all(any(key.startswith(part) for key in moved) for part in moves), name


def test_random_weights_are_never_frozen() -> None:
    with pytest.raises(InputError, match=r"train\.pretrained is false: random weights would be kept"):
        TrainSettings(freeze_epochs=1)


def test_more_blocks_than_there_are_is_an_error_that_counts_them() -> None:
    with pytest.raises(InputError, match=r"train_blocks is 9, but the network has 5 stages"):
        trainable(build("resnet18", 3), 9)


def test_frozen_norms_keep_their_statistics() -> None:
    network = build("resnet10t", 3)
    freeze_all_but(network, trainable(network, 1))
    train_mode(network)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        network(torch.randn(4, 3, 32, 32))
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert all(key.startswith("layer4.") for key in changed)


# Steps and epochs.


def test_two_batches_to_a_step_are_one_batch_twice_as_large(tiles: Path) -> None:
    """Without norms, whose statistics are of a batch: the same weights, but for rounding."""

    def weights(batch_size: int, accumulate: int) -> torch.Tensor:
        torch.manual_seed(3)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 3))
        images = read_folder(tiles, 0.5)
        settings = dataclasses.replace(FAST, batch_size=batch_size, accumulate=accumulate, augmentation="none")
        parts = training.holdout(images, 0.25, 0)
        fabric = training.make_fabric("32-true")
        loaders = loaders_for(settings, Seen(images, None), parts, None, fabric)
        schedule = training._schedule(settings, len(loaders.train))
        grey = (0.5, 0.5, 0.5)
        fit = Fit(network, fabric, schedule, grey, grey, None)
        loaders.sampler.set_epoch(1)
        fit.train_epoch(loaders.train, lambda *_: None)
        assert fit.step == schedule.steps_per_epoch
        return network[1].weight.detach()

    torch.testing.assert_close(weights(9, 2), weights(18, 1), rtol=1e-4, atol=1e-6)


def test_a_step_of_few_batches_at_the_end_of_an_epoch_counts_them() -> None:
    schedule = Schedule(1e-3, 0.05, 0.1, 0.0, 2, 7, accumulate=3)
    assert (schedule.steps_per_epoch, schedule.steps) == (3, 6)
    fit = Fit(torch.nn.Linear(1, 2), training.make_fabric("32-true"), schedule, (0, 0, 0), (1, 1, 1), None)
    assert [fit._batches_of_step(number) for number in range(1, 8)] == [3, 3, 3, 3, 3, 3, 1]


def test_a_model_of_eight_orientations_is_calibrated_and_measured_as_such(tiles: Path, tmp_path: Path) -> None:
    images = read_folder(tiles, 0.5)
    found = train(dataclasses.replace(FAST, epochs=1, tta="d4"), images, images, tmp_path, reporter=SilentReporter())
    checkpoint, network = load_checkpoint(tmp_path)
    assert checkpoint.tta == "d4"
    crop = EvalCrop(checkpoint.tile.size_px)
    logits = predict_tiles(network, checkpoint, (crop(images.load(i, checkpoint.tile)) for i in range(len(images))))
    np.testing.assert_allclose(found.verdict.shown.logits, logits, atol=1e-4)
    assert found.verdict.val["loss"] != json.loads((tmp_path / "metrics.json").read_text())["history"][0]["val_loss"]


def test_balance_by_group_is_refused_at_once_where_no_case_is_known(
    tiles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, settings = read_folder(tiles, 0.5), dataclasses.replace(FAST, epochs=1, balance="groups")
    cases = tuple(path.stem[-1] for path in images.paths)
    train(settings, dataclasses.replace(images, groups=cases), None, tmp_path / "known", reporter=SilentReporter())
    assert load_checkpoint(tmp_path / "known")[0].classes == images.classes
    monkeypatch.setattr(training, "decode_or_check", lambda *_: pytest.fail("decoded before it was refused"))
    with pytest.raises(InputError, match=r"balance is groups, and no case is known"):
        train(settings, images, None, tmp_path / "none", reporter=SilentReporter())


def test_mixup_blends_pairs_and_their_labels_alike() -> None:
    np.random.seed(0)
    black, white = torch.zeros(3, 3, 8, 8), torch.ones(3, 3, 8, 8)
    inputs, labels = mixed(0.5, 2)(torch.cat([black, white]), torch.tensor([0, 0, 0, 1, 1, 1]))
    torch.testing.assert_close(labels.sum(1), torch.ones(6))
    torch.testing.assert_close(inputs[:, 0, 0, 0], labels[:, 1])  # as white as the share of the white tiles' class
    assert 0.02 < float(labels[0, 1]) < 0.98


def test_mixup_is_given_whole_pairs(tiles: Path) -> None:
    with pytest.raises(InputError, match=r"blends pairs, and train\.batch_size is 9"):
        dataclasses.replace(FAST, mixup=0.2, batch_size=9)
    images, fabric = read_folder(tiles, 0.5), training.make_fabric("32-true")
    parts = dataclasses.replace(training.holdout(images, 0.25, 0), train=np.arange(41))
    for mixup, batch in ((0.0, 41), (0.2, 40)):
        settings = dataclasses.replace(FAST, mixup=mixup, batch_size=64)
        loaders = loaders_for(settings, Seen(images, None), parts, None, fabric)
        assert (len(loaders.train), loaders.epoch_tiles, loaders.epoch_left_out) == (1, batch, 41 - batch)


def test_an_epoch_of_few_tiles_is_one_batch_and_not_none(tiles: Path) -> None:
    """Of a class of one tile an epoch shows ten, not as many as of the other: it is shorter than the set."""
    images, settings = read_folder(tiles, 0.5), dataclasses.replace(FAST, batch_size=512)
    parts = training.holdout(images, 0.25, 0)
    times = np.full(len(parts.train), 0.5)
    assert len(loaders_for(settings, Seen(images, None), parts, times, training.make_fabric("32-true")).train) == 1


def test_training_ends_early_where_nothing_gets_better(tiles: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(FAST, epochs=30, learning_rate=1e-9, patience=2, choose_by="accuracy")
    train(settings, read_folder(tiles, 0.5), None, tmp_path, reporter=SilentReporter())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["best_epoch"] + 2 == len(metrics["history"]) < 30


def test_the_kept_epoch_is_the_best_by_the_figure_that_was_chosen(tiles: Path, tmp_path: Path) -> None:
    train(
        dataclasses.replace(FAST, choose_by="loss"), read_folder(tiles, 0.5), None, tmp_path, reporter=SilentReporter()
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    losses = [entry["val_loss"] for entry in metrics["history"]]
    assert metrics["best_epoch"] == 1 + losses.index(min(losses))
    assert metrics["val"]["loss"] == pytest.approx(min(losses))


# Cross-validation.


def test_folds_test_every_tile_once_by_models_that_did_not_see_its_case(tiles: Path, tmp_path: Path) -> None:
    images = read_folder(tiles, 0.5)
    by_case = dataclasses.replace(images, groups=tuple(f"p{i % 9}" for i in range(len(images))))
    settings = dataclasses.replace(FAST, epochs=2)
    found = train_folds(settings, by_case, k_folds(by_case, 3, 0.25, 0), tmp_path, reporter=SilentReporter())
    assert json.loads((tmp_path / "folds.json").read_text()) == json.loads(json.dumps(found))
    assert found["pooled"]["tiles"] == len(images)
    assert found["pooled"]["units"]["kind"] == "case"
    scores = [fold["balanced_accuracy"] for fold in found["folds"]]
    assert found["mean"]["balanced_accuracy"] == pytest.approx(np.mean(scores))
    assert found["sd"]["balanced_accuracy"] == pytest.approx(np.std(scores, ddof=1))
    tested: list[str] = []
    for number in (1, 2, 3):
        sheet = list(csv.DictReader((tmp_path / f"fold-{number}" / "splits.csv").open()))
        parts = {part: {row["case"] for row in sheet if row["split"] == part} for part in ("train", "val", "test")}
        assert not parts["test"] & (parts["train"] | parts["val"])
        tested += parts["test"]
    assert sorted(tested) == sorted({f"p{i}" for i in range(9)})


def test_a_fold_without_test_tiles_is_refused(tiles: Path, tmp_path: Path) -> None:
    images = read_folder(tiles, 0.5)
    with pytest.raises(InputError, match="a fold without test tiles measures nothing"):
        train_folds(FAST, images, [training.holdout(images, 0.25, 0)], tmp_path, reporter=SilentReporter())


def test_the_command_trains_folds(tiles: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        f"tile: {{size_px: 32, mpp: 0.5}}\ntrain: {{folder: {tiles}, source_mpp: 0.5, architecture: resnet10t, "
        "epochs: 1, batch_size: 16, precision: 32-true}\n"
    )
    words = ["train", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(app, [*words, "--folds", "2", "--threads", "1"], catch_exceptions=False)
    assert found.exit_code == 0
    assert re.search(r"folds\.json: balanced accuracy [01]\.\d{4} ± 0\.\d{4} over 2 folds", found.stderr)
    assert len(json.loads((tmp_path / "out" / "folds.json").read_text())["folds"]) == 2
    with pytest.raises(InputError, match="column `site`"):
        CliRunner().invoke(app, [*words, "--leave-site-out", "--threads", "1"], catch_exceptions=False)
    with pytest.raises(InputError, match=r"slides were given, but train\.slides is false"):
        CliRunner().invoke(app, [*words, "--slide", str(tmp_path)], catch_exceptions=False)
