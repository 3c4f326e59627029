"""Where each level of an overlay comes from: the source's own level, or the one before it, halved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from wsi.readers.base import NativeTiles
from wsi.slide import Slide
from wsi.writers.copying import CopyPlan, plan_copy
from wsi.writers.halving import level_sizes
from wsi.writers.jpeg import quality_of
from wsi.writers.pyramid import PyramidOptions, TiledLevel


@dataclass(frozen=True)
class Run:
    """A level that the source has, and those after it that it lacks: sizes (width, height) from level `first` on."""

    first: int
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class OverlayPlan:
    """levels: as they lie in the file. copied: level → the source's tiles, of which those not painted are copied.

    runs: all levels, by where their pixels come from. built: how levels are encoded that are not copied.
    """

    levels: tuple[TiledLevel, ...]
    copied: Mapping[int, NativeTiles]
    runs: tuple[Run, ...]
    built: PyramidOptions

    def quality(self, level: int) -> int:
        """JPEG quality of the painted tiles of a copied level: as asked, or the source's own where that is higher.

        So a painted tile is no coarser than its neighbours; with the source's own quality, what is encoded once more
        hardly changes.
        """
        tiles = self.copied[level]
        first = next((data for index in range(tiles.rows * tiles.columns) if (data := tiles.raw(index))), b"")
        return max(self.built.quality, quality_of(tiles.jpeg_tables or b"", first) or 0)


def plan_overlay(slide: Slide, quality: int) -> OverlayPlan:
    """The levels of a slide's overlay. quality: of JPEG; 0: lossless."""
    asked = PyramidOptions.of_quality(quality)
    copy = _copy_plan(slide, asked)
    copied = copy.copied if copy else {}
    built = replace(copy.built, quality=asked.quality) if copy else asked
    sizes = {power: size for power, size in _own_sizes(slide).items() if not copied or power in copied}
    runs: list[Run] = []
    for power in range(_count(slide, built, copied)):
        if power in sizes:
            runs.append(Run(power, (sizes[power],)))
        else:
            width, height = runs[-1].sizes[-1]
            runs[-1] = replace(runs[-1], sizes=(*runs[-1].sizes, (width // 2, height // 2)))
    levels = tuple(
        TiledLevel.native(size, copied[power]) if power in copied else TiledLevel.encoded(size, built)
        for power, size in enumerate(size for run in runs for size in run.sizes)
    )
    return OverlayPlan(levels, copied, tuple(runs), built)


def _count(slide: Slide, built: PyramidOptions, copied: Mapping[int, NativeTiles]) -> int:
    """Levels until one tile holds the slide, or as many as are copied."""
    return max(len(level_sizes(*slide.size, built.tile_px)), 1 + max(copied, default=0))


def _copy_plan(slide: Slide, asked: PyramidOptions) -> CopyPlan | None:
    """Which tiles can be copied; None where they are not stored as was asked for: by JPEG, or lossless."""
    if slide.icc != "as-is":
        return None
    plan = plan_copy(slide)
    return plan if plan is not None and (plan.codec == "jpeg") == (asked.codec == "jpeg") else None


def _own_sizes(slide: Slide) -> dict[int, tuple[int, int]]:
    """Power of 2 → (width, height) of the source's level that is so much smaller."""
    powers = ((math.log2(level.downsample), level) for level in slide.header.levels)
    return {int(power): (level.width, level.height) for power, level in powers if power.is_integer()}
