"""Tensors in a safetensors file: no pickle, so that a file from a stranger cannot run code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from wsi.atomic import writing
from wsi.errors import InputError


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write `path`. Raises InputError where it cannot be: safetensors tells of a full disk in an error of its own."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with writing(path) as temporary:
        try:
            save_file(own, temporary, metadata=dict(metadata))
        except SafetensorError as error:
            raise InputError(f"{path}: cannot be written ({error}); make room for it, and start again") from error
