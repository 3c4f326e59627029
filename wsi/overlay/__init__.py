"""Blend colours over a slide: out = (1 - a) · slide + a · colour, on every level by itself.

a = alpha × probability where that reaches the threshold and there is tissue, 0 elsewhere: a fixed scale, the same on
every slide. A pixel that is not painted keeps the slide's own value; a native JPEG tile of such pixels, its own bytes.
"""

from wsi.overlay.clip import check_clip
from wsi.overlay.heat import UNPAINTED, Heat
from wsi.overlay.options import CLIPPINGS, STYLES, Clipping, OverlayOptions, Style
from wsi.overlay.painter import Painter
from wsi.overlay.pyramid import overlay_provenance, write_overlay
from wsi.overlay.region import parse_region, write_region
from wsi.overlay.view import View

__all__ = [
    "CLIPPINGS",
    "STYLES",
    "UNPAINTED",
    "Clipping",
    "Heat",
    "OverlayOptions",
    "Painter",
    "Style",
    "View",
    "check_clip",
    "overlay_provenance",
    "parse_region",
    "write_overlay",
    "write_region",
]
