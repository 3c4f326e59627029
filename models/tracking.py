"""Trainings in MLflow, where it is installed: settings, every epoch, final figures, pictures.

What goes wrong here is said once and never ends a training. Runs go to $MLFLOW_TRACKING_URI, else to mlflow.db (SQLite,
which MLflow recommends over folders of files) in the folder that holds the models: for results/<run>/models/<name> that
is results/<run>, after which the experiment is named. TESELA_TRACKING=off turns it off.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.progress import EpochReport, Reporter, Stopped
from models.training.settings import TrainSettings
from wsi.atomic import write_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

# The run's id, kept in the model's folder until the training is over, so that one that was killed goes on in its run.
FILE = "mlflow.json"
_HOLDERS = ("models", "trials")  # folders that only hold models: what is above them has the name
_SQLITE = "sqlite:///"
_LOCK_S = 60.0  # a database takes seconds to make, on a busy network disk more
_KEPT = ("model.json", "metrics.json")
_FINAL = ("accuracy", "balanced_accuracy", "macro_f1", "loss")
# Set before the import. A silent server costs seconds, not the minutes of MLflow's own defaults; and nothing is told
# to MLflow's makers.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def tracked(told: Reporter, settings: TrainSettings, out: Path) -> Reporter:
    """A reporter that tells `told`, and MLflow where it is installed, of the training into `out`."""
    if importlib.util.find_spec("mlflow") is None or os.environ.get("TESELA_TRACKING", "").lower() == "off":
        return told
    return Tracked(told, settings, out)


def place_of(out: Path) -> tuple[Path, str]:
    """The folder that holds the models, `out` among them, and the name of `out` within."""
    folder = out.resolve()
    above = [parent.parent for parent in folder.parents[:2] if parent.name in _HOLDERS]  # a fold lies one deeper
    holder = above[0] if above else folder.parent
    return holder, folder.relative_to(holder).as_posix().removeprefix("models/")


class Tracked:
    """Tells another reporter, then MLflow. The run begins with the first batch, or where a killed training goes on."""

    def __init__(self, told: Reporter, settings: TrainSettings, out: Path) -> None:
        self.told, self.settings, self.out = told, settings, out
        self._client: MlflowClient | None = None
        self._run = ""
        self._broken = False

    def start(self, epochs: int, tiles_per_epoch: int) -> None:
        """Nothing of our own."""
        self.told.start(epochs, tiles_per_epoch)

    def said(self, line: str) -> None:
        """Nothing of our own."""
        self.told.said(line)

    def warned(self, warnings: Sequence[str]) -> None:
        """Nothing of our own."""
        self.told.warned(warnings)

    def resumed(self, done: int, epochs: int) -> None:
        """Go on in the run that was begun."""
        self.told.resumed(done, epochs)
        self._try(lambda: self._begin(go_on=True))

    def batch(self, epoch: int, tiles: int, loss: float) -> None:
        """Begin the run, where it is not begun yet."""
        self.told.batch(epoch, tiles, loss)
        if not self._run:
            self._try(lambda: self._begin(go_on=False))

    def epoch(self, report: EpochReport) -> None:
        """The epoch's figures, as metrics."""
        self.told.epoch(report)
        names = ("loss", "val_loss", "val_accuracy", "val_balanced_accuracy", "learning_rate", "tiles_per_s")
        self._try(lambda: self._metrics({name: getattr(report, name) for name in names}, report.epoch))

    def stop(self) -> None:
        """Where an error is on its way through, the run ends with it; else the figures are still to come."""
        self.told.stop()
        if (error := sys.exception()) is None:
            return
        failed = isinstance(error, Exception) and not isinstance(error, Stopped)
        status, why = "FAILED" if failed else "KILLED", f"{type(error).__name__}: {error}"[:500]
        self._try(lambda: self._end(status, {"error": why}))

    def finished(self, out: Path, provenance: Mapping[str, Any]) -> None:
        """The final figures, what made them, and the files that show them."""
        self.told.finished(out, provenance)
        self._try(lambda: self._finish(out, provenance))
        (self.out / FILE).unlink(missing_ok=True)

    def _try(self, work: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            work()
        except Exception as error:  # whatever it is: the training matters more
            self._broken = True
            reason = " ".join(str(error).split())[:200]
            self.told.warned([f"MLflow: {reason or type(error).__name__}; this training is tracked no further"])

    def _begin(self, *, go_on: bool) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        for logger in ("mlflow", "alembic"):  # they tell of every table they make
            logging.getLogger(logger).setLevel(logging.WARNING)
        holder, name = place_of(self.out)
        given = os.environ.get("MLFLOW_TRACKING_URI")
        uri = given or f"{_SQLITE}{holder / 'mlflow.db'}"
        run = _begun(self.out / FILE, uri) if go_on else None
        with _alone(uri):
            client = MlflowClient(tracking_uri=uri)
            if run is not None:
                client.update_run(run, status="RUNNING")
            else:
                artifacts = None if given else (holder / "mlflow-artifacts").as_uri()
                experiment = _experiment(client, holder.name, artifacts)
        if run is None:
            run = client.create_run(experiment, run_name=name).info.run_id
            write_json(self.out / FILE, {"uri": uri, "run": run})
            settings = _flat(self.settings.plain())
            client.log_batch(run, params=[Param(key, str(value)) for key, value in settings.items()])
        self._client, self._run = client, run

    def _metrics(self, values: Mapping[str, float], step: int) -> None:
        if self._client is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(key, float(v), now, step) for key, v in values.items()])

    def _finish(self, out: Path, provenance: Mapping[str, Any]) -> None:
        if self._client is None:
            return
        best = int(provenance["best_epoch"])
        figures = {part: provenance[part] for part in ("val", "test") if provenance[part] is not None}
        self._metrics({f"kept_{part}_{name}": of[name] for part, of in figures.items() for name in _FINAL}, best)
        for name in _KEPT:
            self._client.log_artifact(self._run, str(out / name))
        self._client.log_artifacts(self._run, str(out / "plots"), "plots")
        made_of = {name: provenance[name] for name in ("packages", "device", "precision", "data", "best_epoch")}
        self._end("FINISHED", _flat(made_of))

    def _end(self, status: str, tags: Mapping[str, Any]) -> None:
        if self._client is None:
            return
        from mlflow.entities import RunTag

        self._client.log_batch(self._run, tags=[RunTag(key, str(value)) for key, value in tags.items()])
        self._client.set_terminated(self._run, status)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """While a database and its tables are made: of trainings that began together, all but one would fail at it.

    Where a file system has no locks, or one is held for too long, it is tried without.
    """
    if not uri.startswith(_SQLITE):
        yield
        return
    from filelock import FileLock, Timeout

    lock = FileLock(f"{uri.removeprefix(_SQLITE)}.lock", timeout=_LOCK_S)
    with suppress(Timeout, OSError, NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name, artifacts))


def _begun(path: Path, uri: str) -> str | None:
    """The run that was begun there; None where there is none, or it is kept elsewhere."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return str(found["run"]) if found.get("uri") == uri else None


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """{"tile": {"mpp": 1}} → {"tile.mpp": 1}."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {above + name: value}
    return found
