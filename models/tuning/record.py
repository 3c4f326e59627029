"""What is written down of a search: every trial, the best one, and whether it is more than luck."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.data import TileSet
from models.splits import Split
from models.training.settings import TrainSettings
from models.tuning.plots import plot_history, plot_parameters
from models.tuning.space import Space, plain
from models.tuning.study import FOLDER, OWN, WHY, counted, interrupted
from wsi.atomic import write_json, writing

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FORMAT = "tesela-tune/1"
_STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
_BEST = 5  # trials whose spread is told, and the least from which luck is judged


def done_value(folder: Path, choose_by: str) -> float | None:
    """The validation figure of a training that ended in `folder`; None where there is none."""
    try:
        return float(json.loads((folder / "metrics.json").read_text("utf-8"))["val"][choose_by])
    except FileNotFoundError:
        return None


def line_of(study: Study, choose_by: str, wanted: int) -> str:
    """The last trial in one line, and the best so far."""
    trials = counted(study)
    last = trials[-1]
    figure = choose_by.replace("_", " ")
    chosen = " ".join(f"{name} {_short(value)}" for name, value in last.params.items())
    done = [trial for trial in trials if _STATES[trial.state.name] == "finished"]
    state = _STATES[last.state.name]
    ended = {
        "finished": f"{figure} {last.value:.4f}" if last.value is not None else "",
        "pruned": f"pruned after epoch {max(last.intermediate_values, default=0)}",
        "failed": f"failed: {last.user_attrs.get(WHY)}",
    }[state]
    best = f"  best so far {study.best_value:.4f} (trial {_number(study.best_trial)})" if done else ""
    return f"trial {_number(last)} ({len(trials)} of {wanted})  {ended}  {chosen}  {_seconds(last):.0f} s{best}"


def write_trials(path: Path, study: Study, space: Space) -> None:
    """Write trials.csv: a row a trial. epochs: trained, of all folds; why: of a failed one."""
    with writing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        sheet = csv.writer(stream, lineterminator="\n")
        sheet.writerow(["number", "state", "value", "epochs", "seconds", *space, "why"])
        for trial in counted(study):
            finished = trial.state.name == "COMPLETE"
            sheet.writerow(
                [
                    _number(trial),
                    _STATES[trial.state.name],
                    trial.value if finished else "",
                    _epochs(path.parent / "trials" / str(_number(trial)), trial),
                    round(_seconds(trial), 1),
                    *(trial.params.get(name, "") for name in space),
                    trial.user_attrs.get(WHY, ""),
                ]
            )


def write_results(
    study: Study, settings: TrainSettings, space: Space, out: Path, splits: Sequence[Split], tiles: TileSet
) -> dict[str, Any]:
    """Write tune.json and plots/; returns what tune.json says."""
    trials = counted(study)
    count = sum(len(split.val) for split in splits)
    found = {
        "format": FORMAT,
        "figure": f"{settings.choose_by} of the validation tiles",
        "choose_by": settings.choose_by,
        "validation_tiles": count,
        "folds": len(splits) if len(splits) > 1 else None,
        "split": splits[0].how,
        "data_fingerprint": tiles.fingerprint(),
        "space": plain(space),
        "trials": {state: sum(trial.state.name == name for trial in trials) for name, state in _STATES.items()},
        "interrupted_and_run_again": interrupted(study),
        **_best(study, trials, settings, count),
    }
    found["warnings"] = _warnings(found, space)
    write_trials(out / "trials.csv", study, space)
    write_json(out / "tune.json", found)
    plot_history(out / "plots" / "history.png", trials, settings.choose_by)
    plot_parameters(out / "plots" / "parameters.png", trials, space, settings.choose_by)
    return found


def _best(study: Study, trials: Sequence[FrozenTrial], settings: TrainSettings, tiles: int) -> dict[str, Any]:
    """The best trial beside the others. own: the configuration as it stood; None where it was not tried."""
    sign = -1 if settings.choose_by == "loss" else 1
    done = [trial for trial in trials if trial.state.name == "COMPLETE" and trial.value is not None]
    values = sorted((float(trial.value) for trial in done if trial.value is not None), key=lambda v: -sign * v)
    best, median = study.best_trial, float(np.median(values))
    own = [trial.value for trial in done if trial.user_attrs.get(OWN)]
    return {
        "best": {
            "trial": _number(best),
            "value": values[0],
            "parameters": dict(best.params),
            "epochs": settings.epochs,
        },
        "own": own[0] if own else None,
        "median": median,
        "gain_over_median": sign * (values[0] - median),
        "spread_of_best": {"trials": len(values[:_BEST]), "from_best_to_worst": abs(values[0] - values[:_BEST][-1])},
        "noise_95": None if settings.choose_by == "loss" else noise_of(values[0], tiles),
    }


def noise_of(share: float, tiles: int) -> float:
    """Half the 95 % interval of a share measured on so many tiles (Agresti and Coull, 1998: that of 1 is noisy too).

    As if tiles were independent: those of one case are alike, and the noise is larger then.
    """
    adjusted = (share * tiles + 2) / (tiles + 4)
    return 1.96 * math.sqrt(adjusted * (1 - adjusted) / (tiles + 4))


def _warnings(found: dict[str, Any], space: Space) -> list[str]:
    """What speaks against the best trial."""
    warnings = []
    finished, best = found["trials"]["finished"], found["best"]
    if finished < _BEST:
        warnings.append(f"only {finished} trials were finished: too few to tell a good one from a lucky one")
    elif found["noise_95"] is None:
        warnings.append("how noisy a loss is was not measured: whether the best is more than chance is not known")
    elif found["gain_over_median"] < found["noise_95"]:
        warnings.append(
            f"the search found nothing that chance does not: the best is {found['gain_over_median']:.4f} better than "
            f"the median trial, and {found['validation_tiles']} validation tiles are noisy by {found['noise_95']:.4f}"
        )
    for name, value in best["parameters"].items():
        if (end := space[name].border(value)) is not None:
            warnings.append(f"the best {name}, {_short(value)}, lies at the {end} end of what was searched; widen it")
    return warnings


def _number(trial: FrozenTrial) -> int:
    """By which a trial is known: its folder's. One that was interrupted keeps it."""
    return int(trial.user_attrs.get(FOLDER, trial.number))


def _seconds(trial: FrozenTrial) -> float:
    return trial.duration.total_seconds() if trial.duration is not None else 0.0


def _epochs(folder: Path, trial: FrozenTrial) -> int:
    written = [json.loads(path.read_text("utf-8"))["history"] for path in folder.rglob("metrics.json")]
    return sum(map(len, written)) if written else len(trial.intermediate_values)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
