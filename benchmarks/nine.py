"""Nine classes: what `make demo` trains, on tiles of generated slides that it has not seen."""

from __future__ import annotations

import json
import time
from pathlib import Path

from benchmarks.figures import Figure
from pipelines.demo import run_demo

_FOLDER = Path("build/bench/demo")


def measure() -> list[Figure]:
    """`nine.accuracy`: the whole demo, from drawing its slides to its report."""
    began = time.perf_counter()
    if run_demo(_FOLDER, None) != 0:
        raise RuntimeError("the demo failed")
    minutes = (time.perf_counter() - began) / 60
    test = json.loads((_FOLDER / "results/demo/models/phantom-9/metrics.json").read_text("utf-8"))["test"]
    recalls = {name: entry["recall"] for name, entry in test["per_class"].items()}
    worst = min(recalls, key=lambda name: recalls[name])
    beside = {entry["name"]: f"{entry['accuracy']:.1%}" for entry in test["baselines"]}
    return [
        Figure(
            "nine.accuracy",
            100 * test["accuracy"],
            "%",
            f"{test['tiles']} tiles of generated slides that were not trained on",
            97.0,
            detail=f"worst class {worst} {recalls[worst]:.1%}; colour alone: {beside}; whole demo {minutes:.1f} min",
        )
    ]
