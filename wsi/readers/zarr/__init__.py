"""OME-Zarr: what its metadata say, its levels as arrays, and stores and codecs with limits."""

from wsi.readers.zarr.reader import ZarrReader

__all__ = ["ZarrReader"]
