"""How to train, checked when it is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from models.augment import Strength
from models.balance import Balance
from models.evaluation.thresholds import Rule
from models.orientations import Tta
from models.stain import Method
from wsi.errors import InputError
from wsi.geometry import TileSpec

Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
# What the best epoch is chosen by, on the validation tiles; of equals, the lower loss.
ChooseBy = Literal["balanced_accuracy", "accuracy", "macro_f1", "loss"]
_DEFAULT_TILE = TileSpec(128, 0.5, 128)


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    balance: how rare classes, or cases, count as much as large ones (`models.balance`).
    accumulate: batches to an optimiser step, where memory does not hold a larger batch.
    mixup: alpha of the Beta distribution by which the tiles of a batch, and their labels, are blended in pairs; 0: not
    at all. It draws anew for each batch.
    stain: how tiles are normalised before they are augmented or scored (`models.stain`).
    freeze_epochs: of so many first epochs only the head learns. train_blocks: after them, only the last so many stages
    of the backbone and the head; None: all of it.
    patience: epochs without a better one before training ends early; None: never.
    tta: the orientations of a tile over which the finished model takes the mean; epochs are compared without.
    threshold: how the checkpoint's thresholds are chosen on the validation tiles.
    workers: None takes 0 for tiles that fit in memory, else one a spare core.
    """

    architecture: str = "efficientnet_b0"
    tile: TileSpec = _DEFAULT_TILE
    epochs: int = 10
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup_fraction: float = 0.1
    label_smoothing: float = 0.05
    mixup: float = 0.0
    balance: Balance = "weights"
    augmentation: Strength = "light"
    stain: Method = "none"
    pretrained: bool | Path = False
    freeze_epochs: int = 0
    train_blocks: int | None = None
    choose_by: ChooseBy = "balanced_accuracy"
    patience: int | None = None
    threshold: Rule = Rule()
    tta: Tta = "none"
    val_fraction: float = 0.15
    precision: Precision = "auto"
    seed: int = 0
    workers: int | None = None

    def __post_init__(self) -> None:
        rules = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 2, "2 or more"),
            "accumulate": (self.accumulate >= 1, "1 or more"),
            "learning_rate": (self.learning_rate > 0, "a number above 0, such as 0.001"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "warmup_fraction": (0 <= self.warmup_fraction < 1, "0 to below 1"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "0 to below 1"),
            "mixup": (self.mixup >= 0, "0 (none) or more, such as 0.2"),
            "balance": (self.balance in get_args(Balance), f"one of {get_args(Balance)}"),
            "augmentation": (self.augmentation in get_args(Strength), f"one of {get_args(Strength)}"),
            "stain": (self.stain in get_args(Method), f"one of {get_args(Method)}"),
            "freeze_epochs": (0 <= self.freeze_epochs <= self.epochs, f"0 to train.epochs ({self.epochs})"),
            "train_blocks": (self.train_blocks is None or self.train_blocks >= 0, "0 or more"),
            "choose_by": (self.choose_by in get_args(ChooseBy), f"one of {get_args(ChooseBy)}"),
            "patience": (self.patience is None or self.patience >= 1, "1 or more"),
            "tta": (self.tta in get_args(Tta), f"one of {get_args(Tta)}"),
            "val_fraction": (0 < self.val_fraction < 1, "above 0 and below 1"),
            "precision": (self.precision in get_args(Precision), f"one of {get_args(Precision)}"),
            "seed": (self.seed >= 0, "0 or more"),
            "workers": (self.workers is None or self.workers >= 0, "0 or more"),
        }
        faults = [f"train.{k} is {getattr(self, k)!r}; give {text}" for k, (good, text) in rules.items() if not good]
        if (self.freeze_epochs or self.train_blocks is not None) and not self.pretrained:
            faults.append(
                "train.freeze_epochs and train.train_blocks keep pretrained weights as they are, and train.pretrained "
                "is false: random weights would be kept; give train.pretrained, or leave them out"
            )
        if self.mixup > 0 and self.batch_size % 2:
            faults.append(f"train.mixup blends pairs, and train.batch_size is {self.batch_size}; give an even one")
        if faults:
            raise InputError("; ".join(faults))

    def plain(self) -> dict[str, Any]:
        """The same as values that JSON holds."""
        values = asdict(self)
        if isinstance(self.pretrained, Path):
            values["pretrained"] = str(self.pretrained)
        return values
