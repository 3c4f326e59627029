"""Score the tiles of a slide: read, cut, normalise, batch, score, with the next blocks read meanwhile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import load_checkpoint, weights_digest
from models.network import Network
from wsi.errors import WsiError
from wsi.geometry import TileGrid
from wsi.scores import TileScores
from wsi.slide import Slide
from wsi.stream import TileBlock, ahead, read_tiles

# bfloat16 must be this much faster to be taken: on processors without instructions for it, it is slower.
_FASTER = 1.2
_TRIAL_BATCHES = 4


@dataclass(frozen=True)
class PredictOptions:
    """batch_size: tiles a forward pass. precision: "32-true", "bf16-mixed", or "auto" (a short timed trial)."""

    batch_size: int = 64
    precision: str = "auto"


class Scorer:
    """A loaded model, ready to score: device, precision and memory layout chosen once."""

    def __init__(self, folder: Path, options: PredictOptions) -> None:
        self.checkpoint, network = load_checkpoint(folder)
        self.options = options
        self.name = folder.name
        self._weights = weights_digest(folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network: Network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.bf16 = self._choose_bf16(options.precision)

    def _choose_bf16(self, precision: str) -> bool:
        if precision != "auto":
            return precision == "bf16-mixed"
        size = self.checkpoint.tile.size_px
        tiles = np.full((min(32, self.options.batch_size), size, size, 3), 200, np.uint8)
        # The best of several, taken in turns: a busy moment must not decide, or two slides of a run would differ.
        best = {False: math.inf, True: math.inf}
        for _ in range(_TRIAL_BATCHES):
            for bf16 in (False, True):
                self.bf16 = bf16
                began = time.perf_counter()
                self.probabilities(tiles)
                best[bf16] = min(best[bf16], time.perf_counter() - began)
        return best[False] > _FASTER * best[True]

    @property
    def made_of(self) -> dict[str, str]:
        """What the scores depend on: the weights (SHA-256) and the precision that was taken."""
        return {"weights": self._weights, "precision": "bf16-mixed" if self.bf16 else "32-true"}

    @torch.inference_mode()
    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, classes) float32 softmax of (N, size_px, size_px, 3) RGB tiles."""
        inputs = self.checkpoint.inputs(pixels, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.network(inputs)
        scaled = logits.float() / self.checkpoint.temperature
        return np.asarray(torch.softmax(scaled, dim=1).cpu().numpy(), np.float32)

    def score(
        self,
        slide: Slide,
        grid: TileGrid,
        wanted: NDArray[np.bool_],
        progress: Callable[[float], None] | None = None,
    ) -> TileScores:
        """Probabilities of the wanted tiles, (rows, cols) bool; NaN elsewhere.

        Raises MismatchError where the grid is not the model's or not this slide's, WsiError where memory
        runs out (with a batch size to try).
        """
        self.checkpoint.check_grid(grid, slide.name)
        grid.check_slide(slide.size, slide.mpp, slide.name)
        found = np.full((grid.rows * grid.cols, len(self.checkpoint.classes)), np.nan, np.float32)
        done, total = 0, max(1, int(wanted.sum()))
        for batch in ahead(_batches(read_tiles(slide, grid, wanted), self.options.batch_size)):
            try:
                found[batch.index] = self.probabilities(batch.pixels)
            except torch.OutOfMemoryError as error:
                raise WsiError(
                    f"out of memory with batches of {self.options.batch_size} tiles; "
                    f"set predict.batch_size to {max(1, self.options.batch_size // 2)}"
                ) from error
            done += len(batch.index)
            if progress is not None:
                progress(done / total)
        return TileScores(grid, self.checkpoint.classes, found, self.name)


def _batches(blocks: Iterator[TileBlock], size: int) -> Iterator[TileBlock]:
    """The same tiles in batches of `size`; only the last may be smaller."""
    index, pixels = [], []
    held = 0
    for block in blocks:
        start = 0
        while start < len(block.index):
            take = min(size - held, len(block.index) - start)
            index.append(block.index[start : start + take])
            pixels.append(block.pixels[start : start + take])
            held, start = held + take, start + take
            if held == size:
                yield TileBlock(np.concatenate(index), np.concatenate(pixels))
                index, pixels, held = [], [], 0
    if held:
        yield TileBlock(np.concatenate(index), np.concatenate(pixels))
