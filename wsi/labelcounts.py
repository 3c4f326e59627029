"""What became of the regions and the tiles of a slide: how many there were, and that the parts add up to it.

labels.parquet keeps this in its metadata (`tesela.label_counts`, JSON), for status and reports.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from wsi.areas import RegionCounts
from wsi.errors import InputError

_KEY = b"tesela.label_counts"


@dataclass(frozen=True)
class TileCounts:
    """What became of the tiles; `all` is the sum of the others.

    classes: tiles that are not blank, by label. The rest have none: blank: of them nothing is asked; contested:
    classes overlap there, and neither region lies within the other; ignored: within a region whose name ends in a star;
    unseen: on a part of the slide where nobody looked; undrawn: outside of every region, and no class was given for
    that; border: nothing covers enough.
    """

    all: int
    classes: Mapping[str, int]
    blank: int = 0
    contested: int = 0
    ignored: int = 0
    unseen: int = 0
    undrawn: int = 0
    border: int = 0


@dataclass(frozen=True)
class LabelCounts:
    """regions, tiles: counts. contested: tiles that two classes contest, by both. notes: for people, one line each."""

    regions: RegionCounts
    tiles: TileCounts
    contested: Mapping[tuple[str, str], int]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As it is kept, and as a program may read it."""
        contests = [{"classes": list(names), "tiles": count} for names, count in self.contested.items()]
        return {**asdict(self), "contested": contests}

    def kept_in(self, table: pa.Table) -> pa.Table:
        """The table with these counts in its metadata."""
        said = json.dumps(self.to_json(), ensure_ascii=False)
        return table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: said})

    @classmethod
    def of_table(cls, table: pa.Table, path: Path) -> LabelCounts:
        """Those of labels.parquet; raises InputError where the table has none."""
        return cls.of_schema(table.schema, path)

    @classmethod
    def of_schema(cls, schema: pa.Schema, path: Path) -> LabelCounts:
        """As `of_table`, of the table's schema alone."""
        raw = (schema.metadata or {}).get(_KEY)
        if raw is None:
            raise InputError(f"{path}: does not say how many tiles and regions it counted; run `tesela label` again")
        found = json.loads(raw)
        contested = {(one["classes"][0], one["classes"][1]): one["tiles"] for one in found["contested"]}
        regions, tiles = RegionCounts(**found["regions"]), TileCounts(**found["tiles"])
        return cls(regions, tiles, contested, tuple(found["notes"]))

    def lines(self) -> list[str]:
        """For people: labelled tiles, those without a class, and regions."""
        regions, tiles = asdict(self.regions), asdict(self.tiles)
        classes, drawn, every = tiles.pop("classes"), regions.pop("drawn"), tiles.pop("all")
        return [
            f"labelled tiles: {_listed(classes)}",
            f"without a class: {_listed(tiles)} (of {every} tiles in all)",
            f"regions: {_listed(regions)} (of {drawn} that were drawn)",
        ]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"
