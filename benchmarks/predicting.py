"""Scoring a slide's tiles ÷ the bare model's forward on as many tiles, same batch, precision and layout."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.figures import Figure, paired_seconds, speed_ratio
from models.checkpoint import Checkpoint, save_checkpoint
from models.network import build, normalisation, to_input
from models.predict import PredictOptions, Scorer, score_slide
from wsi.geometry import TileGrid, TileSpec
from wsi.slide import open_slide

_TILES = 1536
_BATCH = 64
_REPEATS = 3


def measure(name: str, path: Path, architecture: str = "efficientnet_b0") -> list[Figure]:
    """`predict.vs_forward` on one slide."""
    with open_slide(path) as slide, tempfile.TemporaryDirectory() as folder:
        spec = TileSpec(128, slide.require_mpp()[0], 128)
        scorer = _scorer(Path(folder) / "model", architecture, spec)
        grid = TileGrid.of(spec, slide.size, slide.mpp, name=slide.name)
        wanted = _middle(grid, _TILES)
        count = int(wanted.sum())
        inputs = _inputs(scorer)
        bare = -(-count // _BATCH)
        score_slide(scorer, slide, grid, wanted)
        ours, theirs = paired_seconds(
            lambda: score_slide(scorer, slide, grid, wanted), lambda: _forward(scorer, inputs, bare), _REPEATS
        )
    suffix = "" if name == "colorectal" else f".{name}"
    precision = "bf16" if scorer.plan.bf16 else "fp32"
    return [
        Figure(
            f"predict.vs_forward{suffix}",
            speed_ratio(ours, theirs) * count / (bare * _BATCH),
            "×",
            f"bare {architecture} forward, batches of {_BATCH}, {precision}, {scorer.device.type}",
            0.8,
            detail=f"{count / min(ours):,.0f} tiles/s; bare {bare * _BATCH / min(theirs):,.0f}",
        )
    ]


def _scorer(folder: Path, architecture: str, spec: TileSpec) -> Scorer:
    network = build(architecture, 9)
    mean, std = normalisation(network)
    names = tuple(f"class-{number}" for number in range(9))
    save_checkpoint(folder, Checkpoint(architecture, names, spec, mean, std), network.state_dict())
    return Scorer(folder, PredictOptions(_BATCH))


def _middle(grid: TileGrid, count: int) -> np.ndarray:
    """About `count` tiles around the slide's middle, as tissue would lie."""
    side = min(int(count**0.5), grid.rows, grid.cols)
    wanted = np.zeros((grid.rows, grid.cols), bool)
    top, left = (grid.rows - side) // 2, (grid.cols - side) // 2
    wanted[top : top + side, left : left + side] = True
    return wanted


def _inputs(scorer: Scorer) -> torch.Tensor:
    size = scorer.checkpoint.tile.size_px
    tiles = torch.randint(0, 255, (_BATCH, size, size, 3), dtype=torch.uint8, device=scorer.device)
    return to_input(tiles, scorer.checkpoint.mean, scorer.checkpoint.std)


@torch.inference_mode()
def _forward(scorer: Scorer, inputs: torch.Tensor, batches: int) -> None:
    for _ in range(batches):
        with torch.autocast(scorer.device.type, torch.bfloat16, enabled=scorer.plan.bf16):
            scorer.network(inputs).float().cpu()
