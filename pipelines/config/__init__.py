"""The YAML a person edits, checked before the first job starts. Unknown keys are refused.

One section a stage: a stage gets its own section and no other, so that changing the overlay's opacity reruns
overlays and nothing else. `flags_of` turns a section into the options of that stage's command.
"""

from pipelines.config.base import Section
from pipelines.config.run import (
    RunConfig,
    TrainFile,
    flags_of,
    load_config,
    load_train_file,
    parse_config,
)
from pipelines.config.sections import (
    DEFAULT_SIZE_PX,
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
from pipelines.config.training import RangeConfig, ThresholdConfig, TrainConfig, TuneConfig

__all__ = [
    "DEFAULT_SIZE_PX",
    "BlankConfig",
    "DaskConfig",
    "ExportConfig",
    "IngestConfig",
    "LabelConfig",
    "ModelConfig",
    "OverlayConfig",
    "PredictConfig",
    "RangeConfig",
    "RunConfig",
    "Section",
    "ThresholdConfig",
    "TileConfig",
    "TissueConfig",
    "TrainConfig",
    "TrainFile",
    "TuneConfig",
    "flags_of",
    "load_config",
    "load_train_file",
    "parse_config",
]
