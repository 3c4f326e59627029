"""Readers, in the order they are tried: the fastest that understands the file wins."""

from __future__ import annotations

from pathlib import Path

from wsi.errors import SlideError
from wsi.readers.base import Header, Reader
from wsi.readers.openslide import OpenSlideReader
from wsi.readers.tiff import TiffReader
from wsi.readers.zarr import ZarrReader

READERS: tuple[type[Reader], ...] = (ZarrReader, TiffReader, OpenSlideReader)

__all__ = ["READERS", "Header", "Reader", "open_reader"]


def open_reader(path: Path) -> Reader:
    """The first reader that understands `path`.

    Raises SlideError, naming the file and what to do, where it is missing, empty, damaged or of no known kind.
    """
    if not path.exists():
        raise SlideError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise SlideError(f"{path}: the file is empty; copy it again from its source")
    for kind in READERS:
        reader = kind.open(path)
        if reader is not None:
            return reader
    raise SlideError(
        f"{path}: not a slide that Tesela can read (tried {', '.join(kind.name for kind in READERS)}); "
        "give a TIFF, SVS, MRXS, NDPI, DICOM... or convert it to TIFF first"
    )
