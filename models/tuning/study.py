"""The study in SQLite: opened again after a kill, refused where it is of another search. All that is Optuna's is here.

Trials are asked for and told one by one. The sampler is seeded anew for each of them, by how many went before, so that
a study that was stopped goes on as an unbroken one.
"""

from __future__ import annotations

import fcntl
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.progress import Stopped
from wsi.errors import InputError

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

FOLDER, WHY, INTERRUPTED, OWN = "folder", "why", "interrupted", "own"
_MADE_OF, _NAME = "made_of", "tesela"
_STARTUP_TRIALS = 5  # finished, before any is pruned


def require_optuna() -> None:
    """Raise InputError where Optuna is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise InputError("`tesela tune` needs Optuna; install it: pip install 'tesela[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every trial; we do so ourselves


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold `folder`, so that a trial that runs there is known to be killed. Raises InputError where it is held."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{folder}: another `tesela tune` is at work there; wait for it, or give another --out"
            ) from error
        yield


def open_study(
    path: Path, made_of: Mapping[str, Any], *, minimize: bool, free_epochs: int, own: Mapping[str, Any] | None
) -> Study:
    """The study at `path`, made where there is none. Trials that were running when it was left wait to run again.

    made_of: what its trials depend on, as JSON holds it. free_epochs: a trial is not pruned before. own: values of the
    first trial. Raises InputError where the study is made of something else, naming it, or is no study.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name=_NAME,
            load_if_exists=True,
            direction="minimize" if minimize else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=free_epochs),
        )
    except (SQLAlchemyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not a study of this Optuna ({reason}); give another --out, or remove it") from error
    if _MADE_OF not in study.user_attrs:
        study.set_user_attr(_MADE_OF, dict(made_of))
    _refuse_other(path, study.user_attrs[_MADE_OF], made_of)
    _run_again(study)
    if own is not None and not study.trials:
        study.enqueue_trial(dict(own), user_attrs={OWN: True})
    return study


def _refuse_other(path: Path, found: Mapping[str, Any], made_of: Mapping[str, Any]) -> None:
    for name in (*made_of, *(set(found) - set(made_of))):
        was, now = found.get(name), made_of.get(name)
        if was != now:
            shown = f" ({was!r} there, {now!r} here)" if max(len(str(was)), len(str(now))) < 60 else ""
            raise InputError(
                f"{path}: made with another {name}{shown}; give another --out, or remove the folder to start anew"
            )


def _run_again(study: Study) -> None:
    """Queue what was running when the process ended, to go on in the same folder with the same values."""
    from optuna.trial import TrialState

    queued = {trial.user_attrs.get(FOLDER) for trial in study.get_trials(states=[TrialState.WAITING])}
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        folder = trial.user_attrs.get(FOLDER, trial.number)
        if folder not in queued and WHY not in trial.user_attrs:
            epochs = {str(step): value for step, value in trial.intermediate_values.items()}
            attributes = {**trial.user_attrs, FOLDER: folder, INTERRUPTED: epochs}
            study.enqueue_trial(trial.params, user_attrs=attributes)
        study.tell(trial.number, state=TrialState.FAIL)


def next_trial(study: Study, seed: int) -> Trial:
    """The next trial to run, with its folder's number (`FOLDER`) and what it reported before it was interrupted."""
    import optuna

    number = len(counted(study))
    draw = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=draw)
    trial = study.ask()
    if FOLDER not in trial.user_attrs:
        trial.set_user_attr(FOLDER, trial.number)
    for step, value in trial.user_attrs.get(INTERRUPTED, {}).items():
        trial.report(value, int(step))
    return trial


def report_epoch(trial: Trial, epoch: int, value: float) -> None:
    """Tell the pruner. Raises Stopped where the trial is not worth going on with."""
    with warnings.catch_warnings():  # an epoch that is trained again after a kill was reported already
        warnings.simplefilter("ignore", UserWarning)
        trial.report(value, epoch)
    if trial.should_prune():
        raise Stopped(f"pruned after epoch {epoch}: worse than the median of the trials before it")


def counted(study: Study) -> Sequence[FrozenTrial]:
    """Trials that are over, by number: without those that were interrupted, which ran again."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished() and not _ran_again(trial)]


def interrupted(study: Study) -> int:
    """How many trials were interrupted, and ran again."""
    return sum(trial.state.is_finished() and _ran_again(trial) for trial in study.get_trials(deepcopy=False))


def _ran_again(trial: FrozenTrial) -> bool:
    """A trial that failed by itself says why."""
    return trial.state.name == "FAIL" and WHY not in trial.user_attrs
