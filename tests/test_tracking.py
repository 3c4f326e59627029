"""Trainings in MLflow: what a run holds, going on in it, and that nothing here ends a training."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from coloured_tiles import TILE
from mlflow import MlflowClient
from mlflow.entities import Run

from models.data import read_folder
from models.progress import EpochReport, SilentReporter, Stopped
from models.tracking import FILE, Tracked, place_of, tracked
from models.training.settings import TrainSettings
from models.training.train import train
from wsi.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = TrainSettings(
    architecture="resnet10t", tile=TILE, epochs=1, batch_size=16, precision="32-true", val_fraction=0.25, workers=0
)
FIGURES = {"accuracy": 0.9, "balanced_accuracy": 0.8, "macro_f1": 0.7, "loss": 0.4, "tiles": 9, "warnings": []}
PROVENANCE = {
    "packages": {"torch": "2.9"},
    "device": "cpu",
    "precision": "32-true",
    "data": {"fingerprint": "abc", "train_tiles": {"red": 9}},
    "best_epoch": 2,
    "val": FIGURES,
    "test": None,
}


class Told(SilentReporter):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warned(self, warnings: Sequence[str]) -> None:
        self.warnings += warnings


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: it takes seconds to make."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def local(store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where trainings go to MLflow, into the store beside them."""
    monkeypatch.delenv("TESELA_TRACKING")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return store


def report(epoch: int) -> EpochReport:
    return EpochReport(epoch, 3, 1 / epoch, 0.5, 0.7, 0.1 * epoch, 1e-3, 100.0, 1.0, True)


def write_model(out: Path) -> None:
    (out / "plots").mkdir(parents=True)
    (out / "plots" / "curve.png").write_text("picture")
    for name in ("model.json", "metrics.json"):
        (out / name).write_text("{}")


def runs(store: Path, experiment: str | None = None) -> list[Run]:
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment or store.name)
    return [] if found is None else client.search_runs([found.experiment_id])


def run_of(store: Path, name: str) -> Run:
    (found,) = [run for run in runs(store) if run.info.run_name == name]
    return found


def test_a_training_leaves_a_run(local: Path, tiles: Path) -> None:
    """The very function that trains; the store lies in the folder that holds the models."""
    out = local / "models" / "colours"
    trained = train(SETTINGS, read_folder(tiles, 0.5), read_folder(tiles, 0.5), out, reporter=SilentReporter())
    run = run_of(local, "colours")
    assert run.info.status == "FINISHED"
    assert (run.data.params["architecture"], run.data.params["tile.mpp"]) == ("resnet10t", "0.5")
    metrics = json.loads((out / "metrics.json").read_text())
    for part in ("val", "test"):
        assert run.data.metrics[f"kept_{part}_balanced_accuracy"] == metrics[part]["balanced_accuracy"]
    assert run.data.metrics["val_loss"] == metrics["history"][-1]["val_loss"]
    assert run.data.tags["data.fingerprint"] == trained.checkpoint.provenance["data"]["fingerprint"]
    assert run.data.tags["packages.torch"]
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert artifacts.is_relative_to(local)
    assert (artifacts / "model.json").read_bytes() == (out / "model.json").read_bytes()
    assert (artifacts / "plots" / "curve.png").is_file()
    assert not (artifacts / "model.safetensors").exists()
    assert not (out / FILE).exists()


def test_a_training_that_was_killed_goes_on_in_its_run(local: Path) -> None:
    out = local / "killed"
    first = Tracked(SilentReporter(), SETTINGS, out)
    first.start(3, 32)
    first.batch(1, 16, 0.5)
    first.epoch(report(1))
    # Killed here: no stop, no finish.
    assert run_of(local, "killed").info.status == "RUNNING"
    again = Tracked(SilentReporter(), SETTINGS, out)
    again.start(3, 32)
    again.resumed(1, 3)
    for epoch in (2, 3):
        again.batch(epoch, 16, 0.5)
        again.epoch(report(epoch))
    again.stop()
    write_model(out)
    again.finished(out, PROVENANCE)
    run = run_of(local, "killed")
    assert run.info.status == "FINISHED"
    client = MlflowClient(f"sqlite:///{local / 'mlflow.db'}")
    history = client.get_metric_history(run.info.run_id, "val_balanced_accuracy")
    assert [(one.step, one.value) for one in history] == [(e, pytest.approx(0.1 * e)) for e in (1, 2, 3)]
    assert "kept_test_accuracy" not in run.data.metrics


