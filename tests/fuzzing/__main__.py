"""`make fuzz`: mutated files through `tesela inspect` and small reads. Exit code 1 where one is not read or refused.

Violations are kept in build/fuzz, each with what went wrong beside it. `--only N` makes and runs one mutant again: it
depends on N, on --seed and on the seed files, so also on TESELA_TEST_DATA.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fuzzing.mutations import mutate
from tests.fuzzing.probing import Prober, Verdict
from tests.fuzzing.seeds import Seed, seeds

_KEPT = Path("build/fuzz")


class Bench:
    """Lays mutants out in a folder in memory, one after another under the same names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seeds = seeds(folder / "seeds")

    def warm(self) -> list[Path]:
        """Every seed as it is."""
        for seed in self.seeds:
            self.lay_out(seed, {})
        return [self.path(seed) for seed in self.seeds]

    def path(self, seed: Seed) -> Path:
        """Where a seed and its mutants lie."""
        return self.folder / seed.name

    def lay_out(self, seed: Seed, changed: dict[str, bytes]) -> Path:
        """Write the seed with `changed` files."""
        path = self.path(seed)
        if seed.is_folder and not path.exists():
            for name, raw in seed.files.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(raw)
        for name, raw in (changed if seed.is_folder else {**seed.files, **changed}).items():
            # A new file each time: what a reader may still have mapped keeps its bytes.
            (path / name).unlink(missing_ok=True)
            (path / name).write_bytes(raw)
        return path

    def restore(self, seed: Seed, changed: dict[str, bytes]) -> None:
        """Undo `changed` in a folder."""
        if seed.is_folder:
            self.lay_out(seed, {name: seed.files[name] for name in changed})


def run(numbers: range, seed: int, folder: Path) -> tuple[Counter[tuple[str, str]], list[str]]:
    """(kind, outcome) → files, and a line for every violation."""
    bench = Bench(folder)
    counted: Counter[tuple[str, str]] = Counter()
    violations = []
    with Prober(bench.warm()) as prober:
        for healthy in bench.seeds:
            verdict = prober.probe(bench.path(healthy))
            # What is refused when it is whole tells nothing when it is damaged.
            if verdict.outcome != "read":
                violations.append(f"seed {healthy.name}, undamaged: {verdict.detail}")
        for number in numbers:
            origin, changed = mutate(bench.seeds, number, seed)
            path = bench.lay_out(origin, changed)
            verdict = prober.probe(path)
            counted[origin.kind, verdict.outcome] += 1
            if verdict.outcome == "violation":
                violations.append(f"{number} ({origin.name}): {verdict.detail}")
                _keep(number, seed, path, verdict)
            bench.restore(origin, changed)
    return counted, violations


def _keep(number: int, seed: int, path: Path, verdict: Verdict) -> None:
    kept = _KEPT / f"{seed}-{number}-{path.name}"
    kept.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, kept, dirs_exist_ok=True)
    else:
        shutil.copyfile(path, kept)
    kept.with_name(f"{kept.name}.txt").write_text(verdict.detail + "\n", "utf-8")


def main() -> int:
    """Run, print a table and every violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--files", type=int, default=20_000, help="mutants to make")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other mutants")
    parser.add_argument("--only", type=int, metavar="N", help="mutant N alone")
    options = parser.parse_args()
    numbers = range(options.files) if options.only is None else range(options.only, options.only + 1)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    memory = Path("/dev/shm")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        counted, violations = run(numbers, options.seed, Path(folder))
    table = Table("kind", "files", "read", "refused", "violations")
    outcomes = ("read", "refused", "violation")
    for kind in [*dict.fromkeys(kind for kind, _ in counted), "all"]:
        sums = [sum(n for (k, o), n in counted.items() if o == outcome and kind in (k, "all")) for outcome in outcomes]
        table.add_row(kind, *(f"{number:,}" for number in (sum(sums), *sums)))
    Console(width=160).print(table)
    print(f"{sum(counted.values()):,} files in {time.monotonic() - start:.0f} s, seed {options.seed}")
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
