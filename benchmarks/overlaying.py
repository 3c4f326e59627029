"""An overlay of a JPEG pyramid of 21,760 px square, two fifths of its tiles scored, ÷ its parts alone and ÷ libvips."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.slides import tissue_slide

_REPEATS = 3
_KINDS = ("overlay", "parts", "libvips")


def measure(repeats: int = _REPEATS) -> list[Figure]:
    """`overlay.vs_parts`, `overlay.vs_vips` and `overlay.rss_mb`."""
    source = tissue_slide()
    rounds = [{kind: _run(kind, source) for kind in _KINDS} for _ in range(repeats)]
    best = {kind: min(each[kind]["seconds"] for each in rounds) for kind in _KINDS}
    peak = {kind: max(each[kind]["rss_mb"] for each in rounds) for kind in _KINDS}
    share = rounds[0]["overlay"]["scored"]
    detail = ", ".join(f"{kind} {best[kind]:.1f} s {peak[kind]:.0f} MB" for kind in _KINDS) + f"; {share:.0%} scored"
    return [
        Figure(
            "overlay.vs_parts",
            _ratio(rounds, "overlay", "parts"),
            "×",
            "decoding, blending and encoding the painted native tiles of all levels, 2 threads, no file",
            1.5,
            at_least=False,
            detail=detail,
        ),
        Figure(
            "overlay.vs_vips",
            _ratio(rounds, "libvips", "overlay"),
            "×",
            "libvips' composite and tiffsave (pyramid, JPEG 87, tiles of 256 px), 2 cores; imports not counted",
            1.0,
            detail=detail,
        ),
        Figure(
            "overlay.rss_mb",
            peak["overlay"],
            "MB",
            "nothing: peak memory of the whole process",
            700,
            at_least=False,
            detail=detail,
        ),
    ]


def _ratio(rounds: list[dict[str, dict[str, float]]], first: str, second: str) -> float:
    """Median over the rounds of the first's seconds ÷ the second's in the same round."""
    return statistics.median(each[first]["seconds"] / each[second]["seconds"] for each in rounds)


def _run(kind: str, source: Path) -> dict[str, float]:
    """seconds, rss_mb and the share of tiles that were scored, of one overlay in a process of its own."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        command = [sys.executable, "-m", "benchmarks.overlaying_child", kind, str(source), folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured
