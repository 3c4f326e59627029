"""`make bench`: every figure in one run, as a table and as build/bench.json. Exit code 1 where one is missed.

`python -m benchmarks tiles ink` measures these parts alone, and writes no file. Some take too long for every run, and
are only measured by name: `python -m benchmarks nine prostate crc5 large whole`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    blanks,
    converting,
    crc5,
    exporting,
    ink,
    large,
    marked,
    nine,
    overlaying,
    predicting,
    prostate,
    reading,
    tiling,
    tissue,
    training,
    whole,
)
from benchmarks.figures import Figure
from benchmarks.slides import slides, tiled_slides
from wsi.atomic import write_json


def _of_slides() -> Iterator[Figure]:
    for name, path in slides().items():
        for module in (reading, predicting):
            yield from module.measure(name, path)
    yield from predicting.measure_small()


def _tiles() -> Iterator[Figure]:
    for name, path in tiled_slides().items():
        yield from tiling.measure(name, path)
    yield from tiling.measure_growth()


PARTS: dict[str, Callable[[], Iterator[Figure] | list[Figure]]] = {
    "slides": _of_slides,
    "converting": converting.measure,
    "tissue": tissue.measure,
    "ink": ink.measure,
    "marked": marked.measure,
    "tiles": _tiles,
    "blanks": blanks.measure,
    "exporting": exporting.measure,
    "training": training.measure,
    "overlaying": overlaying.measure,
}
LONG: dict[str, Callable[[], list[Figure]]] = {
    "nine": nine.measure,
    "prostate": prostate.measure,
    "crc5": crc5.measure,
    "large": large.measure,
    "whole": whole.measure,
}


def main(names: Sequence[str]) -> int:
    """Measure, print, write."""
    every = {**PARTS, **LONG}
    unknown = sorted(set(names) - set(every))
    if unknown:
        raise SystemExit(f"no part {', '.join(unknown)}; there are {', '.join(every)}")
    figures: list[Figure] = []
    for name in names or PARTS:
        Console(stderr=True).print(f"{name} ...")
        figures += every[name]()
    _print(figures)
    if not names:
        keys = ("value", "unit", "against", "bound", "holds")
        write_json(Path("build/bench.json"), {f.name: {key: getattr(f, key) for key in keys} for f in figures})
    return 0 if all(figure.holds for figure in figures) else 1


def _print(figures: Sequence[Figure]) -> None:
    table = Table("figure", "value", "bound", "holds", "against", "detail")
    for figure in figures:
        bound = f"{'≥' if figure.at_least else '≤'} {figure.bound:g}"
        holds = "yes" if figure.holds else "NO"
        table.add_row(figure.name, f"{figure.value:.2f} {figure.unit}", bound, holds, figure.against, figure.detail)
    Console(width=160).print(table)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
