"""The search for better settings, from a configuration to a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from models.splits import as_given
from models.tuning import Choices, Range, TuneOptions, default_space
from models.tuning import tune as tune_settings
from models.tuning.space import Space
from pipelines.config import RangeConfig, TrainConfig, TrainFile
from pipelines.learning import TrainingSlides, settings_of, tile_sets
from wsi.atomic import writing
from wsi.errors import InputError


def tune(
    config: TrainFile,
    out: Path,
    options: TuneOptions,
    slides: TrainingSlides | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """study.db, trials/, trials.csv, tune.json, best.yaml and plots/ in `out`; returns what tune.json says.

    Test folders and test slides are not touched. Raises InputError where Optuna is missing, or the space holds what
    cannot be trained.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    slides = slides or TrainingSlides()
    settings = settings_of(config)
    space = space_of(config)
    tiles, _ = tile_sets(config.train, TrainingSlides(slides.train, slides.val), tested=False)
    parts = as_given(tiles, {str(slide.slide) for slide in slides.val}) if slides.val else None
    found = tune_settings(settings, tiles, space, out, options, parts=parts)
    _write_best(out / "best.yaml", config, found)
    return found


def space_of(config: TrainFile) -> Space:
    """What `tune` says, else the default. Raises InputError where a value does not go with the rest of `train`."""
    searched = config.tune.searched()
    if not searched:
        return default_space(settings_of(config))
    for name, one in searched.items():
        for value in (one.low, one.high) if isinstance(one, RangeConfig) else one:
            try:
                settings_of(_with(config, {name: value}))
            except InputError as error:
                raise InputError(f"tune.{name}: {error}") from error
    return {
        name: Range(one.low, one.high, one.log, isinstance(one.low, int))
        if isinstance(one, RangeConfig)
        else Choices(one)
        for name, one in searched.items()
    }


def _with(config: TrainFile, values: dict[str, Any]) -> TrainFile:
    train = TrainConfig.model_validate({**config.train.model_dump(), **values})
    return TrainFile(tile=config.tile, train=train)


def _write_best(path: Path, config: TrainFile, found: dict[str, Any]) -> None:
    """The configuration with the best values, for `tesela train --config`."""
    best = found["best"]
    sections = _with(config, best["parameters"]).model_dump(mode="json", include={"tile", "train"}, exclude_none=True)
    said = (
        f"# By tesela tune: trial {best['trial']}, {found['choose_by']} {best['value']:.4f} on validation tiles.\n"
        "# The best of many flatters: only tiles that nothing was chosen by tell what the model is worth.\n"
    )
    with writing(path) as temporary:
        temporary.write_text(said + yaml.safe_dump(sections, sort_keys=False, allow_unicode=True), "utf-8")
