"""Readers, in the order they are tried: the fastest that understands the file wins."""

from __future__ import annotations

from wsi.errors import SlideError
from wsi.readers.base import Header, NativeTiles, Reader
from wsi.readers.openslide import OpenSlideReader
from wsi.readers.picture import PictureReader
from wsi.readers.tiff import TiffReader
from wsi.readers.zarr import ZarrReader
from wsi.source import Source, Url

# Flat pictures last: the index file of a MIRAX slide is a JPEG, its thumbnail.
READERS: tuple[type[Reader], ...] = (ZarrReader, TiffReader, OpenSlideReader, PictureReader)

__all__ = ["READERS", "Header", "NativeTiles", "Reader", "open_reader"]


def open_reader(source: Source) -> Reader:
    """The first reader that understands `source`.

    Raises SlideError, naming the file and what to do, where it is missing, empty, damaged or of no known kind.
    """
    if isinstance(source, Url):
        remote = ZarrReader.open(source)
        assert remote is not None, "of addresses it reads all or raises"
        return remote
    if not source.exists():
        raise SlideError(f"{source}: no such file")
    if not (source.is_file() or source.is_dir()):
        raise SlideError(f"{source}: neither a file nor a folder")
    if source.is_file() and source.stat().st_size == 0:
        raise SlideError(f"{source}: the file is empty; copy it again from its source")
    for kind in READERS:
        reader = kind.open(source)
        if reader is not None:
            return reader
    raise SlideError(
        f"{source}: not a slide that Tesela can read (tried {', '.join(kind.name for kind in READERS)}); "
        "give a TIFF, SVS, MRXS, NDPI, DICOM, OME-Zarr, JPEG, PNG... or convert it to TIFF first"
    )
