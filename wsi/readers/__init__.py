"""Readers, in the order they are tried: the fastest that understands the file wins."""

from __future__ import annotations

from wsi.errors import SlideError
from wsi.readers.base import Header, NativeTiles, Reader
from wsi.readers.openslide import OpenSlideReader
from wsi.readers.picture import PictureReader
from wsi.readers.tiff import TiffReader
from wsi.readers.zarr import ZarrReader
from wsi.source import Scene, Source, Url, file_of

# Flat pictures last: the index file of a MIRAX slide is a JPEG, its thumbnail.
READERS: tuple[type[Reader], ...] = (ZarrReader, TiffReader, OpenSlideReader, PictureReader)

__all__ = ["READERS", "Header", "NativeTiles", "Reader", "open_reader"]


def open_reader(source: Source) -> Reader:
    """The first reader that understands `source`.

    Raises SlideError, naming the file and what to do, where it is missing, empty, damaged or of no known kind.
    """
    file, scene = file_of(source), source.number if isinstance(source, Scene) else 0
    if isinstance(file, Url):
        remote = ZarrReader.open(file, scene)
        assert remote is not None, "of addresses it reads all or raises"
        return remote
    if not file.exists():
        raise SlideError(f"{file}: no such file")
    if not (file.is_file() or file.is_dir()):
        raise SlideError(f"{file}: neither a file nor a folder")
    if file.is_file() and file.stat().st_size == 0:
        raise SlideError(f"{file}: the file is empty; copy it again from its source")
    for kind in READERS:
        reader = kind.open(file, scene)
        if reader is not None:
            return reader
    raise SlideError(
        f"{file}: not a slide that Tesela can read (tried {', '.join(kind.name for kind in READERS)}); "
        "give a TIFF, SVS, MRXS, NDPI, DICOM, OME-Zarr, JPEG, PNG... or convert it to TIFF first"
    )
