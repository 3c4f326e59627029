"""Searching settings: which trials run, what a kill leaves, what is believed of the best. Trainings are simulated
where only their figures matter.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from coloured_tiles import TILE
from typer.testing import CliRunner

from models.data import FolderSet, TileSet, read_folder
from models.progress import EpochReport, Reporter, SilentReporter
from models.splits import Split
from models.training.settings import TrainSettings
from models.tuning import Choices, Range, TuneOptions, default_space, search, tune
from models.tuning.record import noise_of
from models.tuning.search import splits_of
from models.tuning.space import own_values
from models.tuning.study import alone
from pipelines.commands.app import app
from pipelines.config import load_train_file
from pipelines.tuning import space_of
from wsi.atomic import write_json
from wsi.errors import InputError, WsiError

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = TrainSettings(
    architecture="resnet10t", tile=TILE, epochs=6, batch_size=16, learning_rate=1e-3, precision="32-true", workers=0
)
SPACE = {"learning_rate": Range(1e-5, 1e-1, log=True), "augmentation": Choices(("light", "strong"))}
Truth = Callable[[TrainSettings, int], float]


def bell(settings: TrainSettings, epoch: int) -> float:
    """Best at a learning rate of 3e-3, and better with every epoch."""
    return float(0.9 * math.exp(-((math.log10(settings.learning_rate / 3e-3)) ** 2)) * epoch / settings.epochs)


class Trainings:
    """In place of `train`: the figures of `truth`, and a file for the weights. Counts and may be killed."""

    def __init__(self, truth: Truth = bell) -> None:
        self.truth, self.seen, self.killed_in = truth, list[tuple[TrainSettings, Split, Path]](), -1

    def __call__(
        self,
        settings: TrainSettings,
        tiles: TileSet,
        test_set: TileSet | None,
        out: Path,
        *,
        parts: Split,
        reporter: Reporter,
    ) -> Any:
        assert test_set is None
        assert len(parts.test) == 0
        self.seen.append((settings, parts, out))
        reporter.start(settings.epochs, len(tiles))
        out.mkdir(parents=True, exist_ok=True)
        values = [self.truth(settings, epoch) for epoch in range(1, settings.epochs + 1)]
        (out / "resume.safetensors").write_text("state")
        for epoch, value in enumerate(values, start=1):
            if self.killed_in == len(self.seen) and epoch == 4:
                raise KeyboardInterrupt
            reporter.epoch(EpochReport(epoch, settings.epochs, 1, 1 - value, value, value, 1e-3, 1, 1, True))
        val = {name: max(values) for name in ("accuracy", "balanced_accuracy", "macro_f1")} | {"loss": 1 - max(values)}
        (out / "resume.safetensors").rename(out / "model.safetensors")
        write_json(out / "metrics.json", {"val": val, "history": [{}] * settings.epochs})
        return SimpleNamespace(verdict=SimpleNamespace(val=val))


@pytest.fixture
def images(tiles: Path) -> TileSet:
    return read_folder(tiles, 0.5)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    simulated = Trainings()
    monkeypatch.setattr(search, "train", simulated)
    return simulated


class Lines(SilentReporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, line: str) -> None:
        self.lines.append(line)


def run(images: TileSet, out: Path, trials: int, **change: Any) -> dict[str, Any]:
    settings = dataclasses.replace(SETTINGS, **{k: v for k, v in change.items() if k != "folds"})
    options = TuneOptions(trials, None, change.get("folds"))
    return tune(settings, images, SPACE, out, options, reporter=SilentReporter())


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.usefixtures("trainings")
def test_the_best_is_found_and_written_down(images: TileSet, tmp_path: Path) -> None:
    found = run(images, tmp_path, 20)
    assert found == json.loads((tmp_path / "tune.json").read_text())
    assert 1e-3 < found["best"]["parameters"]["learning_rate"] < 1e-2
    sheet = rows(tmp_path)
    assert len(sheet) == 20 == sum(found["trials"].values())
    finished = [float(row["value"]) for row in sheet if row["state"] == "finished"]
    assert found["best"]["value"] == max(finished)
    assert found["median"] == pytest.approx(np.median(finished))
    best_five = sorted(finished)[-5:]
    assert found["spread_of_best"]["from_best_to_worst"] == pytest.approx(max(best_five) - min(best_five))
    assert (tmp_path / "plots" / "history.png").is_file()
    assert (tmp_path / "plots" / "parameters.png").is_file()


def test_the_configuration_as_it_stands_is_the_first_trial(
    images: TileSet, trainings: Trainings, tmp_path: Path
) -> None:
    found = run(images, tmp_path, 3)
    assert trainings.seen[0][0] == SETTINGS
    assert found["own"] == pytest.approx(bell(SETTINGS, SETTINGS.epochs))


@pytest.mark.usefixtures("trainings")
def test_poor_trials_end_early_and_are_told_apart(images: TileSet, tmp_path: Path) -> None:
    found = run(images, tmp_path, 12)
    pruned = [row for row in rows(tmp_path) if row["state"] == "pruned"]
    assert len(pruned) == found["trials"]["pruned"] > 0
    assert all(row["value"] == "" and 2 <= int(row["epochs"]) < 6 for row in pruned)


@pytest.mark.usefixtures("trainings")
def test_only_the_best_keeps_its_weights(images: TileSet, tmp_path: Path) -> None:
    found = run(images, tmp_path, 5)
    kept = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.safetensors")]
    assert kept == [f"trials/{found['best']['trial']}/model.safetensors"]


@pytest.mark.usefixtures("trainings")
def test_a_smaller_loss_is_better(images: TileSet, tmp_path: Path) -> None:
    found = run(images, tmp_path, 8, choose_by="loss")
    finished = [float(row["value"]) for row in rows(tmp_path) if row["state"] == "finished"]
    assert found["best"]["value"] == min(finished)
    assert found["gain_over_median"] == pytest.approx(np.median(finished) - min(finished))
    assert any("how noisy a loss is" in warning for warning in found["warnings"])


# Going on after a kill.


@pytest.mark.parametrize("killed_in", [1, 7])
def test_a_search_that_was_killed_ends_as_an_unbroken_one(
    images: TileSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, killed_in: int
) -> None:
    unbroken = Trainings()
    monkeypatch.setattr(search, "train", unbroken)
    whole = run(images, tmp_path / "unbroken", 8)
    broken = Trainings()
    monkeypatch.setattr(search, "train", broken)
    broken.killed_in = killed_in
    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path / "broken", 8)
    found = run(images, tmp_path / "broken", 8)
    assert found["interrupted_and_run_again"] == 1
    # The trial that was killed runs again, in its folder, with its values; and no other does.
    assert len(broken.seen) == len(unbroken.seen) + 1
    assert broken.seen[killed_in - 1][0] == broken.seen[killed_in][0]
    assert broken.seen[killed_in - 1][2] == broken.seen[killed_in][2]
    tried = [one[0] for one in broken.seen[: killed_in - 1] + broken.seen[killed_in:]]
    assert tried == [one[0] for one in unbroken.seen]
    for name in ("trials", "best", "median", "warnings"):
        assert {**found, "best": {**found["best"], "trial": 0}}[name] == {
            **whole,
            "best": {**whole["best"], "trial": 0},
        }[name]


def test_a_finished_search_trains_nothing_again_and_more_trials_are_added(
    images: TileSet, trainings: Trainings, tmp_path: Path
) -> None:
    first = run(images, tmp_path, 4)
    assert run(images, tmp_path, 4) == first
    assert len(trainings.seen) == 4
    run(images, tmp_path, 5)
    assert len(trainings.seen) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 7}, r"another train\.epochs \(6 there, 7 here\)"),
        ({"seed": 1}, r"another train\.seed"),
        ({"folds": 3}, "another split"),
    ],
)
def test_a_study_of_another_search_is_refused(
    images: TileSet, trainings: Trainings, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    run(images, tmp_path, 1)
    with pytest.raises(InputError, match=said) as caught:
        run(images, tmp_path, 1, **change)
    assert "\n" not in str(caught.value)
    assert len(trainings.seen) == 1


@pytest.mark.usefixtures("trainings")
def test_a_study_of_other_tiles_or_another_space_is_refused(images: TileSet, tmp_path: Path) -> None:
    run(images, tmp_path, 1)
    assert isinstance(images, FolderSet)
    others = dataclasses.replace(images, paths=images.paths[:-1], labels=images.labels[:-1])
    with pytest.raises(InputError, match="another tiles"):
        run(others, tmp_path, 1)
    with pytest.raises(InputError, match="another tune"):
        tune(SETTINGS, images, default_space(SETTINGS), tmp_path, TuneOptions(1), reporter=SilentReporter())


@pytest.mark.usefixtures("trainings")
def test_two_searches_in_one_folder_are_refused(images: TileSet, tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(InputError, match="another `tesela tune` is at work there"):
        run(images, tmp_path, 1)


@pytest.mark.usefixtures("trainings")
def test_a_file_that_is_no_study_is_refused(images: TileSet, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no study" * 1000)
    with pytest.raises(InputError, match=r"study\.db: not a study"):
        run(images, tmp_path, 1)


# Failures, time, folds.


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(
    images: TileSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def truth(settings: TrainSettings, epoch: int) -> float:
        if settings.augmentation == "strong":
            raise WsiError("out of memory")
        return bell(settings, epoch)

    monkeypatch.setattr(search, "train", Trainings(truth))
    lines = Lines()
    found = tune(SETTINGS, images, SPACE, tmp_path, TuneOptions(8), reporter=lines)
    failed = [row for row in rows(tmp_path) if row["state"] == "failed"]
    assert 0 < len(failed) == found["trials"]["failed"] < 8
    assert {row["why"] for row in failed} == {"out of memory"}
    assert found["interrupted_and_run_again"] == 0
    assert len(lines.lines) == 8
    assert sum("failed: out of memory" in line for line in lines.lines) == len(failed)
    assert all("best so far" in line for line in lines.lines)


def test_where_all_trials_fail_the_search_ends_with_the_reason(
    images: TileSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def truth(*_: object) -> float:
        raise WsiError("out of memory")

    simulated = Trainings(truth)
    monkeypatch.setattr(search, "train", simulated)
    with pytest.raises(WsiError, match="all 5 trials failed, the last one: out of memory"):
        run(images, tmp_path, 30)
    assert len(simulated.seen) == 5
    with pytest.raises(WsiError, match="all 2 trials failed"):
        run(images, tmp_path / "two", 2)


@pytest.mark.usefixtures("trainings")
def test_no_trial_begins_after_the_time_is_over(images: TileSet, tmp_path: Path) -> None:
    found = tune(SETTINGS, images, SPACE, tmp_path, TuneOptions(30, 0.0), reporter=SilentReporter())
    assert found["trials"]["finished"] == 1
    assert any("only 1 trials were finished" in warning for warning in found["warnings"])


def test_with_folds_every_tile_is_validated_once_and_a_trial_is_their_mean(
    images: TileSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    simulated = Trainings(lambda *_: 0.1 * len(simulated.seen))
    monkeypatch.setattr(search, "train", simulated)
    found = run(images, tmp_path, 1, folds=3)
    assert found["best"]["value"] == pytest.approx(np.mean([0.1, 0.2, 0.3]))
    assert found["validation_tiles"] == len(images)
    splits = [split for _, split, _ in simulated.seen]
    assert sorted(np.concatenate([split.val for split in splits])) == list(range(len(images)))
    for split in splits:
        assert sorted([*split.train, *split.val]) == list(range(len(images)))


def test_folds_that_were_trained_before_a_kill_are_kept(images: TileSet, trainings: Trainings, tmp_path: Path) -> None:
    trainings.killed_in = 3
    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path, 1, folds=3)
    run(images, tmp_path, 1, folds=3)
    assert [path.name for *_, path in trainings.seen] == ["fold-1", "fold-2", "fold-3", "fold-3"]


def test_the_test_part_of_a_split_is_left_alone(images: TileSet, trainings: Trainings, tmp_path: Path) -> None:
    train, val, test = np.array_split(np.random.default_rng(0).permutation(len(images)), 3)
    parts = Split(np.sort(train), np.sort(val), "given", True, np.sort(test))
    tune(SETTINGS, images, SPACE, tmp_path, TuneOptions(1), parts=parts, reporter=SilentReporter())
    used = trainings.seen[0][1]
    assert not set(used.train) & set(test)
    assert not set(used.val) & set(test)
    assert splits_of(SETTINGS, images, None, parts) == (parts,)


# What is believed of the best.


def test_a_search_among_equals_found_nothing(images: TileSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Figures that are drawn, not earned: each trial's tiles are right by a coin of 0.8."""
    coin = np.random.default_rng(3)
    values: dict[float, float] = {}

    def truth(settings: TrainSettings, _: int) -> float:
        return values.setdefault(settings.learning_rate, float(coin.binomial(18, 0.8) / 18))

    monkeypatch.setattr(search, "train", Trainings(truth))
    found = run(images, tmp_path, 8)
    assert any("nothing that chance does not" in warning for warning in found["warnings"])


