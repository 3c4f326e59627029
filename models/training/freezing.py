"""Which part of a network learns: all of it, its last stages, or its head alone."""

from __future__ import annotations

from typing import Any

import torch

from models.network import Network, heads_of
from models.torch_setup import timm
from wsi.errors import InputError


def trainable(network: Network, blocks: int | None) -> set[str]:
    """Names of the parameters that learn: the head and the last `blocks` stages before it; None: all.

    Stages are timm's own coarse groups (stem, then each stage). Raises InputError where there are fewer.
    """
    names = {name for name, _ in network.named_parameters()}
    if blocks is None:
        return names
    head = {name for name in names if name.startswith(tuple(f"{head}." for head in heads_of(network)))}
    described: Any = network
    groups = timm.models.group_parameters(network, described.group_matcher(coarse=True))
    stages = [set(group) - head for _, group in sorted(groups.items(), key=lambda item: item[0])]
    stages = [stage for stage in stages if stage]
    if blocks > len(stages):
        raise InputError(f"train.train_blocks is {blocks}, but the network has {len(stages)} stages; give fewer")
    return head.union(*stages[len(stages) - blocks :])


def freeze_all_but(network: Network, names: set[str]) -> None:
    """Let the named parameters learn, and no others."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in names)


def train_mode(network: Network) -> None:
    """`network.train()`, but for norms whose parameters are frozen: their running statistics stay as they were."""
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, torch.nn.modules.batchnorm._NormBase) and own and not own[0].requires_grad:
            module.eval()
