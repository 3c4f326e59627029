"""Where the page's numbers come from: versions, configuration, which weights scored what, how long it took."""

from __future__ import annotations

import csv
import platform
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipelines.reporting.cards import Card
from pipelines.status import STAGE_FILES

_PACKAGES = ("numpy", "tifffile", "imagecodecs", "openslide-python", "timm", "torch", "snakemake")
# The configuration as it was understood, where the workflow left it.
CONFIGURATION = "config.yaml"
# The report's own time is that of the report before.
_NOT_TIMED = "report"


@dataclass(frozen=True)
class StageTime:
    """How long the jobs of a stage took, in s, and the most memory that one of them held, in MB (None: not known)."""

    stage: str
    jobs: int
    total_s: float
    median_s: float
    longest_s: float
    longest_job: str
    most_mb: float | None


@dataclass(frozen=True)
class Scored:
    """So many slides were scored by this model, of these weights and this digest (SHA-256), in this precision."""

    slides: int
    model: str
    weights: str
    model_digest: str
    precision: str


@dataclass(frozen=True)
class Provenance:
    """Versions of what wrote the page, the configuration as text ('' where it was not kept), models, times."""

    versions: tuple[tuple[str, str], ...]
    configuration: str
    scored: tuple[Scored, ...]
    times: tuple[StageTime, ...]


def provenance_of(run: Path, cards: Sequence[Card]) -> Provenance:
    """All of it, as far as the run's folder tells."""
    path = run / CONFIGURATION
    text = path.read_text("utf-8", errors="replace") if path.exists() else ""
    return Provenance(_versions(), text, _scored(cards), tuple(_times(run / "benchmarks")))


def _versions() -> tuple[tuple[str, str], ...]:
    found = [("tesela", version("tesela")), ("Python", platform.python_version()), ("system", platform.platform())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not installed"))
    return tuple(found)


def _scored(cards: Iterable[Card]) -> tuple[Scored, ...]:
    counts = Counter(
        tuple(str(card.summary.get(key) or "unknown") for key in ("model", "weights", "model_digest", "precision"))
        for card in cards
        if card.summary
    )
    return tuple(Scored(count, *which) for which, count in counts.most_common())


def _times(folder: Path) -> Iterable[StageTime]:
    """One row a stage, in the order in which they run; those that not every slide goes through come last."""
    order = {stage: number for number, (stage, _) in enumerate(STAGE_FILES)}
    for place in sorted(folder.glob("*"), key=lambda place: (order.get(place.name, len(order)), place.name)):
        stage = place.name.removesuffix(".tsv")
        if stage == _NOT_TIMED:
            continue
        files = sorted(place.glob("*.tsv")) if place.is_dir() else [place]
        found = [(file.stem, *measured) for file in files if (measured := _measured(file)) is not None]
        if found:
            seconds = [took for _, took, _ in found]
            longest = max(found, key=lambda entry: entry[1])
            yield StageTime(
                stage,
                len(found),
                sum(seconds),
                statistics.median(seconds),
                longest[1],
                longest[0],
                max((mb for _, _, mb in found if mb is not None), default=None),
            )


def _measured(path: Path) -> tuple[float, float | None] | None:
    """(seconds, MB or None) of a benchmark that Snakemake wrote; None where it holds none."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            row = next(csv.DictReader(stream, delimiter="\t"))
        return float(row["s"]), _number(row.get("max_rss"))
    except (OSError, ValueError, KeyError, TypeError, StopIteration, csv.Error):
        return None


def _number(text: str | None) -> float | None:
    """Snakemake writes NA or - where a job ended before it was looked at."""
    try:
        return float(text or "")
    except ValueError:
        return None
