"""Training, from a configuration to models. Needs torch, so that commands import it when they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from models.data import LabelledSlide, TileSet, grouped_by_stain, read_folder, read_slides
from models.data.duplicates import find_duplicates
from models.evaluation.thresholds import Rule
from models.splits import as_given, k_folds, leave_one_site_out, refuse_one_class
from models.training.device import ONE_DEVICE, Hardware
from models.training.folds import train_folds
from models.training.settings import TrainSettings
from models.training.train import train as train_model
from pipelines.config import TrainConfig, TrainFile
from pipelines.console import err, progress_bar
from wsi.errors import InputError


@dataclass(frozen=True)
class TrainingSlides:
    """Labelled slides to train on, to choose the best epoch by (none: part of the first are held out), and to test."""

    train: tuple[LabelledSlide, ...] = ()
    val: tuple[LabelledSlide, ...] = ()
    test: tuple[LabelledSlide, ...] = ()


def training_slides(
    train: Sequence[Path], val: Sequence[Path], test: Sequence[Path], cases: Sequence[str] | None
) -> TrainingSlides:
    """Folders with slide.json and labels.parquet, and the case of each, in that order; None: no case is known.

    Raises InputError where cases and folders are not as many.
    """
    folders = [*train, *val, *test]
    named = cases or [""] * len(folders)
    if len(named) != len(folders):
        raise InputError(
            f"{len(named)} --case for {len(folders)} slides (--slide, --val-slide, --test-slide); "
            "give one for each, or none"
        )
    labelled = tuple(
        LabelledSlide(folder / "slide.json", folder / "labels.parquet", case or None)
        for folder, case in zip(folders, named, strict=True)
    )
    first, second = len(train), len(train) + len(val)
    return TrainingSlides(labelled[:first], labelled[first:second], labelled[second:])


def train(
    config: TrainFile,
    out: Path,
    slides: TrainingSlides | None = None,
    threads: int | None = None,
    hardware: Hardware = ONE_DEVICE,
) -> dict[str, object]:
    """A model in `out`: model.safetensors, model.json, metrics.json, plots/. Returns provenance with metrics."""
    if threads is not None:
        torch.set_num_threads(threads)
    slides = slides or TrainingSlides()
    train_set, test_set = tile_sets(config.train, slides)
    parts = as_given(train_set, {str(slide.slide) for slide in slides.val}) if slides.val else None
    trained = train_model(settings_of(config), train_set, test_set, out, parts=parts, hardware=hardware)
    return trained.checkpoint.provenance


def cross_validate(
    config: TrainFile, out: Path, folds: int | None, slides: TrainingSlides | None = None, threads: int | None = None
) -> dict[str, object]:
    """A model a fold in `out`/fold-<n>, and folds.json; folds None leaves out one site after the other.

    Test folders and test slides are not touched.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    settings = settings_of(config)
    tiles, _ = tile_sets(config.train, replace(slides or TrainingSlides(), test=()), tested=False)
    if folds is None:
        splits = leave_one_site_out(tiles, settings.val_fraction, settings.seed)
    else:
        splits = k_folds(tiles, folds, settings.val_fraction, settings.seed)
    return train_folds(settings, tiles, splits, out)


def settings_of(config: TrainFile) -> TrainSettings:
    """The section `train`, with the section `tile`, as training takes them."""
    chosen = config.train
    return TrainSettings(
        architecture=chosen.architecture,
        tile=config.tile.spec,
        epochs=chosen.epochs,
        batch_size=chosen.batch_size,
        learning_rate=chosen.learning_rate,
        weight_decay=chosen.weight_decay,
        label_smoothing=chosen.label_smoothing,
        mixup=chosen.mixup,
        balance=chosen.balance,
        accumulate=chosen.accumulate,
        freeze_epochs=chosen.freeze_epochs,
        train_blocks=chosen.train_blocks,
        choose_by=chosen.choose_by,
        threshold=Rule(**chosen.threshold.model_dump()),
        patience=chosen.patience,
        augmentation=chosen.augmentation,
        tta=chosen.tta,
        stain=chosen.stain,
        pretrained=Path(chosen.pretrained) if isinstance(chosen.pretrained, str) else chosen.pretrained,
        val_fraction=chosen.val_fraction,
        precision=chosen.precision,
        seed=chosen.seed,
    )


def tile_sets(chosen: TrainConfig, slides: TrainingSlides, *, tested: bool = True) -> tuple[TileSet, TileSet | None]:
    """The tiles to train on, and those to test on, where there are some and `tested`. Raises InputError."""
    if chosen.slides:
        if not slides.train:
            raise InputError("train.slides is true, but no labelled slide was given (annotation, split: train)")
        train_set = read_slides(slides.train + slides.val)
        refuse_one_class(train_set)
        test_set = read_slides(slides.test, train_set.classes) if slides.test else None
        for each in filter(None, (train_set, test_set)):
            for note in each.notes:
                err.print(f"note: {note}")
        return train_set, test_set
    if slides.train or slides.val or slides.test:
        raise InputError("slides were given, but train.slides is false; set it to true, or leave them out")
    if chosen.folder is None or chosen.source_mpp is None:
        raise InputError("train.folder and train.source_mpp are needed, or train.slides: true")
    folders = [Path(folder) for folder in (chosen.folder, chosen.test_folder if tested else None) if folder]
    sets = [read_folder(folder, chosen.source_mpp, chosen.case_pattern) for folder in folders]
    refuse_one_class(sets[0])
    duplicates = find_duplicates(*sets)
    duplicates.refuse_contradictions()
    for warning in (*(f"{each.root}: {note}" for each in sets for note in each.notes), *duplicates.warnings):
        err.print(f"warning: {warning}")
    if chosen.group_by == "stain":
        with progress_bar("group tiles by stain") as told:
            sets[0] = grouped_by_stain(sets[0], told)
    return sets[0], sets[1] if len(sets) > 1 else None
