"""The parts of the figures, by name; their modules are imported when they are measured."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from benchmarks.figures import Figure

# Measured by `make bench`, in this order.
PARTS = (
    "slides",
    "converting",
    "tissue",
    "ink",
    "marked",
    "tiles",
    "blanks",
    "exporting",
    "training",
    "overlaying",
)
# Too long for every run: measured where they are named.
LONG = ("nine", "prostate", "crc5", "large", "whole")


def measure(part: str) -> list[Figure]:
    """The figures of a part; none where it needs slides that are not there."""
    if part == "slides":
        return list(_slides())
    if part == "tiles":
        return list(_tiles())
    return list(import_module(f"benchmarks.{part}").measure())


def _slides() -> Iterator[Figure]:
    from benchmarks import predicting, reading
    from benchmarks.slides import slides

    for name, path in slides().items():
        for module in (reading, predicting):
            yield from module.measure(name, path)
    yield from predicting.measure_small()


def _tiles() -> Iterator[Figure]:
    from benchmarks import tiling
    from benchmarks.slides import tiled_slides

    for name, path in tiled_slides().items():
        yield from tiling.measure(name, path)
    yield from tiling.measure_growth()
