"""`make bench`: every figure in one run, as a table and as build/bench.json. Exit code 1 where one is missed."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import blanks, converting, ink, predicting, reading, tiling, tissue
from benchmarks.figures import Figure
from benchmarks.slides import slides, tiled_slides
from wsi.atomic import write_json


def main() -> int:
    """Measure, print, write."""
    figures: list[Figure] = []
    for name, path in slides().items():
        for module in (reading, predicting):
            Console(stderr=True).print(f"{module.__name__.split('.')[1]} {path.name} ...")
            figures += module.measure(name, path)
    Console(stderr=True).print("converting ...")
    figures += converting.measure()
    Console(stderr=True).print("tissue ...")
    figures += tissue.measure()
    Console(stderr=True).print("ink ...")
    figures += ink.measure()
    Console(stderr=True).print("tiles ...")
    for name, path in tiled_slides().items():
        figures += tiling.measure(name, path)
    figures += tiling.measure_growth() + blanks.measure()
    table = Table("figure", "value", "bound", "holds", "against", "detail")
    for figure in figures:
        bound = f"{'≥' if figure.at_least else '≤'} {figure.bound:g}"
        holds = "yes" if figure.holds else "NO"
        table.add_row(figure.name, f"{figure.value:.2f} {figure.unit}", bound, holds, figure.against, figure.detail)
    Console(width=160).print(table)
    keys = ("value", "unit", "against", "bound", "holds")
    write_json(Path("build/bench.json"), {f.name: {key: getattr(f, key) for key in keys} for f in figures})
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
