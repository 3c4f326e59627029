"""A flat LZW TIFF of 21,760 px square → a JPEG pyramid and a sharded OME-Zarr, ÷ libvips' tiffsave of the same file."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.slides import flat

_REPEATS = 3
_KINDS = ("libvips", "ome-tiff", "ome-zarr")


def measure() -> list[Figure]:
    """`convert.vs_libvips`, `convert.zarr_vs_libvips` and `convert.rss_mb`."""
    source = flat()
    runs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in _KINDS}
    for _ in range(_REPEATS):
        for kind in _KINDS:
            runs[kind].append(_run(kind, source))
    best = {kind: min(seconds for seconds, _ in measured) for kind, measured in runs.items()}
    peak = {kind: max(rss_mb for _, rss_mb in measured) for kind, measured in runs.items()}
    detail = ", ".join(f"{kind} {best[kind]:.1f} s {peak[kind]:.0f} MB" for kind in _KINDS)
    against = f"libvips' tiffsave of {source.name}: JPEG 87, tiles of 256 px, 2 cores; imports not counted"
    return [
        Figure("convert.vs_libvips", _ratio(runs, "ome-tiff"), "×", against, 1.1, at_least=False, detail=detail),
        Figure("convert.zarr_vs_libvips", _ratio(runs, "ome-zarr"), "×", against, 1.5, at_least=False, detail=detail),
        Figure(
            "convert.rss_mb",
            max(peak["ome-tiff"], peak["ome-zarr"]),
            "MB",
            "nothing: peak memory of the whole process, the larger of both targets",
            500,
            at_least=False,
            detail=detail,
        ),
    ]


def _ratio(runs: dict[str, list[tuple[float, float]]], kind: str) -> float:
    """Median over the rounds of its seconds ÷ libvips' in the same round."""
    pairs = zip(runs[kind], runs["libvips"], strict=True)
    return sorted(ours[0] / theirs[0] for ours, theirs in pairs)[_REPEATS // 2]


def _run(kind: str, source: Path) -> tuple[float, float]:
    """(seconds, peak MB) of one conversion in a process of its own."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        command = [sys.executable, "-m", "benchmarks.converting_child", kind, str(source), folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = json.loads(done.stdout)
    return measured["seconds"], measured["rss_mb"]
