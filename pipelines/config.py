"""The YAML a person edits, checked before the first job starts. Unknown keys are refused.

One section a stage: a stage gets its own section and no other, so that changing the overlay's opacity reruns
overlays and nothing else. `flags_of` turns a section into the options of that stage's command.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from models.registry import model_folder
from wsi.errors import InputError
from wsi.geometry import Edge, TileSpec
from wsi.icc import Icc

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


def _expanded(value: str) -> str:
    """`${NAME}` replaced from the environment; an unset one is an error, never an empty text."""
    unset = [name for name in re.findall(r"\$\{(\w+)\}", value) if name not in os.environ]
    if unset:
        raise ValueError(f"the environment variable {', '.join(unset)} is not set; export it, or write the path out")
    return re.sub(r"\$\{(\w+)\}", lambda found: os.environ[found[1]], value)


PathText = Annotated[str, AfterValidator(_expanded)]


class Section(BaseModel):
    """A part of the configuration; frozen, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IngestConfig(Section):
    """How slides are read."""

    icc: Icc = Field("as-is", description="srgb: through each slide's colour profile; as-is: colours as stored")


class TissueConfig(Section):
    """Finding tissue at low power."""

    mask_mpp: Positive = Field(8.0, description="resolution of the mask, µm per px")
    min_area_mm2: Annotated[float, Field(ge=0)] = Field(0.02, description="smaller pieces are dust")
    max_hole_mm2: Annotated[float, Field(ge=0)] = Field(0.02, description="smaller holes are filled")


DEFAULT_SIZE_PX = 128


class TileConfig(Section):
    """The tiles a model sees."""

    size_px: int | None = Field(None, ge=8, description="side of a tile in px at `mpp`; default: the model's, or 128")
    mpp: Positive | None = Field(None, description="µm per px of a tile; default: the model's")
    stride_px: int | None = Field(None, ge=1, description="step between tiles; default: size_px (no overlap)")
    min_tissue: Share = Field(0.1, description="share of a tile that must be tissue")
    allow_upsample: bool = Field(False, description="also take slides coarser than `mpp`, enlarged")
    edge: Edge = Field("pad", description="tiles that reach over the slide's edge: pad with white, or drop")

    @model_validator(mode="after")
    def _stride_within_size(self) -> TileConfig:
        if self.stride_px is not None and self.stride_px > (self.size_px or DEFAULT_SIZE_PX):
            raise ValueError(f"stride_px {self.stride_px} is above size_px {self.size_px}: tissue would go unscored")
        return self

    def filled(self, size_px: int, mpp: float) -> TileConfig:
        """The same section, with what it leaves out."""
        return self.model_copy(update={"size_px": self.size_px or size_px, "mpp": self.mpp or mpp})

    @property
    def spec(self) -> TileSpec:
        """The tile specification; raises InputError where no mpp was given."""
        if self.mpp is None:
            raise InputError("tile.mpp is missing: say the µm per px of the tiles")
        size_px = self.size_px or DEFAULT_SIZE_PX
        return TileSpec(size_px, self.mpp, self.stride_px or size_px)


class BlankConfig(Section):
    """Dropping blank tiles at full resolution."""

    bright_level: int = Field(215, ge=0, le=255, description="a pixel whose darkest channel is above is bright")
    max_bright: Share = Field(0.85, description="share of bright px above which a tile without colour is blank")
    min_colour: Annotated[float, Field(ge=0)] = Field(1.5, description="saturation std (0-255) below: no colour")
    min_contrast: Annotated[float, Field(ge=0)] = Field(1.0, description="std of green (0-255) below: blank")
    max_ink: Share = Field(0.6, description="share of ink-coloured px above which a tile is blank")
    min_focus: Annotated[float, Field(ge=0)] | None = Field(
        None, description="focus below: blank; 0 only measures it; default: neither (it takes a third more time)"
    )


class DaskConfig(Section):
    """Where the blank filter runs."""

    scheduler: str | None = Field(
        None, description="a Dask scheduler (tcp://...), or a queue to send jobs to (slurm, pbs...); default: threads"
    )
    jobs: int = Field(2, ge=1, description="jobs to send to a queue, for each slide")


