"""`make bench`: every figure in one run, as a table and in build/bench.json.

`python -m benchmarks tiles ink` measures these parts alone; in the file, the figures of the others stay. Some take too
long for every run, and are only measured by name: `python -m benchmarks nine prostate crc5 large whole`.

Exit code 1 where a figure is missed, or a part fails or does not end.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.parts import LONG, PARTS
from benchmarks.running import Measured, measure_apart
from wsi.atomic import write_json

_FILE = Path("build/bench.json")
# Several times what a part takes on two cores that have nothing else to do.
_LIMIT_S, _LONG_LIMIT_S = 45 * 60, 4 * 3600
_KEYS = ("value", "unit", "against", "bound", "holds")


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what Tesela is held to.")
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} (default: all of these); {', '.join(LONG)}")
    parser.add_argument("--limit-s", type=float, help="seconds that a part may take")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.parts) - {*PARTS, *LONG}):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join([*PARTS, *LONG])}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the part that runs is ended too
    measured = []
    for part in given.parts or PARTS:
        Console(stderr=True).print(f"{part} ...")
        measured.append(measure_apart(part, given.limit_s or (_LONG_LIMIT_S if part in LONG else _LIMIT_S)))
        record(measured[-1], _FILE)
    show(measured)
    return 0 if all(not each.fault and all(figure.holds for figure in each.figures) for each in measured) else 1


def record(measured: Measured, file: Path) -> None:
    """Put a part's figures into the file, in place of those it had; a part that failed has none."""
    try:
        figures: dict[str, dict[str, Any]] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        figures = {}
    figures = {name: values for name, values in figures.items() if values.get("part") != measured.part}
    about = {"part": measured.part, "measured": datetime.now(UTC).isoformat(timespec="seconds")}
    figures |= {each.name: {key: getattr(each, key) for key in _KEYS} | about for each in measured.figures}
    write_json(file, figures)


def show(measured: Sequence[Measured]) -> None:
    """Print the figures; then what there is none of, and why."""
    table = Table("figure", "value", "bound", "holds", "against", "detail")
    for figure in (figure for each in measured for figure in each.figures):
        table.add_row(*_row(figure))
    console = Console(width=160, markup=False)
    console.print(table)
    for each in measured:
        if each.fault:
            console.print(f"{each.part}: NOT MEASURED: {each.fault}", style="red")
        elif not each.figures:
            console.print(f"{each.part}: left out, its slides are not there (TESELA_TEST_DATA)")


def _row(figure: Figure) -> tuple[str, ...]:
    bound = f"{'≥' if figure.at_least else '≤'} {figure.bound:g}"
    holds = "yes" if figure.holds else "NO"
    return (figure.name, f"{figure.value:.2f} {figure.unit}", bound, holds, figure.against, figure.detail)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
