"""Which files a slide is made of: many scanners write an index, and the pixels into files beside it."""

from __future__ import annotations

import re
from pathlib import Path

from defusedxml import DefusedXmlException, ElementTree

from wsi.readers.dicom import series_files

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# Index files of Hamamatsu's VMS and VMU: "ImageFile(1,0)=slide-b.jpg".
_NAMED_FILE = re.compile(r"^[A-Za-z]+(?:\([0-9,]+\))?\s*=\s*(\S.*?)\s*$", re.MULTILINE)
_MAX_INDEX_BYTES = 16 << 20


def parts_of(path: Path) -> list[Path]:
    """All files that the pixels of a slide may come from, sorted, `path` among them; of a folder all files below it.

    MIRAX: its index and the folder of its name. DICOM: the files of its series in its folder. VMS and VMU: what the
    index names. OME-TIFF of several files: what its metadata name. What is named and missing is left out, for a reader
    to say. Pixels are not read. Raises OSError where `path` cannot be read.
    """
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if each.is_file())
    with path.open("rb") as stream:
        head = stream.read(132)
    ending = path.suffix.lower()
    if ending == ".mrxs":
        folder = path.with_suffix("")
        return sorted([path, *(parts_of(folder) if folder.is_dir() else [])])
    if ending in (".vms", ".vmu"):
        return _beside(path, _NAMED_FILE.findall(_text(path)))
    if head[128:] == b"DICM":
        return series_files(path)
    if head[:4] in _TIFF and ".ome." in path.name.lower():
        return _beside(path, _ome_files(path))
    return [path]


def _beside(path: Path, names: list[str]) -> list[Path]:
    """`path` and those of the named files that lie in its folder or below it."""
    inside = [name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts]
    return sorted({path, *(each for name in inside if (each := path.parent / name).is_file())})


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_MAX_INDEX_BYTES).decode("utf-8", "replace")


def _ome_files(path: Path) -> list[str]:
    """The files that the OME-XML of a TIFF names, or that of the companion file which it points to."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            names = _named(tiff.pages.first.description)
    except Exception:  # a damaged one is the reader's to report
        return []
    companions = [name for name in names if name.lower().endswith(".companion.ome")]
    found = [_named(_text(each)) for name in companions if (each := path.parent / name).is_file()]
    return [*names, *(name for inner in found for name in inner)]


def _named(xml: str) -> list[str]:
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, DefusedXmlException, ValueError):
        return []
    uuids = [uuid.get("FileName") for uuid in root.iterfind("{*}Image/{*}Pixels/{*}TiffData/{*}UUID")]
    binary = [only.get("MetadataFile") for only in root.iterfind("{*}BinaryOnly")]
    return sorted({name for name in (*uuids, *binary) if name})