class LabelConfig(Section):
    """Tile labels from annotations."""

    min_cover: Share = Field(0.75, description="share of a tile that a region must cover to name it")
    outside: str | None = Field(None, min_length=1, description="class of tiles outside of every region; default: none")
    name: str | None = Field(None, min_length=1, description="class of what is drawn on a slide's `marked` copy")

    @model_validator(mode="after")
    def _two_classes(self) -> LabelConfig:
        if self.name is not None and self.name == self.outside:
            raise ValueError(f"`name` and `outside` are both '{self.name}'; what is drawn and what is not must differ")
        return self


class ThresholdConfig(Section):
    """Which probability is enough to call a tile a class: chosen on the validation tiles, kept with the model."""

    by: Literal["recall", "youden", "cost"] = Field("recall", description="recall reached; Youden's index; least cost")
    target_recall: Annotated[float, Field(gt=0, le=1)] = Field(0.95, description="by recall: share of a class found")
    miss_cost: Positive = Field(5.0, description="by cost: so many false alarms are as bad as one tile missed")


class TrainConfig(Section):
    """Training a model: from folders of tiles (one folder a class) or from annotated slides of the cohort."""

    folder: PathText | None = Field(None, description="training tiles, one sub-folder a class")
    test_folder: PathText | None = Field(None, description="test tiles, touched once, after training")
    source_mpp: Positive | None = Field(None, description="µm per px of those tiles; they do not say it themselves")
    case_pattern: str | None = Field(
        None, description="regular expression whose one group is the case in a tile's file name; or give cases.csv"
    )
    slides: bool = Field(False, description="train on the annotated slides of the sheet (split: train, val, test)")
    architecture: str = Field("efficientnet_b0", description="a timm model: efficientnet_b0, resnet18, resnet50...")
    pretrained: bool | PathText = Field(False, description="true: weights from timm's hub; or a safetensors file")
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=2)
    accumulate: int = Field(1, ge=1, description="batches to an optimiser step, where memory holds no larger batch")
    learning_rate: Positive = Field(1e-3)
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.05)
    label_smoothing: Share = Field(0.05)
    balance: Literal["none", "weights", "sampler", "oversample"] = Field(
        "weights", description="rare classes: weigh more in the loss, or are seen more often; never in the evaluation"
    )
    augmentation: Literal["none", "light", "strong"] = Field("light")
    stain: Literal["none", "reinhard", "macenko"] = Field(
        "none",
        description="normalise each tile's stain to the median of the training tiles; the model keeps the target",
    )
    freeze_epochs: int = Field(0, ge=0, description="first epochs in which only the head learns; needs `pretrained`")
    train_blocks: int | None = Field(None, ge=0, description="learn only the head and the last so many stages")
    choose_by: Literal["balanced_accuracy", "accuracy", "macro_f1", "loss"] = Field(
        "balanced_accuracy", description="which epoch is kept, by the validation tiles"
    )
    patience: int | None = Field(None, ge=1, description="end after so many epochs without a better one")
    threshold: ThresholdConfig = ThresholdConfig()
    val_fraction: Annotated[float, Field(gt=0, lt=0.9)] = Field(0.15, description="of the training tiles")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field("auto")
    seed: int = Field(0)

    @model_validator(mode="after")
    def _one_source(self) -> TrainConfig:
        if self.slides == (self.folder is not None):
            raise ValueError("give either `folder` (tiles, one sub-folder a class) or `slides: true`")
        if self.folder is not None and self.source_mpp is None:
            raise ValueError("`source_mpp` is missing: tile pictures do not say their µm per px")
        return self


class RangeConfig(Section):
    """Numbers from `low` to `high`."""

    low: float
    high: float
    log: bool = Field(False, description="by its logarithm: for what matters by factors, as a learning rate does")

    @model_validator(mode="after")
    def _ascending(self) -> RangeConfig:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}, which has no logarithm; give a number above 0, or leave out log")
        return self


def _list_or_range(value: object) -> str:
    return "range" if isinstance(value, dict | RangeConfig) else "choices"


# A list of choices, or a range; None leaves the setting as `train` has it.
Searched = Annotated[
    Annotated[RangeConfig, Tag("range")] | Annotated[tuple[bool | int | float | str | None, ...], Tag("choices")],
    Discriminator(_list_or_range),
]


