"""Train a tile classifier and leave behind a checkpoint, its figures and its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.balance import class_weights, times_seen
from models.checkpoint import Checkpoint, save_checkpoint
from models.data import TileSet
from models.evaluation.plots import plot_all
from models.loading import decode_or_check, labels_among
from models.metrics import classification_metrics
from models.network import build, normalisation, out_of_memory
from models.plots import plot_curve, plot_tiles
from models.progress import ConsoleReporter, EpochReport, Reporter, SilentReporter
from models.splits import Split, holdout, refuse_shared_cases
from models.splitsheet import write_split
from models.stain import Normaliser
from models.torch_setup import seed_everything
from models.tracking import tracked
from models.training.device import ONE_DEVICE, Hardware, leave, make_fabric, precision_for
from models.training.fit import Fit, Outcome, Schedule
from models.training.judge import Seen, Tested, Verdict, judge
from models.training.loaders import Loaders, loaders_for, test_loader
from models.training.loop import Best, Score, Training
from models.training.mixing import mixed
from models.training.record import data_of, environment, metrics_of, summary_of
from models.training.resume import forget_state, key_of
from models.training.settings import TrainSettings
from models.training.staining import found_stain
from wsi.atomic import write_json
from wsi.errors import WsiError

_SHOWN = 24  # tiles in the picture of a batch


@dataclass(frozen=True, eq=False)
class Trained:
    """A model as it was written, and what it is worth."""

    checkpoint: Checkpoint
    verdict: Verdict


def train(
    settings: TrainSettings,
    train_set: TileSet,
    test_set: TileSet | None,
    out: Path,
    *,
    parts: Split | None = None,
    reporter: Reporter | None = None,
    hardware: Hardware = ONE_DEVICE,
) -> Trained:
    """Train on part of `train_set`, choose the best epoch on the rest, measure once on `test_set`.

    parts: how `train_set` is parted; its test part, where it has one, takes the place of `test_set`. None holds out
    `val_fraction` of it.

    Writes model.safetensors, model.json, metrics.json, splits.csv and plots/ into `out`. A training that was killed
    goes on after its last epoch, where settings and tiles are the same.

    hardware: of several devices each takes its part of every batch, and a process runs this whole function for each;
    the first of them writes.
    Raises InputError for tiles that cannot be used (all named at once) before any training, WsiError with a
    batch size to try where memory runs out.
    """
    try:
        seed_everything(settings.seed)
        parts = parts or holdout(train_set, settings.val_fraction, settings.seed)
        return _train(settings, train_set, test_set, parts, out, reporter or ConsoleReporter(), hardware)
    except WsiError as error:
        lines = str(error).strip().splitlines()
        if len(lines) == 1:
            raise
        # A loader's worker hands its error over inside a traceback, of which the last line is the error.
        raise type(error)(lines[-1].split(": ", 1)[-1]) from error
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            raise _out_of_memory(settings) from error
        raise


def _out_of_memory(settings: TrainSettings) -> WsiError:
    return WsiError(
        f"out of memory training {settings.architecture} with train.batch_size {settings.batch_size} of "
        f"{settings.tile.size_px} px; set train.batch_size to {max(2, settings.batch_size // 2)}"
    )


def _train(
    settings: TrainSettings,
    train_set: TileSet,
    test_set: TileSet | None,
    parts: Split,
    out: Path,
    reporter: Reporter,
    hardware: Hardware,
) -> Trained:
    classes = train_set.classes
    # Before anything is decoded, since these may refuse.
    test_labels = _test_labels(train_set, test_set)
    groups = None if train_set.groups is None else [train_set.groups[index] for index in parts.train]
    times = times_seen(train_set.labels[parts.train], settings.balance, groups)
    network = build(settings.architecture, len(classes), settings.pretrained, settings.tile.size_px)
    mean, std = normalisation(network)
    seen = Seen(train_set, decode_or_check(train_set, settings.tile))
    stain = found_stain(settings, seen, parts.train)
    tested = _tested(seen, test_set, test_labels, parts, settings)
    shown = None if times is None else times.tolist()
    key = key_of(settings.plain(), train_set.fingerprint(), classes, parts.train.tolist(), shown, asdict(hardware))
    precision, speeds = precision_for(settings, network, out, key, hardware)
    some_frozen = settings.freeze_epochs > 0 or settings.train_blocks is not None
    fabric = make_fabric(precision, hardware, some_frozen=some_frozen)
    fabric.launch()
    first = fabric.is_global_zero
    reporter = tracked(reporter, settings, out) if first else SilentReporter()
    loaders = loaders_for(settings, seen, parts, times, fabric, stain)
    weights = class_weights(train_set.labels[parts.train], len(classes)) if settings.balance == "weights" else None
    mix = mixed(settings.mixup, len(classes))
    fit = Fit(network, fabric, _schedule(settings, len(loaders.train)), mean, std, weights, mix)
    if first:
        _plot_batch(out / "plots" / "batch.png", loaders, classes)
    _say_left_out(loaders, reporter)
    reporter.start(settings.epochs, loaders.epoch_tiles)
    try:
        best, history = Training(fit, settings, loaders, _score(classes)).run(reporter, out, key, precision)
    finally:
        reporter.stop()

    network.load_state_dict(best.weights)
    val = best.val if settings.tta == "none" else fit.of_all(fit.evaluate(loaders.val, network, settings.tta))
    test = None if tested is None else fit.evaluate(test_loader(settings, tested, stain), network, settings.tta)
    verdict = judge(seen, parts, val, tested, test, settings.tile, settings.threshold)
    provenance = {
        **environment(str(fabric.device), precision, speeds),
        "settings": settings.plain(),
        "data": data_of(train_set, parts, test_set),
        "best_epoch": best.epoch,
        "val": summary_of(verdict.val),
        "test": summary_of(verdict.test),
    }
    checkpoint = _checkpoint(settings, classes, fit, verdict, stain, provenance)
    leave(fabric)
    if first:
        checkpoint = _write(out, checkpoint, verdict, best, history)
        write_split(out / "splits.csv", train_set, parts)
        reporter.warned(verdict.figures["warnings"])
        forget_state(out)
        reporter.finished(out, provenance)
    return Trained(checkpoint, verdict)


def _say_left_out(loaders: Loaders, reporter: Reporter) -> None:
    if loaders.epoch_left_out:
        reporter.said(
            f"{loaders.epoch_left_out} of {loaders.epoch_tiles + loaders.epoch_left_out} tiles are left out of each "
            "epoch, others each time: batches are of whole pairs (train.mixup), or of as many tiles for each device"
        )


def _checkpoint(
    settings: TrainSettings,
    classes: tuple[str, ...],
    fit: Fit,
    verdict: Verdict,
    stain: Normaliser | None,
    provenance: dict[str, Any],
) -> Checkpoint:
    return Checkpoint(
        settings.architecture,
        classes,
        settings.tile,
        fit.mean,
        fit.std,
        temperature=verdict.temperature,
        thresholds=verdict.thresholds,
        provenance=provenance,
        stain=stain,
        tta=settings.tta,
    )


def _write(
    out: Path, checkpoint: Checkpoint, verdict: Verdict, best: Best, history: Sequence[EpochReport]
) -> Checkpoint:
    """The checkpoint, its figures and its pictures; returns the checkpoint with the digests of what was written."""
    written = save_checkpoint(out, checkpoint, best.weights)
    write_json(out / "metrics.json", metrics_of(written, verdict, history, best.epoch))
    plot_curve(out / "plots" / "curve.png", history, best.epoch)
    plot_all(out / "plots", verdict.shown, verdict.figures)
    return written


def _tested(
    seen: Seen, test_set: TileSet | None, labels: NDArray[np.int64] | None, parts: Split, settings: TrainSettings
) -> Tested | None:
    """The tiles that are measured once: of a set of their own, else of the split's test part; None without either."""
    if test_set is not None and labels is not None:
        return Tested(Seen(test_set, decode_or_check(test_set, settings.tile)), np.arange(len(test_set)), labels)
    if len(parts.test):
        return Tested(seen, parts.test, seen.tiles.labels[parts.test])
    return None


