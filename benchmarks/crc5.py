"""Five classes of colorectal tissue from scratch, by the configuration that is in the repository, with three seeds.

Nothing is chosen by the test tiles: each of the three models is measured on them once, when it is trained.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from models.checkpoint import read_checkpoint
from pipelines.config import load_train_file
from pipelines.learning import settings_of, train

_FOLDER = Path("build/bench/crc5")
_CONFIG = Path("configs/crc5.yaml")
_SEEDS = (0, 1, 2)


def measure() -> list[Figure]:
    """`crc5.accuracy`: mean of the seeds; [] where there are no tiles.

    An hour and a half on 2 cores; goes on where it was stopped. Each model's folder keeps its settings, curve and
    wall time.
    """
    data = os.environ.get("TESELA_TEST_DATA")
    if not data or not Path(data, "tiles", "crc5").is_dir():
        return []
    found = [_trained(seed) for seed in _SEEDS]
    tested = [metrics["test"]["accuracy"] for metrics in found]
    minutes = [sum(epoch["seconds"] for epoch in metrics["history"]) / 60 for metrics in found]
    first = found[0]["test"]
    beside = {entry["name"]: f"{entry['accuracy']:.1%}" for entry in first["baselines"]}
    return [
        Figure(
            "crc5.accuracy",
            100 * statistics.mean(tested),
            "%",
            f"{first['tiles']} test tiles, from scratch; colour alone: {beside}",
            80.0,
            detail=f"seeds {[f'{one:.1%}' for one in tested]}, sd {100 * statistics.stdev(tested):.1f}; "
            f"validation {[format(m['val']['accuracy'], '.1%') for m in found]}; {[f'{m:.0f} min' for m in minutes]}",
        )
    ]


def _trained(seed: int) -> dict[str, Any]:
    """metrics.json of one seed, trained now where it was not, or was with other settings."""
    config = load_train_file(_CONFIG)
    seeded = config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
    out = _FOLDER / f"seed-{seed}"
    done = (out / "metrics.json").is_file()
    if not done or read_checkpoint(out).provenance["settings"] != settings_of(seeded).plain():
        train(seeded, out)
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text("utf-8"))
    return found
