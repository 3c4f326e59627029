"""A slide of 103,360 px square, two fifths of it tissue, from the pixels to the overlay: memory of each step.

A quarter of an hour on 2 cores, nearly all of it the network's.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.predicting import untrained
from benchmarks.slides import tissue_slide
from benchmarks.tiling import Case

_PATCHES = 19
_FOLDER = Path("build/bench/large")


def measure() -> list[Figure]:
    """`predict.rss_mb`: peak memory of `tesela predict`, its tiles being cut."""
    slide = tissue_slide(_PATCHES, _PATCHES)
    case = Case.of("large", slide)
    kept = case.run()
    untrained(_FOLDER / "model", "efficientnet_b0", case.spec)
    words = [str(path) for path in (slide, case.table, _FOLDER / "model", _FOLDER / "out")]
    command = [sys.executable, "-m", "benchmarks.scoring_child", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured = json.loads(done.stdout)
    return [
        Figure(
            "predict.rss_mb",
            measured["rss_mb"],
            "MB",
            "nothing: peak memory of the whole process, efficientnet_b0",
            1500,
            at_least=False,
            detail=f"{slide.name}: {kept:,} tiles in {measured['seconds']:.0f} s",
        )
    ]
