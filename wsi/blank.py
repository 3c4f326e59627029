"""Which candidate tiles are blank, and why, from their numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi.tilestats import TileStats

# What `blank_reason` says; the first: not blank.
REASONS = ("", "no tissue", "bright", "flat", "ink", "out of focus")
NO_TISSUE = REASONS.index("no tissue")
_ENOUGH_TO_TELL_STAIN = 50


# Thresholds were chosen so that the filter keeps fat and mucus even where the mask takes everything for tissue. Of
# generated tiles at 0.5 mpp, half of which or more is fat, 99 in 100 have a contrast above 2.5 and a colour above 2;
# glass has 0.6 to 1.4 and below 0.7, with dust up to 30 and 1.1. Glass of two real slides has a contrast of 3 to 5.
# Dark folds of lymphocytes have up to 0.55 of "ink", strokes of a pen 0.65 to 0.96.


@dataclass(frozen=True)
class BlankOptions:
    """When a tile is blank; of its numbers see `wsi.tilestats`. What was dropped is never scored: doubt keeps a tile.

    bright_level, max_bright, min_colour: "bright" is a tile with more than `max_bright` (0-1) of its pixels above
    `bright_level` (0-255, darkest channel), whose colour varies less than `min_colour` (grey levels): glass, and on it
    at most what has no colour, such as dust or the edge of a coverslip. Fat is as bright, but not as colourless.
    min_contrast: "flat" is a tile of less contrast (grey levels): glass of any shade, an air bubble's inside.
    max_ink: "ink" is a tile with more than this share of ink-coloured pixels (0-1). Where most of a slide's
    candidates are such (of 50 or more), that is the colour of its stain (Giemsa), and none is dropped for it: the mask
    has left out the strokes.
    min_focus: "out of focus" is a tile of less focus (see `wsi.focus`). None: nothing is dropped for it, nor is it
    measured, since that takes a third more time; 0 measures it and drops nothing.
    """

    bright_level: int = 215
    max_bright: float = 0.85
    min_colour: float = 1.5
    min_contrast: float = 1.0
    max_ink: float = 0.6
    min_focus: float | None = None


def blank_reasons(stats: TileStats, options: BlankOptions) -> NDArray[np.int8]:
    """(N,) why each tile is blank: index into REASONS, 0 where it is not."""
    inked = stats["ink"] > options.max_ink
    if len(inked) >= _ENOUGH_TO_TELL_STAIN and inked.mean() > 0.5:
        inked[:] = False
    min_focus = -np.inf if options.min_focus is None else options.min_focus
    reasons: NDArray[np.int8] = np.select(
        [
            (stats["bright"] > options.max_bright) & (stats["colour"] < options.min_colour),
            stats["contrast"] < options.min_contrast,
            inked,
            stats["focus"] < min_focus,  # not where it could not be told (NaN)
        ],
        [REASONS.index(name) for name in ("bright", "flat", "ink", "out of focus")],
        default=0,
    ).astype(np.int8)
    return reasons
