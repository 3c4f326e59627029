"""Blend colours over a slide: out = (1 - a) · slide + a · colour, on every level by itself.

a = alpha × probability where that reaches the threshold, 0 elsewhere: a fixed scale, the same on every slide. A pixel
that no painted tile touches keeps the slide's own value; a native JPEG tile without such a pixel, its own bytes.
"""

from wsi.overlay.heat import UNPAINTED, Heat
from wsi.overlay.options import STYLES, OverlayOptions, Style
from wsi.overlay.painter import Painter
from wsi.overlay.pyramid import overlay_provenance, write_overlay
from wsi.overlay.region import parse_region, write_region
from wsi.overlay.view import View

__all__ = [
    "STYLES",
    "UNPAINTED",
    "Heat",
    "OverlayOptions",
    "Painter",
    "Style",
    "View",
    "overlay_provenance",
    "parse_region",
    "write_overlay",
    "write_region",
]
