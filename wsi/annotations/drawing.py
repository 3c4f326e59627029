"""What somebody drew on a slide: the content of one annotation file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsi.annotations.region import Region


@dataclass(frozen=True)
class Drawing:
    """Regions in level-0 px, and what else the file holds.

    regions: each with its class; areas that the file excludes from them are cut out. exclusions: how many those are.
    notes: what a person should know of it.
    """

    regions: Sequence[Region]
    exclusions: int = 0
    notes: tuple[str, ...] = ()
