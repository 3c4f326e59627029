"""Pen marks: finding them, and reading what they enclose."""

from wsi.ink.pixels import ink_pixels
from wsi.ink.regions import Area, InkOptions, InkRegions, ink_regions, regions_mask
from wsi.ink.strokes import PEN_RGB, ink_mask, stain_like_ink

__all__ = [
    "PEN_RGB",
    "Area",
    "InkOptions",
    "InkRegions",
    "ink_mask",
    "ink_pixels",
    "ink_regions",
    "regions_mask",
    "stain_like_ink",
]
