"""What the page says of a model: the warnings first, then its figures, what it confuses, its thresholds, its plots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.present import present_of
from pipelines.reporting.pictures import Picture, plot
from pipelines.status import read_json
from wsi.errors import InputError

# Files of plots/, in the order shown, and what stands under each. The confusions are a table of the page.
_PLOTS = {
    "reliability": "Bars on the line: a probability of 0.8 is right 8 times in 10. Bars below it: too sure.",
    "roc": "How much of each class is found, at each share of the rest that is falsely called it.",
    "precision_recall": "How much of what is called a class is of it, at each share of the class that is found.",
    "thresholds": "What each threshold misses and what it calls falsely, each class against the rest.",
    "curve": "How it learned: the loss, and what the validation tiles said after each epoch.",
    "batch": "Tiles as the network saw them in training.",
}
_WIDE = frozenset({"thresholds", "curve", "batch", "reliability"})
# Name, key of metrics.json, what it means.
_FIGURES = (
    ("Balanced accuracy", "balanced_accuracy", "mean recall of the classes"),
    ("Accuracy", "accuracy", ""),
    ("Macro F1", "macro_f1", ""),
    ("Macro AUC", "macro_auc", "each class against the rest"),
    ("Log loss", "log_loss", "0 is perfect"),
    ("Brier score", "brier", "0 is perfect, 2 is worst"),
)
_SHADES = 9


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval; None where the training did not find one."""

    name: str
    meaning: str
    value: float
    interval: Sequence[float] | None


@dataclass(frozen=True)
class Confused:
    """A cell of the confusion table: tiles, share of the row's class (0-1), its shade (0-9)."""

    tiles: int
    share: float
    shade: int


@dataclass(frozen=True)
class Plot:
    """A plot, its name, and what it shows."""

    picture: Picture
    title: str
    caption: str
    wide: bool


@dataclass(frozen=True)
class ModelPage:
    """A model that the run trained. `description`: model.json; `found`: its metrics on `on`, the test or val tiles.

    settings: what it was trained with, as text. problem: why there is nothing but a name; empty where all is well.
    """

    name: str
    problem: str = ""
    description: Mapping[str, Any] | None = None
    found: Mapping[str, Any] | None = None
    on: str = ""
    figures: tuple[Figure, ...] = ()
    confusion: tuple[tuple[str, tuple[Confused, ...]], ...] = ()
    plots: tuple[Plot, ...] = ()
    settings: str = ""


def models_of(run: Path) -> list[ModelPage]:
    """The models that a run trained, by name. What is wrong with one is said, not raised."""
    return [_page(folder) for folder in sorted((run / "models").glob("*")) if (folder / "model.json").exists()]


def _page(folder: Path) -> ModelPage:
    try:
        return _described(folder, read_json(folder / "model.json"), read_json(folder / "metrics.json"))
    except InputError as error:
        return ModelPage(folder.name, str(error))
    except (KeyError, TypeError, ValueError, OSError) as error:
        return ModelPage(folder.name, f"{folder}: its figures cannot be shown ({error!r}); train it again")


def _described(folder: Path, description: dict[str, Any], metrics: dict[str, Any]) -> ModelPage:
    on = "test" if metrics.get("test") else "val"
    found = metrics[on]
    tile = description["tile"]
    between, present = found.get("intervals", {}), present_of(found)
    return ModelPage(
        folder.name,
        description={**description, "tile": {"size_px": int(tile["size_px"]), "mpp": float(tile["mpp"])}},
        found={**found, "warnings": _all_warnings(metrics, on)},
        on=on,
        figures=tuple(
            Figure(name, meaning + (present if key == "balanced_accuracy" else ""), float(found[key]), between.get(key))
            for name, key, meaning in _FIGURES
            if found.get(key) is not None
        ),
        confusion=tuple(zip(found["classes"], map(_shaded, found["confusion"]), strict=True)),
        plots=tuple(_plots(folder / "plots")),
        settings=json.dumps(description["provenance"].get("settings", {}), indent=2, ensure_ascii=False),
    )


def _all_warnings(metrics: dict[str, Any], on: str) -> list[str]:
    """Those of the figures shown; and of the validation tiles, which chose the epoch and the thresholds."""
    own = list(metrics[on].get("warnings", ()))
    if on == "val":
        return own
    return own + [f"validation: {warning}" for warning in metrics["val"].get("warnings", ()) if warning not in own]


def _shaded(row: Sequence[int]) -> tuple[Confused, ...]:
    total = max(1, sum(row))
    return tuple(Confused(int(tiles), tiles / total, round(_SHADES * tiles / total)) for tiles in row)


def _plots(folder: Path) -> Iterable[Plot]:
    for name, caption in _PLOTS.items():
        path = folder / f"{name}.png"
        if path.exists():
            yield Plot(plot(path), f"Plot of {name.replace('_', ' ')}", caption, name in _WIDE)
