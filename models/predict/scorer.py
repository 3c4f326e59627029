"""A loaded model, ready to score tiles: device, precision and memory layout chosen once."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import load_checkpoint
from models.naming import name_of
from models.network import Network, out_of_memory
from models.orientations import Tta, oriented_logits
from models.torch_setup import keep_activations
from wsi.errors import InputError, WsiError

# bfloat16, or another layout, must be this much faster to be taken: on some processors they are slower.
_FASTER = 1.2
_TRIAL_BATCHES = 4
_TRIAL_TILES = 32
# On a processor, tiles of one forward pass. Their activations still lie in memory that is kept (`keep_activations`):
# efficientnet_b0 on 2 cores scores 305 tiles/s in fp32 and 402 in bf16, and 187 and 375 with 64 at once.
_CPU_TILES = 16
Precision = Literal["auto", "32-true", "bf16-mixed"]
Turned = Literal["model", Tta]


@dataclass(frozen=True)
class PredictOptions:
    """How to score.

    batch_size: tiles a forward pass; a processor takes them 16 at a time. precision: "auto" takes what a short timed
    trial finds fastest. tta: "model" scores as the model was trained to be used; "d4" every tile in its eight
    orientations, for eight times the work; "none" only as it lies.
    """

    batch_size: int = 64
    precision: Precision = "auto"
    tta: Turned = "model"

    def __post_init__(self) -> None:
        rules = {"precision": get_args(Precision), "tta": get_args(Turned)}
        for name, known in rules.items():
            if getattr(self, name) not in known:
                raise InputError(f"predict.{name} is {getattr(self, name)!r}; give one of {', '.join(known)}")


@dataclass(frozen=True)
class Plan:
    """How the forward pass is computed."""

    bf16: bool = False
    channels_last: bool = True

    @property
    def text(self) -> str:
        """As it is kept with the scores."""
        return ("bf16-mixed" if self.bf16 else "32-true") + ("" if self.channels_last else ", channels first")


class Scorer:
    """Tiles in, probabilities out."""

    def __init__(self, folder: Path, options: PredictOptions) -> None:
        self.checkpoint, network = load_checkpoint(folder)
        self.options = options
        self.tta: Tta = self.checkpoint.tta if options.tta == "model" else options.tta
        self.name = name_of(folder)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network: Network = network.to(self.device)
        if self.device.type == "cpu":
            keep_activations()
        self._take(self._fastest() if options.precision == "auto" else Plan(options.precision == "bf16-mixed"))

    @property
    def pass_tiles(self) -> int:
        """Tiles of one forward pass."""
        most = self.options.batch_size
        return min(most, _CPU_TILES) if self.device.type == "cpu" else most

    def _take(self, plan: Plan) -> None:
        self.plan = plan
        layout = torch.channels_last if plan.channels_last else torch.contiguous_format
        self.network = self.network.to(memory_format=layout)  # type: ignore[call-overload]

    def _fastest(self) -> Plan:
        size = self.checkpoint.tile.size_px
        tiles = np.full((min(_TRIAL_TILES, self.pass_tiles), size, size, 3), 200, np.uint8)
        # The best of several, taken in turns: a busy moment must not decide, or two slides of a run would differ.
        best = {Plan(bf16, layout): math.inf for bf16 in (False, True) for layout in (True, False)}
        for _ in range(_TRIAL_BATCHES):
            for plan, seconds in best.items():
                self._take(plan)
                began = time.perf_counter()
                self._forward(tiles, "none")
                best[plan] = min(seconds, time.perf_counter() - began)
        fastest = min(best, key=lambda plan: best[plan])
        return fastest if best[Plan()] > _FASTER * best[fastest] else Plan()

    @property
    def made_of(self) -> dict[str, str]:
        """What the scores depend on: weights and model (SHA-256), the precision that was taken, the orientations.

        Without `model_digest` where the model was written before there were digests.
        """
        digest = self.checkpoint.digest
        of_model = {"weights": self.checkpoint.weights_sha256, **({"model_digest": digest} if digest else {})}
        return {**of_model, "precision": self.plan.text, "tta": self.tta}

    @torch.inference_mode()
    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, classes) float32 of (N, size_px, size_px, 3) RGB tiles, calibrated; the same for a tile in any batch.

        The last forward pass is filled up: libraries compute batches of other sizes in another order, and the last
        digits of a score would depend on what it was scored with.
        Raises WsiError where memory runs out, with a batch size to try, and InputError where a score is no number: it
        would pass for a tile that was not scored.
        """
        count, at_once = len(pixels), self.pass_tiles
        try:
            filling = np.zeros((-count % at_once, *pixels.shape[1:]), np.uint8)
            pixels = np.concatenate([pixels, filling]) if len(filling) else pixels
            passes = [pixels[start : start + at_once] for start in range(0, len(pixels), at_once)]
            found = np.concatenate([self._forward(tiles, self.tta) for tiles in passes])[:count]
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            full = self.options.batch_size
            raise WsiError(
                f"out of memory with batches of {full} tiles; set predict.batch_size to {max(1, full // 2)}"
            ) from error
        if not np.isfinite(found).all():
            raise InputError(
                f"model {self.name}: its probabilities are no numbers, so its weights are damaged; train it again"
            )
        return found

    @torch.inference_mode()
    def _forward(self, pixels: NDArray[np.uint8], tta: Tta) -> NDArray[np.float32]:
        inputs = self.checkpoint.inputs(pixels, self.device)
        if not self.plan.channels_last:
            inputs = inputs.contiguous()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.bf16):
            logits = oriented_logits(self.network, inputs, tta)
        scaled = logits / self.checkpoint.temperature
        return np.asarray(torch.softmax(scaled, dim=1).cpu().numpy(), np.float32)
