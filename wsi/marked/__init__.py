"""A clean slide and the marked copy of it: registered, subtracted, read as regions."""

from wsi.marked.regions import MarkedOptions, MarkedRegions, marked_regions
from wsi.marked.registration import Registration

__all__ = ["MarkedOptions", "MarkedRegions", "Registration", "marked_regions"]