class TuneConfig(Section):
    """Which settings of `train` `tesela tune` searches; default: a few around those that `train` gives."""

    learning_rate: Searched | None = None
    weight_decay: Searched | None = None
    label_smoothing: Searched | None = None
    batch_size: Searched | None = None
    architecture: Searched | None = None
    augmentation: Searched | None = None
    stain: Searched | None = None
    balance: Searched | None = None
    freeze_epochs: Searched | None = None
    train_blocks: Searched | None = None

    @field_validator("*")
    @classmethod
    def _as_train_takes(cls, searched: Searched | None, info: ValidationInfo) -> Searched | None:
        """Every choice and both ends must be what the key of `train` takes."""
        if searched is None:
            return None
        field = TrainConfig.model_fields[str(info.field_name)]
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]  # known at run time

        def taken(value: object) -> Any:
            try:
                return adapter.validate_python(value)
            except ValidationError as error:
                raise ValueError(f"{value!r}: {error.errors()[0]['msg']}") from error

        if isinstance(searched, RangeConfig):
            return searched.model_copy(update={"low": taken(searched.low), "high": taken(searched.high)})
        if not searched:
            raise ValueError("an empty list; give choices, or leave the key out")
        return tuple(dict.fromkeys(taken(value) for value in searched))

    def searched(self) -> dict[str, RangeConfig | tuple[Any, ...]]:
        """What is searched, by key of `train`; empty: nothing was said."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: one for name, one in found.items() if one is not None}


class ModelConfig(Section):
    """Which model scores the slides."""

    name: str = Field("model", pattern=r"^[A-Za-z0-9._-]+$", description="folder under results/<run>/models/")
    path: PathText | None = Field(
        None, description="a trained model: its folder, or name or name@version in the registry"
    )


class PredictConfig(Section):
    """Scoring tiles."""

    batch_size: int = Field(64, ge=1)
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field("auto", description="auto: by a short timed trial")
    tta: Literal["none", "d4"] = Field("none", description="d4: the mean of eight orientations, eight times the work")


class OverlayConfig(Section):
    """Painting the slide."""

    alpha: Share = Field(0.45, description="opacity of a tile whose class has probability 1")
    threshold: Share | None = Field(
        None, description="lowest probability painted; default: 0, with `heat` the class's own in the model, or 0.5"
    )
    classes: tuple[str, ...] | None = Field(None, description="which to paint; default: all but background")
    heat: str | None = Field(None, description="instead: the heat of this one class, in cividis from 0 to 1")
    style: Literal["blocky", "smooth", "outline"] = Field(
        "blocky", description="smooth: between tile centres; outline: only borders of areas"
    )
    outline_px: int = Field(3, ge=1, le=64, description="width of outlines, px of the level shown")
    quality: int = Field(87, ge=0, le=100, description="JPEG quality of overlay.ome.tif; 0: lossless")

    @model_validator(mode="after")
    def _one_kind(self) -> OverlayConfig:
        if self.heat is not None and self.classes is not None:
            raise ValueError("give `classes` (each in its colour) or `heat` (of one class), not both")
        return self


class ExportConfig(Section):
    """Scores for other programs: QuPath, WSInfer's CSV, GeoParquet."""

    threshold: Share | None = Field(
        None, description="probability from which on tiles make a region; default: each class's in the model, or 0.5"
    )
    formats: tuple[Literal["tiles", "regions", "csv", "geoparquet"], ...] | None = Field(
        None, description="which to write; default: tiles, regions, csv"
    )


class RunConfig(Section):
    """A run: which slides, which model, and how each stage works."""

    run: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="name of the run's folder")
    results: PathText = Field("results", description="where runs are kept")
    slides: PathText | None = Field(None, description="folder of slides; with `sheet`, where its paths start")
    sheet: PathText | None = Field(
        None, description="CSV: slide, id, case, mpp, label, annotation, marked, split, note"
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
    return parse_config(_yaml(path), str(path))


def load_train_file(path: Path) -> TrainFile:
    """The sections `tile`, `train` and `tune` of a YAML file; other sections of a run's configuration may be there."""
    raw = _yaml(path)
    if isinstance(raw, dict) and "run" in raw:
        run = parse_config(raw, str(path))
        raw = run.model_dump(include={"tile", "train", "tune"})
    return _validated(TrainFile, raw, str(path))


def _yaml(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such configuration file") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable YAML file ({' '.join(str(error).split())})") from error


def _validated(kind: type[Model], raw: object, source: str) -> Model:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise InputError("; ".join(_fault(source, fault) for fault in error.errors())) from error


def _fault(source: str, fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{source}: unknown key '{place}'; remove it or correct its name"
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
