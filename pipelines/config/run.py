"""A whole configuration: its sections, its files, and sections as command-line options."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError, model_validator

from models.registry import model_folder
from pipelines.config.base import FolderName, PathText, Section
from pipelines.config.sections import (
    BlankConfig,
    DaskConfig,
    ExportConfig,
    IngestConfig,
    LabelConfig,
    ModelConfig,
    OverlayConfig,
    PredictConfig,
    TileConfig,
    TissueConfig,
)
from pipelines.config.training import TrainConfig, TuneConfig
from pipelines.config.yaml_file import read_yaml
from wsi.errors import InputError


class RunConfig(Section):
    """A run: which slides, which model, and how each stage works."""

    run: FolderName = Field(description="name of the run's folder")
    results: PathText = Field("results", description="where runs are kept")
    slides: PathText | None = Field(None, description="folder of slides; with `sheet`, where its paths start")
    sheet: PathText | None = Field(
        None, description="CSV: slide, id, case, mpp, scene, label, annotation, marked, split, note"
    )
    ingest: IngestConfig = IngestConfig()
    tissue: TissueConfig = TissueConfig()
    tile: TileConfig = TileConfig()
    blank: BlankConfig = BlankConfig()
    dask: DaskConfig = DaskConfig()
    label: LabelConfig = LabelConfig()
    train: TrainConfig | None = None
    tune: TuneConfig = TuneConfig()
    model: ModelConfig = ModelConfig()
    predict: PredictConfig = PredictConfig()
    overlay: OverlayConfig = OverlayConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="after")
    def _complete(self) -> RunConfig:
        if self.slides is None and self.sheet is None:
            raise ValueError("no slides: give `slides: <folder>` or `sheet: <file.csv>`")
        if (self.train is None) == (self.model.path is None):
            raise ValueError("give either a section `train` or `model: {path: <trained model>}`")
        if self.train is not None and self.tile.mpp is None:
            raise ValueError("`tile` is missing: say the µm per px of the tiles to train on (tile: {mpp: ...})")
        return self

    @property
    def folder(self) -> Path:
        """results/<run>."""
        return Path(self.results) / self.run

    @property
    def model_folder(self) -> Path:
        """Where the model that scores lies, or will lie once it is trained."""
        return model_folder(self.model.path) if self.model.path else self.folder / "models" / self.model.name


class TrainFile(Section):
    """The part of a configuration that training depends on: `tesela train --config`; and what to search around it."""

    tile: TileConfig
    train: TrainConfig
    tune: TuneConfig = TuneConfig()


Model = TypeVar("Model", bound=Section)


def parse_config(raw: object, source: str) -> RunConfig:
    """The configuration of a run; raises InputError naming `source` and every faulty key."""
    return _validated(RunConfig, raw, source)


def load_config(path: Path) -> RunConfig:
    """`parse_config` of a YAML file."""
    return parse_config(read_yaml(path), str(path))


def load_train_file(path: Path) -> TrainFile:
    """The sections `tile`, `train` and `tune` of a YAML file.

    Other sections of a run's configuration may be there, and are not looked at: they are the workflow's.
    """
    raw = read_yaml(path)
    if isinstance(raw, dict):
        others = RunConfig.model_fields.keys() - TrainFile.model_fields.keys()
        raw = {key: value for key, value in raw.items() if key not in others}
    return _validated(TrainFile, raw, str(path))


def _validated(kind: type[Model], raw: object, source: str) -> Model:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise InputError("; ".join(_fault(source, fault) for fault in error.errors())) from error


def _fault(source: str, fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{source}: unknown key '{place}'; remove it or correct its name"
    if fault["type"] == "string_type" and not isinstance(fault["input"], dict | list | None):
        value = fault["input"]
        return f'{source}: {place}: YAML reads it as {value!r}, which is no text; quote it ("...")'
    message = fault["msg"].removeprefix("Value error, ")
    return f"{source}: {place}: {message}" if place else f"{source}: {message}"


def flags_of(section: Section) -> str:
    """A section as command-line options: `--alpha 0.45 --classes TUM --classes STR`. None is left out."""
    words: list[str] = []
    for name, value in section.model_dump().items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words += [option] if value else []
        elif isinstance(value, tuple | list):
            words += [word for item in value for word in (option, str(item))]
        elif value is not None:
            words += [option, str(value)]
    return shlex.join(words)
