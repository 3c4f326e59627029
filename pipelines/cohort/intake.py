"""What went into a cohort, counted: what is there, what became a slide, and what did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Intake:
    """Counts that add up: seen = slides + parts + links + hidden + all of left_out.

    unit: what is counted, the files of a folder (with folders that were not entered) or the rows of a sheet.
    parts: further files of slides that are made of several. links: further ways to what is counted already.
    left_out: files by ending. warnings: what a person should look at, a line each.
    """

    unit: Literal["file", "row"]
    seen: int
    slides: int
    parts: int = 0
    links: int = 0
    hidden: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict, hash=False)
    warnings: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """All counts that are not 0, in one line."""
        others = {
            "more that belong to a slide": self.parts,
            "by a link to what is counted": self.links,
            "hidden or of the system": self.hidden,
        }
        words = [_many(self.slides, "slide"), *(f"{count} {what}" for what, count in others.items() if count)]
        if self.left_out:
            kinds = ", ".join(f"{count} {ending}" for ending, count in self.left_out.items())
            words.append(f"left out: {kinds} (give slides among them in a sheet)")
        return f"{_many(self.seen, self.unit)}: {', '.join(words)}"

    def to_json(self) -> dict[str, Any]:
        """As cohort.json and status.json have it."""
        return {**asdict(self), "left_out": dict(self.left_out), "warnings": list(self.warnings)}

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Intake:
        """What `to_json` gave. Raises TypeError where a count is missing or unknown."""
        return cls(**{**value, "warnings": tuple(value["warnings"])})


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
