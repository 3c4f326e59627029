"""Import timm from here: `from models.torch_setup import timm`. Also the one place that seeds.

timm imports torchvision. On a machine with a CPU-only torch, PyPI's torchvision wheel (built for CUDA) cannot
load its compiled operators, and importing it dies with "operator torchvision::nms does not exist", although
nothing here ever calls that operator. Declaring its signature is enough for the import to succeed.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import torch

from wsi.memory import LARGEST_BYTES, keep_freed_memory

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_libraries: list[torch.library.Library] = []  # an operator lives only as long as its library object


def _make_torchvision_importable() -> None:
    try:
        import torchvision  # noqa: F401  (imported to see whether it can be)
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half-imported: the second try must start afresh
        library: Any = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        library.define(f"nms{_SCHEMA}")
        library.define(f"qnms{_SCHEMA}")
        _libraries.append(library)


_make_torchvision_importable()

import timm  # noqa: E402  (only now can it be imported)
from timm.data.mixup import Mixup  # noqa: E402
from timm.utils.model_ema import ModelEmaV3  # noqa: E402

__all__ = ["Mixup", "ModelEmaV3", "keep_activations", "seed_everything", "timm"]


def keep_activations() -> None:
    """Let a processor's activations lie in memory that is kept between batches, as far as glibc can.

    Mapped anew each time, they cost a third of the time and more. Tiles/s on 2 cores: efficientnet_b0 forward, batches
    of 16, fp32 211 → 305; training resnet10t in batches of 64, bf16 124 → 148. Peak memory is the same.
    """
    keep_freed_memory(LARGEST_BYTES, 1 << 30)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch (every device); the same seed gives the same run on a CPU."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
