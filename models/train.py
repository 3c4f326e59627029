"""Train a tile classifier and leave behind a checkpoint, its figures and two pictures."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from models.augment import EvalCrop, Strength, TrainAugment
from models.checkpoint import Checkpoint, save_checkpoint
from models.data import TileSet
from models.loading import (
    Batch,
    EpochSampler,
    Samples,
    Split,
    decode_or_check,
    default_workers,
    labels_among,
    make_loader,
    split,
)
from models.loop import Best, Fit, Outcome, Schedule, choose_precision, make_fabric, run
from models.metrics import classification_metrics
from models.network import build, normalisation
from models.plots import plot_confusion, plot_curve
from models.progress import ConsoleReporter, EpochReport, Reporter
from models.torch_setup import seed_everything
from wsi.atomic import write_json
from wsi.errors import InputError, WsiError
from wsi.geometry import TileSpec

_PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
_PACKAGES = (
    "torch",
    "timm",
    "albumentations",
    "lightning-fabric",
    "opencv-python-headless",
    "numpy",
    "pillow",
)
_MAX_CLASS_WEIGHT = 10.0  # a class of three tiles must not drown the rest
_FLATTERED = 0.1  # a drop from validation to test that a person should hear of
_DEFAULT_TILE = TileSpec(128, 0.5, 128)


@dataclass(frozen=True)
class TrainSettings:
    """How to train. workers: None takes 0 for tiles that fit in memory, else one a spare core."""

    architecture: str = "efficientnet_b0"
    tile: TileSpec = _DEFAULT_TILE
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_fraction: float = 0.1
    label_smoothing: float = 0.05
    class_weights: bool = True
    augmentation: Strength = "light"
    pretrained: bool | Path = False
    val_fraction: float = 0.15
    precision: str = "auto"
    seed: int = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        rules = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 2, "2 or more"),
            "learning_rate": (self.learning_rate > 0, "a number above 0, such as 0.001"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "warmup_fraction": (0 <= self.warmup_fraction < 1, "0 to below 1"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "0 to below 1"),
            "augmentation": (self.augmentation in get_args(Strength), f"one of {get_args(Strength)}"),
            "val_fraction": (0 < self.val_fraction < 1, "above 0 and below 1"),
            "precision": (self.precision in _PRECISIONS, f"one of {_PRECISIONS}"),
            "seed": (self.seed >= 0, "0 or more"),
            "workers": (self.workers is None or self.workers >= 0, "0 or more"),
        }
        faults = [f"train.{k} is {getattr(self, k)!r}; give {text}" for k, (good, text) in rules.items() if not good]
        if faults:
            raise InputError("; ".join(faults))


def train(
    settings: TrainSettings,
    train_set: TileSet,
    test_set: TileSet | None,
    out: Path,
    *,
    reporter: Reporter | None = None,
) -> Checkpoint:
    """Train on part of `train_set`, choose the best epoch on the rest, measure once on `test_set`.

    Writes model.safetensors, model.json, metrics.json, plots/curve.png and plots/confusion.png into `out`.
    Raises InputError for tiles that cannot be used (all named at once) before any training, WsiError with a
    batch size to try where memory runs out.
    """
    try:
        return _train(settings, train_set, test_set, out, reporter or ConsoleReporter())
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(settings) from error
    except WsiError as error:
        lines = str(error).strip().splitlines()
        if len(lines) == 1:
            raise
        # A loader's worker hands its error over inside a traceback, of which the last line is the error.
        raise type(error)(lines[-1].split(": ", 1)[-1]) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
            raise _out_of_memory(settings) from error
        raise


def _out_of_memory(settings: TrainSettings) -> WsiError:
    return WsiError(
        f"out of memory training {settings.architecture} with train.batch_size {settings.batch_size} of "
        f"{settings.tile.size_px} px; set train.batch_size to {max(2, settings.batch_size // 2)}"
    )


def _train(
    settings: TrainSettings, train_set: TileSet, test_set: TileSet | None, out: Path, reporter: Reporter
) -> Checkpoint:
    seed_everything(settings.seed)
    parts = split(train_set, settings.val_fraction, settings.seed)
    classes = train_set.classes
    test_labels = labels_among(test_set, classes) if test_set is not None else None
    network = build(settings.architecture, len(classes), settings.pretrained, settings.tile.size_px)
    mean, std = normalisation(network)
    cache = decode_or_check(train_set, settings.tile)
    test_loader = _test_loader(settings, test_set, test_labels)

    precision, speeds = settings.precision, dict[str, float]()
    if precision == "auto":
        precision, speeds = choose_precision(network, settings.batch_size, settings.tile.size_px)
    fabric = make_fabric(precision)
    train_loader, sampler, val_loader = _loaders(settings, train_set, parts, cache)
    schedule = Schedule(
        settings.learning_rate,
        settings.weight_decay,
        settings.warmup_fraction,
        settings.label_smoothing,
        settings.epochs,
        len(train_loader),
    )
    weights = _class_weights(train_set.labels[parts.train], len(classes)) if settings.class_weights else None
    fit = Fit(network, fabric, schedule, mean, std, weights)
    reporter.start(settings.epochs, len(train_loader) * (train_loader.batch_size or 1))
    try:
        best, history = run(fit, train_loader, sampler, val_loader, _score(classes), reporter)
    finally:
        reporter.stop()

    network.load_state_dict(best.weights)
    test = fit.evaluate(test_loader, network) if test_loader is not None else None
    metrics = _metrics(best, history, test, classes, parts)
    provenance = {
        **_environment(str(fabric.device), precision, speeds),
        "settings": _plain(settings),
        "data": _data(train_set, parts, test_set),
        "best_epoch": best.epoch,
        "val": metrics["val"],
        "test": metrics["test"],
    }
    checkpoint = Checkpoint(settings.architecture, classes, settings.tile, mean, std, provenance=provenance)
    save_checkpoint(out, checkpoint, best.weights)
    write_json(out / "metrics.json", metrics)
    plot_curve(out / "plots" / "curve.png", history, best.epoch)
    name = "test" if test is not None else "val"
    plot_confusion(
        out / "plots" / "confusion.png",
        metrics[name]["confusion"],
        classes,
        f"{'test' if test is not None else 'validation'}, accuracy {metrics[name]['accuracy']:.3f}",
    )
    return checkpoint


def _loaders(
    settings: TrainSettings, tiles: TileSet, parts: Split, cache: Sequence[NDArray[np.uint8]] | None
) -> tuple[DataLoader[Batch], EpochSampler, DataLoader[Batch]]:
    """Batches to train on, the sampler that shuffles them, and batches to choose the best epoch by."""
    size, seed = settings.tile.size_px, settings.seed
    workers = default_workers(cache is not None) if settings.workers is None else settings.workers
    batch = min(settings.batch_size, len(parts.train))
    if batch < 2:
        raise InputError(f"{len(parts.train)} tiles are left to train on; 2 is the least")
    pin = torch.cuda.is_available()
    augment = TrainAugment(size, settings.augmentation)
    to_train = Samples(tiles, settings.tile, parts.train, tiles.labels, augment, seed, cache)
    to_val = Samples(tiles, settings.tile, parts.val, tiles.labels, EvalCrop(size), seed, cache)
    sampler = EpochSampler(len(to_train), seed, shuffle=True)
    # A last batch of one tile would leave batch norm without a variance.
    train_loader = make_loader(to_train, sampler, batch, workers, drop_last=True, pin=pin)
    unshuffled = EpochSampler(len(to_val), seed, shuffle=False)
    return train_loader, sampler, make_loader(to_val, unshuffled, batch, workers, drop_last=False, pin=pin)


def _test_loader(
    settings: TrainSettings, tiles: TileSet | None, labels: NDArray[np.int64] | None
) -> DataLoader[Batch] | None:
    if tiles is None or labels is None:
        return None
    cache = decode_or_check(tiles, settings.tile)
    samples = Samples(
        tiles,
        settings.tile,
        np.arange(len(tiles)),
        labels,
        EvalCrop(settings.tile.size_px),
        settings.seed,
        cache,
    )
    workers = default_workers(cache is not None) if settings.workers is None else settings.workers
    sampler = EpochSampler(len(samples), settings.seed, shuffle=False)
    return make_loader(samples, sampler, settings.batch_size, workers, drop_last=False, pin=torch.cuda.is_available())


def _class_weights(labels: NDArray[np.int64], classes: int) -> list[float]:
    """Weights that let every class count the same in the loss."""
    counts = np.bincount(labels, minlength=classes)
    return [float(min(_MAX_CLASS_WEIGHT, len(labels) / (classes * max(1, n)))) for n in counts]


def _score(classes: Sequence[str]) -> Callable[[Outcome], tuple[float, float]]:
    def score(outcome: Outcome) -> tuple[float, float]:
        figures = classification_metrics(outcome.labels, outcome.predicted, classes)
        return figures["accuracy"], figures["balanced_accuracy"]

    return score


def _metrics(
    best: Best, history: Sequence[EpochReport], test: Outcome | None, classes: Sequence[str], parts: Split
) -> dict[str, Any]:
    def figures(outcome: Outcome) -> dict[str, Any]:
        return {**classification_metrics(outcome.labels, outcome.predicted, classes), "loss": outcome.loss}

    val, tested = figures(best.val), figures(test) if test is not None else None
    if parts.by_tile:
        val["warnings"].append(f"{parts.how}: tiles of one slide are on both sides, so these figures flatter")
    if tested is not None and tested["balanced_accuracy"] < val["balanced_accuracy"] - _FLATTERED:
        tested["warnings"].append(
            f"balanced accuracy {tested['balanced_accuracy']:.3f}, far below validation's "
            f"{val['balanced_accuracy']:.3f}: the test tiles differ from those trained on (cases, stain, scanner)"
        )
    return {
        "best_epoch": best.epoch,
        "val": val,
        "test": tested,
        "history": [asdict(entry) for entry in history],
    }


def _environment(device: str, precision: str, speeds: dict[str, float]) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "packages": {"python": platform.python_version(), **versions},
        "device": device,
        "precision": precision,
        "precision_trial_tiles_per_s": {name: round(speed, 1) for name, speed in speeds.items()},
    }


def _data(train_set: TileSet, parts: Split, test_set: TileSet | None) -> dict[str, Any]:
    def counts(labels: NDArray[np.int64]) -> dict[str, int]:
        return {name: int(np.count_nonzero(labels == i)) for i, name in enumerate(train_set.classes)}

    return {
        "fingerprint": train_set.fingerprint(),
        "test_fingerprint": test_set.fingerprint() if test_set is not None else None,
        "split": parts.how,
        "train_tiles": counts(train_set.labels[parts.train]),
        "val_tiles": counts(train_set.labels[parts.val]),
    }


def _plain(settings: TrainSettings) -> dict[str, Any]:
    values = asdict(settings)
    if isinstance(settings.pretrained, Path):
        values["pretrained"] = str(settings.pretrained)
    return values
