"""The TIFF family: which pages are levels, where their tiles lie, how they are decoded and what is known of them."""

from wsi.readers.tiff.reader import TiffReader

__all__ = ["TiffReader"]