def test_a_training_that_begins_anew_is_a_run_of_its_own(local: Path) -> None:
    for _ in range(2):
        one = Tracked(SilentReporter(), SETTINGS, local / "twice")
        one.start(3, 32)
        one.batch(1, 16, 0.5)
    assert len([run for run in runs(local) if run.info.run_name == "twice"]) == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [(InputError("the loss became nan"), "FAILED"), (SystemExit(), "KILLED"), (Stopped("pruned"), "KILLED")],
)
def test_a_training_that_fails_says_so_in_its_run(local: Path, error: BaseException, status: str) -> None:
    name = type(error).__name__
    one = Tracked(SilentReporter(), SETTINGS, local / name)
    one.start(3, 32)
    one.batch(1, 16, 0.5)

    def fail() -> None:
        try:
            raise error
        finally:
            one.stop()

    with pytest.raises(type(error)):
        fail()
    run = run_of(local, name)
    assert run.info.status == status
    assert name in run.data.tags["error"]
    assert (local / name / FILE).exists()  # gone on with, it is the same run


BEGINS = """
import sys, time
from pathlib import Path
from models.progress import SilentReporter
from models.tracking import Tracked
from models.training.settings import TrainSettings
import mlflow, sqlalchemy, alembic  # all that takes time
print("ready", flush=True)
sys.stdin.readline()
class Told(SilentReporter):
    def warned(self, warnings):
        print(*warnings, file=sys.stderr)
one = Tracked(Told(), TrainSettings(), Path(sys.argv[1]))
one.start(1, 32)
one.batch(1, 16, 0.5)
"""


@pytest.mark.slow
def test_trainings_that_begin_together_make_one_store_and_are_all_in_it(tmp_path: Path) -> None:
    """Each used to find no tables, make them, and lose its tracking where another had made them first."""
    environment = {name: value for name, value in os.environ.items() if name != "TESELA_TRACKING"}
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", BEGINS, str(tmp_path / f"model-{number}")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(3)
    ]
    for one in begun:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    said = []
    for one in begun:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in begun:
        said.append(one.communicate()[1])
    assert ["MLflow" in each for each in said] == [False] * 3, said
    assert sorted(run.info.run_name for run in runs(tmp_path)) == ["model-0", "model-1", "model-2"]


# Nothing here ends a training.


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["nobody listens", "nobody answers", "no address"])
def test_a_store_that_cannot_be_reached_is_one_warning(
    kind: str, silent_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = {"nobody listens": "http://127.0.0.1:9", "nobody answers": silent_server, "no address": "what://ever"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address[kind])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    told, out = Told(), tmp_path / "model"
    one: Any = Tracked(told, SETTINGS, out)
    one.start(3, 32)
    for epoch in (1, 2):
        one.batch(epoch, 16, 0.5)
        one.epoch(report(epoch))
    one.stop()
    write_model(out)
    one.finished(out, PROVENANCE)
    assert len(told.warnings) == 1
    assert told.warnings[0].startswith("MLflow: ")
    assert "\n" not in told.warnings[0]
    assert not (out / FILE).exists()


def test_the_address_of_a_server_is_respected(local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{local / 'mlflow.db'}")
    one = Tracked(SilentReporter(), SETTINGS, tmp_path / "elsewhere" / "m")
    one.start(3, 32)
    one.batch(1, 16, 0.5)
    assert [run.info.run_name for run in runs(local, "elsewhere")] == ["m"]
    assert not (tmp_path / "elsewhere" / "mlflow.db").exists()


def test_where_mlflow_is_not_installed_or_is_turned_off_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    assert tracked(told, SETTINGS, tmp_path) is told  # TESELA_TRACKING=off, as in all tests
    monkeypatch.delenv("TESELA_TRACKING")
    assert isinstance(tracked(told, SETTINGS, tmp_path), Tracked)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert tracked(told, SETTINGS, tmp_path) is told
    assert told.warnings == []


@pytest.mark.parametrize(
    ("out", "holder", "name"),
    [
        ("results/colon/models/colon-9", "results/colon", "colon-9"),
        ("build/m", "build", "m"),
        ("cv/fold-2", "cv", "fold-2"),
        ("search/trials/7", "search", "trials/7"),
        ("search/trials/7/fold-1", "search", "trials/7/fold-1"),
        ("results/colon/models/colon-9/fold-1", "results/colon", "colon-9/fold-1"),
    ],
)
def test_an_experiment_is_named_after_the_folder_that_holds_the_models(
    tmp_path: Path, out: str, holder: str, name: str
) -> None:
    assert place_of(tmp_path / out) == (tmp_path / holder, name)


def test_other_settings_are_other_parameters(local: Path) -> None:
    one = Tracked(SilentReporter(), dataclasses.replace(SETTINGS, learning_rate=0.5), local / "other")
    one.start(3, 32)
    one.batch(1, 16, 0.5)
    assert run_of(local, "other").data.params["learning_rate"] == "0.5"
