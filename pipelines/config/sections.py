"""One section a stage, but for those about training: see `training`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipelines.config.base import FolderName, PathText, Positive, Section, Share
from wsi.annotations import Origin
from wsi.errors import InputError
from wsi.geometry import Edge, TileSpec
from wsi.icc import Icc
from wsi.workers import Workers


class IngestConfig(Section):
    """How slides are read."""

    icc: Icc = Field("as-is", description="srgb: through each slide's colour profile; as-is: colours as stored")


class TissueConfig(Section):
    """Finding tissue at low power."""

    mask_mpp: Positive = Field(8.0, description="resolution of the mask, µm per px")
    min_area_mm2: Annotated[float, Field(ge=0)] = Field(0.02, description="smaller pieces are dust")
    max_hole_mm2: Annotated[float, Field(ge=0)] = Field(0.02, description="smaller holes are filled")
    any_stain: bool = Field(False, description="also take what is no bright-field H&E: fluorescence, grey, inverted")


DEFAULT_SIZE_PX = 128
_ORIGIN = (
    "for slides with bounds (MRXS, SCN...), from where GeoJSON counts that does not say so itself: bounds (drawn in "
    "QuPath) or slide"
)


class TileConfig(Section):
    """The tiles a model sees."""

    size_px: int | None = Field(None, ge=8, description="side of a tile in px at `mpp`; default: the model's, or 128")
    mpp: Positive | None = Field(None, description="µm per px of a tile; default: the model's")
    stride_px: int | None = Field(None, ge=1, description="step between tiles; default: size_px (no overlap)")
    min_tissue: Share = Field(0.1, description="share of a tile that must be tissue")
    allow_upsample: bool = Field(False, description="also take slides coarser than `mpp`, enlarged")
    edge: Edge = Field("pad", description="tiles that reach over the slide's edge: pad with white, or drop")
    origin: Origin | None = Field(None, description=f"of tissue outlines that a person corrected: {_ORIGIN}")

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

    @field_validator("scheduler")
    @classmethod
    def _known(cls, scheduler: str | None) -> str | None:
        Workers(scheduler)
        return scheduler


class LabelConfig(Section):
    """Tile labels from annotations."""

    min_cover: Share = Field(0.75, description="share of a tile that a region must cover to name it")
    outside: str | None = Field(
        None, min_length=1, description="class of tiles outside of every region; default: no class"
    )
    name: str | None = Field(None, min_length=1, description="class of what is drawn on a slide's `marked` copy")
    origin: Origin | None = Field(None, description=f"of annotations: {_ORIGIN}")

    @model_validator(mode="after")
    def _two_classes(self) -> LabelConfig:
        if self.name is not None and self.name == self.outside:
            raise ValueError(f"`name` and `outside` are both '{self.name}'; what is drawn and what is not must differ")
        return self


class ModelConfig(Section):
    """Which model scores the slides."""

    name: FolderName = Field("model", description="folder under results/<run>/models/")
    path: PathText | None = Field(
        None, description="a trained model: its folder, or name or name@version in the registry"
    )


class PredictConfig(Section):
    """Scoring tiles."""

    batch_size: int = Field(64, ge=1, description="tiles a forward pass; a processor takes them 16 at a time")
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field("auto", description="auto: by a short timed trial")
    tta: Literal["model", "none", "d4"] = Field(
        "model", description="model: as it was trained to be used; d4: the mean of a tile's eight orientations"
    )


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
    clip: Literal["tissue", "tile"] = Field(
        "tissue", description="heat ends with the tissue; tile: tiles are painted whole, the glass in them too"
    )

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
