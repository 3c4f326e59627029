"""The search: trial after trial, each a training of its own, until there are enough of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.data import TileSet
from models.progress import ConsoleReporter, EpochReport, Reporter, SilentReporter, Stopped
from models.splits import Split, holdout, k_folds
from models.training.settings import TrainSettings
from models.training.train import train
from models.tuning.record import done_value, line_of, write_results, write_trials
from models.tuning.space import Space, own_values, plain, suggested
from models.tuning.study import (
    FOLDER,
    INTERRUPTED,
    WHY,
    alone,
    counted,
    next_trial,
    open_study,
    report_epoch,
    require_optuna,
)
from wsi.errors import WsiError
from wsi.files import remove

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_HOPELESS = 5  # failed trials, and none that did not


@dataclass(frozen=True)
class TuneOptions:
    """How long to search, and what a trial is measured on.

    trials: in all, with those of a study that goes on. seconds: no trial begins after so many of this call.
    folds: the mean over so many; None: a part held out of the tiles.
    """

    trials: int = 30
    seconds: float | None = None
    folds: int | None = None


def tune(
    settings: TrainSettings,
    tiles: TileSet,
    space: Space,
    out: Path,
    options: TuneOptions,
    *,
    parts: Split | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Search `space` around `settings` for the best `settings.choose_by` on validation tiles; returns tune.json.

    parts: how `tiles` are parted where no folds are asked for; None holds out `val_fraction`. Its test part is left
    alone. Writes study.db, trials/<number>/, trials.csv, tune.json and plots/ into `out`. A search that was killed
    goes on where the same one is asked for.
    Raises InputError where Optuna is missing or the study in `out` is of another search, WsiError where all trials
    fail.
    """
    require_optuna()
    reporter = reporter or ConsoleReporter()
    splits = splits_of(settings, tiles, options.folds, parts)
    with alone(out):
        study = open_study(
            out / "study.db",
            _made_of(settings, tiles, space, splits),
            minimize=settings.choose_by == "loss",
            free_epochs=settings.epochs // 3,  # the warm-up, and the first steps of slow learners
            own=own_values(space, settings),
        )
        _search(study, _Search(settings, tiles, space, out, splits, reporter), options)
        return write_results(study, settings, space, out, splits, tiles)


def splits_of(settings: TrainSettings, tiles: TileSet, folds: int | None, parts: Split | None) -> tuple[Split, ...]:
    """What each trial is trained and validated on.

    Of folds, the part that cross-validation tests is validated on: every tile once in all.
    """
    if folds is None:
        return (parts or holdout(tiles, settings.val_fraction, settings.seed),)
    return tuple(
        replace(split, train=np.union1d(split.train, split.val), val=split.test, test=split.test[:0])
        for split in k_folds(tiles, folds, settings.val_fraction, settings.seed)
    )


def _made_of(settings: TrainSettings, tiles: TileSet, space: Space, splits: Sequence[Split]) -> dict[str, Any]:
    """What values depend on, as JSON holds it; searched settings count too, since the first trial takes them."""
    return {
        **{f"train.{name}": value for name, value in settings.plain().items() if name not in ("workers", "tile")},
        "tile": asdict(settings.tile),
        "tune": plain(space),
        "tiles": tiles.fingerprint(),
        "split": [[split.how, *(len(part) for part in (split.train, split.val))] for split in splits],
    }


@dataclass(frozen=True, eq=False)
class _Search:
    """What all trials share."""

    settings: TrainSettings
    tiles: TileSet
    space: Space
    out: Path
    splits: tuple[Split, ...]
    reporter: Reporter

    def value(self, trial: Trial) -> float:
        """Train as `trial` says; the mean of its validation figures. Raises Stopped where it is pruned."""
        settings = replace(self.settings, **suggested(trial, self.space))
        folder = self.out / "trials" / str(trial.user_attrs[FOLDER])
        if INTERRUPTED not in trial.user_attrs:
            remove(folder)  # of a study that was deleted
        values = []
        for number, split in enumerate(self.splits, start=1):
            at = folder if len(self.splits) == 1 else folder / f"fold-{number}"
            if (value := done_value(at, settings.choose_by)) is None:  # else: trained before a kill
                told = _Pruning(trial if number == 1 else None, settings, self.reporter)
                # Only training and validation: the test part is for the settings that are chosen in the end.
                validated = replace(split, test=split.test[:0])
                trained = train(settings, self.tiles, None, at, parts=validated, reporter=told)
                value = float(trained.verdict.val[settings.choose_by])
            values.append(value)
        return float(np.mean(values))


def _search(study: Study, search: _Search, options: TuneOptions) -> None:
    began = time.monotonic()
    while len(counted(study)) < options.trials:
        if options.seconds is not None and counted(study) and time.monotonic() - began > options.seconds:
            search.reporter.said(f"{options.seconds:g} s are over: no further trial begins")
            return
        _refuse_hopeless(counted(study), options.trials)
        _one(study, search)
        write_trials(search.out / "trials.csv", study, search.space)
        _keep_best_weights(study, search.out / "trials")
        search.reporter.said(line_of(study, search.settings.choose_by, options.trials))
    _refuse_hopeless(counted(study), options.trials)


def _one(study: Study, search: _Search) -> None:
    """Run one trial and tell the study how it ended."""
    from optuna.trial import TrialState

    trial = next_trial(study, search.settings.seed)
    try:
        value = search.value(trial)
    except Stopped:
        study.tell(trial, state=TrialState.PRUNED)
    except WsiError as error:
        trial.set_user_attr(WHY, str(error))
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, value)


def _refuse_hopeless(trials: Sequence[FrozenTrial], wanted: int) -> None:
    """Raise WsiError where trials only fail."""
    failed = [trial for trial in trials if trial.state.name == "FAIL"]
    if len(failed) == len(trials) >= min(_HOPELESS, wanted):
        raise WsiError(f"all {len(trials)} trials failed, the last one: {failed[-1].user_attrs[WHY]}")


def _keep_best_weights(study: Study, folder: Path) -> None:
    """Remove the weights of all trials but the best."""
    finished = [trial for trial in counted(study) if trial.state.name == "COMPLETE"]
    best = folder / str(study.best_trial.user_attrs[FOLDER]) if finished else None
    for weights in folder.rglob("*.safetensors"):
        if best is None or best not in weights.parents:
            weights.unlink()


class _Pruning(SilentReporter):
    """Shows the bar of a training, not its lines; asks after every epoch whether the trial is worth going on with.

    trial: None asks nothing, as in later folds: what was worth one fold is worth all. The pruner compares the
    validation figure that is chosen by; balanced accuracy, which an epoch reports, stands for macro F1.
    """

    def __init__(self, trial: Trial | None, settings: TrainSettings, told: Reporter) -> None:
        self.trial, self.choose_by, self.told = trial, settings.choose_by, told

    def start(self, epochs: int, tiles_per_epoch: int) -> None:
        self.told.start(epochs, tiles_per_epoch)

    def resumed(self, done: int, epochs: int) -> None:
        self.told.resumed(done, epochs)

    def batch(self, epoch: int, tiles: int, loss: float) -> None:
        self.told.batch(epoch, tiles, loss)

    def epoch(self, report: EpochReport) -> None:
        if self.trial is not None:
            by_name = {"loss": report.val_loss, "accuracy": report.val_accuracy}
            report_epoch(self.trial, report.epoch, by_name.get(self.choose_by, report.val_balanced_accuracy))

    def stop(self) -> None:
        self.told.stop()
