"""What a person may choose about an overlay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from wsi.errors import InputError

# blocky: each tile in one colour. smooth: bilinear between tile centres. outline: only the borders of painted areas.
Style = Literal["blocky", "smooth", "outline"]
STYLES: tuple[str, ...] = get_args(Style)
# tissue: heat is cut along the outline of the tissue. tile: tiles are painted whole, the glass in them too.
Clipping = Literal["tissue", "tile"]
CLIPPINGS: tuple[str, ...] = get_args(Clipping)
_WIDEST_OUTLINE_PX = 64


@dataclass(frozen=True)
class OverlayOptions:
    """alpha: opacity of a tile of probability 1. threshold: lowest probability that is painted.

    threshold None: of several classes 0; with `heat` that class's own, see `TileScores.threshold`.
    classes: which to paint, each tile in the colour of its most probable class; None: all but background.
    heat: instead, the heat of this one class, whatever other class is more probable: cividis, fixed from 0 to 1.
    style: blocky is the default, since it shows what was scored and no more: one number a tile, with the tile's edges.
    outline_px: width of an outline, in px of the level that is shown.
    clip: tissue is the default, since glass was not scored: a tile with a tenth of tissue says nothing of the rest.
    quality: JPEG quality, 0 for lossless; tiles beside copied ones get the source's own where that is higher.
    """

    alpha: float = 0.45
    threshold: float | None = None
    classes: tuple[str, ...] | None = None
    heat: str | None = None
    style: Style = "blocky"
    outline_px: int = 3
    quality: int = 87
    clip: Clipping = "tissue"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or not 0 <= (self.threshold or 0) <= 1:
            raise InputError(f"overlay: alpha {self.alpha} and threshold {self.threshold} must lie in 0 to 1")
        if self.style not in STYLES:
            raise InputError(f"overlay.style: {self.style!r}; give {', '.join(STYLES)}")
        if self.clip not in CLIPPINGS:
            raise InputError(f"overlay.clip: {self.clip!r}; give {', '.join(CLIPPINGS)}")
        if not 1 <= self.outline_px <= _WIDEST_OUTLINE_PX:
            raise InputError(f"overlay.outline_px: {self.outline_px}; give 1 to {_WIDEST_OUTLINE_PX}")
        if self.heat is not None and self.classes is not None:
            raise InputError("overlay: give classes (each in its colour) or heat (of one class), not both")
