"""Tissue outlines, as they were written or as a person corrected them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import shapely

from wsi.annotations.nesting import merged, settle
from wsi.annotations.region import Region
from wsi.errors import InputError

TISSUE = "tissue"
_KEY = b"tesela.tissue_outlines"


@dataclass(frozen=True)
class TissueOutlines:
    """What is tissue, level-0 px.

    regions: areas of tissue. named: number of regions that were so named; taken_out: and of each other name.
    """

    regions: tuple[Region, ...]
    named: int
    taken_out: Mapping[str, int]

    @classmethod
    def of(cls, drawn: Sequence[Region]) -> TissueOutlines:
        """What is tissue among regions: those named `tissue`, in capitals or not, without those of any other name.

        Tissue that lies within a region of another name is tissue again; where two merely overlap, there is none.
        Raises InputError where there are regions, but none is named so: all of the slide would be left out.
        """
        is_tissue = np.array([region.name.casefold() == TISSUE for region in drawn], bool)
        others = Counter(region.name for region, tissue in zip(drawn, is_tissue, strict=True) if not tissue)
        if not others:
            return cls(tuple(drawn), len(drawn), {})
        if not is_tissue.any():
            raise InputError(
                f"{drawn[0].source}: no region is named {TISSUE!r} (but {', '.join(sorted(others))}); give what is "
                "tissue that class: regions of other names are taken out of it"
            )
        areas, owner = shapely.get_parts(np.array([region.polygon for region in drawn], object), return_index=True)
        kept = settle(areas, is_tissue[owner].astype(np.int64)).kept[is_tissue[owner]]
        left = merged(kept)
        regions = () if left.is_empty else (Region(left, TISSUE, drawn[0].source),)
        return cls(regions, int(is_tissue.sum()), dict(sorted(others.items())))

    def kept_in(self, table: pa.Table) -> pa.Table:
        """The tile table with what was taken out of the tissue in its metadata (`tesela.tissue_outlines`, JSON)."""
        said = json.dumps({"tissue": self.named, "taken_out": dict(self.taken_out)}, ensure_ascii=False)
        return table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: said})

    def notes(self) -> list[str]:
        """For people: what was taken out."""
        if not self.taken_out:
            return []
        names = ", ".join(f"{count} {name}" for name, count in self.taken_out.items())
        return [f"only what is named {TISSUE!r} is tissue; taken out of it: {names}"]
