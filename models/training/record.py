"""What is written down of a training: figures, and where they come from."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.data import TileSet, left_out_of
from models.progress import EpochReport
from models.splits import Split
from models.training.judge import Verdict

_PACKAGES = (
    "tesela",
    "torch",
    "timm",
    "albumentations",
    "lightning-fabric",
    "opencv-python-headless",
    "numpy",
    "pillow",
)


def metrics_of(
    checkpoint: Checkpoint, verdict: Verdict, history: Sequence[EpochReport], best_epoch: int
) -> dict[str, Any]:
    """metrics.json: the kept epoch's figures on the validation tiles, those on the test tiles, and all epochs.

    checkpoint: as it was written, with the digests by which the figures are known to be of this model.
    """
    return {
        "weights_sha256": checkpoint.weights_sha256,
        "model_digest": checkpoint.digest,
        "best_epoch": best_epoch,
        "val": verdict.val,
        "test": verdict.test,
        "history": [asdict(entry) for entry in history],
    }


def summary_of(figures: dict[str, Any] | None) -> dict[str, Any] | None:
    """What model.json says of them; metrics.json has the rest."""
    if figures is None:
        return None
    names = ("tiles", "classes_present", "accuracy", "balanced_accuracy", "macro_f1", "loss", "warnings")
    return {name: figures[name] for name in names}


def environment(device: str, precision: str, speeds: dict[str, float]) -> dict[str, Any]:
    """Versions, device and precision, with the tiles/s of each precision that was tried."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "packages": {"python": platform.python_version(), **versions},
        "device": device,
        "precision": precision,
        "precision_trial_tiles_per_s": {name: round(speed, 1) for name, speed in speeds.items()},
    }


def data_of(train_set: TileSet, parts: Split, test_set: TileSet | None) -> dict[str, Any]:
    """Which tiles: fingerprints, how they were parted, how many there are of each class, and what was left out."""

    def counts(labels: NDArray[np.int64]) -> dict[str, int]:
        return {name: int(np.count_nonzero(labels == i)) for i, name in enumerate(train_set.classes)}

    return {
        "fingerprint": train_set.fingerprint(),
        "test_fingerprint": test_set.fingerprint() if test_set is not None else None,
        "split": parts.how,
        "train_tiles": counts(train_set.labels[parts.train]),
        "val_tiles": counts(train_set.labels[parts.val]),
        "left_out": left_out_of(train_set),
        "test_left_out": left_out_of(test_set) if test_set is not None else None,
    }
