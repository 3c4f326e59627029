"""The sections `train` and `tune`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pipelines.config.base import PathText, Positive, Section, Share


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
    group_by: Literal["case", "stain"] = Field(
        "case", description="what stays on one side of a split; stain: tiles of like colour, where no case is named"
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
    mixup: Annotated[float, Field(ge=0)] = Field(
        0.0, description="blend tiles of a batch in pairs, and their labels as much: alpha of the share; 0: not"
    )
    balance: Literal["none", "weights", "sampler", "oversample", "groups"] = Field(
        "weights",
        description="rare classes weigh more in the loss, or are seen more often; groups: and within a class every "
        "case as often; never in the evaluation",
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
    tta: Literal["none", "d4"] = Field(
        "none",
        description="d4: the model says the mean of a tile's eight orientations; eight times the work of scoring",
    )
    val_fraction: Annotated[float, Field(gt=0, lt=0.9)] = Field(0.15, description="of the training tiles")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field("auto")
    seed: int = Field(0)

    @model_validator(mode="after")
    def _one_source(self) -> TrainConfig:
        if self.slides == (self.folder is not None):
            raise ValueError("give either `folder` (tiles, one sub-folder a class) or `slides: true`")
        if self.folder is not None and self.source_mpp is None:
            raise ValueError("`source_mpp` is missing: tile pictures do not say their µm per px")
        if self.slides and self.group_by == "stain":
            raise ValueError("`group_by: stain` is for folders of tiles; slides are kept together by themselves")
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
    mixup: Searched | None = None
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