def test_a_real_gain_is_not_called_luck(images: TileSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(search, "train", Trainings(lambda s, _: 0.99 if 1e-3 < s.learning_rate < 1e-2 else 0.2))
    monkeypatch.setattr("models.tuning.study._STARTUP_TRIALS", 100)  # none is pruned: the median is a poor one
    found = run(images, tmp_path, 10, learning_rate=1e-5)
    assert found["gain_over_median"] > found["noise_95"]
    assert not any("chance" in warning for warning in found["warnings"])


def test_noise_is_what_binomial_draws_vary_by() -> None:
    draws = np.random.default_rng(0).binomial(400, 0.8, 20_000) / 400
    assert noise_of(0.8, 400) == pytest.approx(1.96 * draws.std(), rel=0.05)
    assert noise_of(1.0, 40) > 0.03  # nothing wrong in 40 is no proof


def test_the_best_at_the_border_says_so() -> None:
    rate = Range(1e-4, 1e-2, log=True)
    assert [rate.border(value) for value in (1e-4, 1.1e-4, 1e-3, 9.5e-3)] == ["lower", "lower", None, "upper"]
    assert Range(0, 1).border(0.01) is None  # nothing lies below 0
    assert Choices((16, 32, 64)).border(64) == "upper"
    assert Choices((0.0, 0.1)).border(0.0) is None
    assert Choices(("light", "strong")).border("strong") is None
    assert Choices((None, 2)).border(2) is None


# The space.


def test_the_default_space_holds_what_was_configured() -> None:
    space = default_space(SETTINGS)
    assert own_values(space, SETTINGS) == {name: getattr(SETTINGS, name) for name in space}
    assert own_values(space, dataclasses.replace(SETTINGS, weight_decay=0.0)) is None


def config(at: Path, tune_section: object, **train: object) -> Path:
    path = at / "c.yaml"
    section = {"folder": "t", "source_mpp": 0.5, "architecture": "resnet10t", "epochs": 2, **train}
    path.write_text(yaml.safe_dump({"tile": {"size_px": 32, "mpp": 0.5}, "train": section, "tune": tune_section}))
    return path


def test_a_section_becomes_a_space(tmp_path: Path) -> None:
    section = {
        "learning_rate": {"low": "1e-4", "high": 0.01, "log": True},
        "batch_size": {"low": 16, "high": 64},
        "label_smoothing": [0, 0.1],
        "augmentation": ["light", "strong"],
    }
    assert space_of(load_train_file(config(tmp_path, section))) == {
        "learning_rate": Range(1e-4, 0.01, log=True),
        "batch_size": Range(16, 64, whole=True),
        "label_smoothing": Choices((0.0, 0.1)),
        "augmentation": Choices(("light", "strong")),
    }
    assert space_of(load_train_file(config(tmp_path, {}))).keys() == default_space(SETTINGS).keys()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"learning_rat": [1]}, "unknown key 'tune.learning_rat'"),
        ({"learning_rate": [0.1, -1]}, r"tune\.learning_rate.*-1.*greater than 0"),
        ({"batch_size": {"low": 1.5, "high": 8}}, r"tune\.batch_size.*1\.5"),
        ({"learning_rate": {"low": 1, "high": 0.1}}, "low 1 is not below high 0.1"),
        ({"weight_decay": {"low": 0, "high": 0.1, "log": True}}, "no logarithm"),
        ({"augmentation": ["wild"]}, r"tune\.augmentation.*'wild'"),
        ({"augmentation": []}, "an empty list"),
        ({"freeze_epochs": [0, 1]}, r"tune\.freeze_epochs: train\.freeze_epochs.*train\.pretrained is false"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(tmp_path: Path, section: object, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        space_of(load_train_file(config(tmp_path, section)))
    assert "\n" not in str(caught.value)


# The command.


def test_without_optuna_the_command_says_how_to_install_it(
    images: TileSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'tesela\[tune\]'"):
        run(images, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


def test_the_command_searches_and_its_best_configuration_trains(tiles: Path, tmp_path: Path) -> None:
    """Real trainings. The test folder does not exist: nobody looks."""
    path = config(
        tmp_path,
        {"learning_rate": {"low": 0.001, "high": 0.01}},
        folder=str(tiles),
        test_folder=str(tmp_path / "nowhere"),
        batch_size=32,
        precision="32-true",
    )
    out = tmp_path / "out"
    words = ["tune", str(path), "--out", str(out), "--trials", "2", "--threads", "1"]
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    found = json.loads((out / "tune.json").read_text())
    metrics = json.loads((out / "trials" / str(found["best"]["trial"]) / "metrics.json").read_text())
    assert metrics["val"]["balanced_accuracy"] == found["best"]["value"]
    assert metrics["test"] is None
    best = load_train_file(out / "best.yaml").train
    given = load_train_file(path).train
    assert best == given.model_copy(update=found["best"]["parameters"])
    assert best.test_folder == str(tmp_path / "nowhere")