def _test_labels(train_set: TileSet, test_set: TileSet | None) -> NDArray[np.int64] | None:
    """Raises InputError where a case is in both sets, or the test set has a class that training has not."""
    if test_set is None:
        return None
    refuse_shared_cases(train_set, test_set)
    return labels_among(test_set, train_set.classes)


def _plot_batch(path: Path, loaders: Loaders, classes: Sequence[str]) -> None:
    """What the first epoch begins with, as the network sees it: the quickest way to see colours or sizes go wrong."""
    loaders.sampler.set_epoch(1)
    samples = [loaders.train.dataset[key] for key in islice(loaders.sampler, _SHOWN)]
    tiles, names = [tile.numpy() for tile, _ in samples], [classes[int(label)] for _, label in samples]
    plot_tiles(path, tiles, names, "training tiles, as augmented")


def _schedule(settings: TrainSettings, batches: int) -> Schedule:
    return Schedule(
        settings.learning_rate,
        settings.weight_decay,
        settings.warmup_fraction,
        settings.label_smoothing,
        settings.epochs,
        batches,
        settings.accumulate,
    )


def _score(classes: Sequence[str]) -> Score:
    def score(outcome: Outcome) -> dict[str, float]:
        figures = classification_metrics(outcome.labels, outcome.predicted, classes)
        return {name: figures[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")}

    return score
