"""Which pages of a TIFF are the slide's levels, which are its label and macro, and what is too large to be true."""

from __future__ import annotations

import operator
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import tifffile

from wsi.errors import SlideError
from wsi.geometry import downsample_of
from wsi.readers.base import LARGEST_ASSOCIATED_PX, MAX_LEVELS, MAX_SLIDE_SIDE_PX, MAX_STRIP_PX, MAX_TILE_PX
from wsi.readers.tiff_decode import is_streamed, tile_size
from wsi.readers.tiff_pixels import unsupported

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# A slide has a dozen; stacks of depths and times have more, and are refused by name where they are fewer than this.
_MAX_PAGES = 1000


def check_chain(path: Path) -> None:
    """Raise SlideError where the pages form a loop, or are more than any slide has.

    Before tifffile sees the file: it follows some loops for ever.
    """
    seen: set[int] = set()
    with path.open("rb") as stream:
        for offset in _chain(stream):
            if offset in seen:
                raise SlideError(f"{path}: its pages form a loop (at byte {offset:,}); the file is damaged")
            seen.add(offset)
            if len(seen) > _MAX_PAGES:
                raise SlideError(
                    f"{path}: more than {_MAX_PAGES} pages, no slide; write the pages that belong together to a file"
                )


def _chain(stream: BinaryIO) -> Iterator[int]:
    """Offsets of the pages, as far as they can be followed. TIFF 6.0, section 2; BigTIFF has 8-byte numbers."""
    head = stream.read(16)
    order, big = ("<" if head[:2] == b"II" else ">"), head[2:4] in (b"+\0", b"\0+")
    number, count, entry, start = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
    number, count = order + number, order + count
    try:
        (offset,) = struct.unpack_from(number, head, start)
        while offset:
            yield offset
            stream.seek(offset)
            (entries,) = struct.unpack(count, stream.read(struct.calcsize(count)))
            stream.seek(offset + struct.calcsize(count) + entry * entries)
            (offset,) = struct.unpack(number, stream.read(struct.calcsize(number)))
    except (struct.error, OSError, OverflowError, ValueError):
        return  # a chain that leads out of the file ends there, as libtiff and tifffile have it


def level_pages(path: Path, tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The largest page and its reduced copies, finest first: pages of the chain and SubIFDs alike.

    Label, macro and thumbnail images differ in shape, or are striped where the slide is tiled. Raises SlideError
    where sizes are beyond what a slide can have, or where the picture is spread over several pages.
    """
    # Philips pads reduced levels to whole tiles; tifffile takes that off.
    levels = [level.keyframe for level in tiff.series[0].levels] if tiff.is_philips else _levels(tiff)
    if len(levels) > MAX_LEVELS:
        raise SlideError(f"{path}: {len(levels)} levels, over the limit of {MAX_LEVELS}; the header is damaged")
    _check_planes(path, tiff, levels[0])
    for page in levels:
        _check_size(path, page)
    return levels


def _levels(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    chain = [page.aspage() for page in tiff.pages]
    # Almost always the first. Some writers put a thumbnail before it.
    first = max(chain, key=lambda page: (_area_px(page), page.is_tiled))
    if not first.is_tiled:
        return [first]
    reduced = [page.aspage() for page in first.pages] if first.pages else []
    levels = [first]
    for page in sorted([*reduced, *chain], key=lambda page: -int(page.imagewidth)):
        smaller = page.imagewidth < levels[-1].imagewidth and page.is_tiled
        if smaller and not unsupported(page) and _reduces(page, first):
            levels.append(page)
    return levels


def _area_px(page: tifffile.TiffPage) -> int:
    """Raises TypeError where a side is no number: a damaged one may be text, and text times a number is long."""
    return operator.index(page.imagewidth) * operator.index(page.imagelength)


def _reduces(page: tifffile.TiffPage, first: tifffile.TiffPage) -> bool:
    """The page shows the same as the first: it has its shape, within rounding."""
    size, small = (int(first.imagewidth), int(first.imagelength)), (int(page.imagewidth), int(page.imagelength))
    if min(small) < 1:
        return False
    scale = downsample_of(size, small)
    ratios = (size[0] / small[0], size[1] / small[1])
    return max(abs(ratio - scale) / scale for ratio in ratios) < 0.02 or float(scale).is_integer()


def named_pages(tiff: tifffile.TiffFile, levels: list[tifffile.TiffPage]) -> dict[str, int]:
    """Index in the chain of "label", "macro" and "thumbnail", as far as the file names them.

    By Aperio's second line of text, Philips' description, a page's name, or the image's name in OME-XML.
    """
    own = {page.offset for page in levels}
    images = _ome_image_names(tiff)
    found: dict[str, int] = {}
    for page in (page.aspage() for page in tiff.pages):
        if page.offset in own or not 0 < _area_px(page) <= LARGEST_ASSOCIATED_PX or unsupported(page):
            continue
        words = " ".join((page.description[:300], str(page.tags.valueof("PageName") or ""), images.get(page.index, "")))
        name = next((name for name in ("label", "macro", "thumbnail") if name in words.lower()), None)
        if name is None and tiff.is_svs and not page.is_tiled:
            name = {1: "label", 9: "macro"}.get(int(page.subfiletype), "thumbnail")
        if name is not None:
            found.setdefault(name, int(page.index))
    return found


def _ome_image_names(tiff: tifffile.TiffFile) -> dict[int, str]:
    """Name of the OME image by the index of its first page."""
    if not tiff.is_ome:
        return {}
    return {int(series.keyframe.index): series.name for series in tiff.series if isinstance(series.keyframe.index, int)}


def _check_planes(path: Path, tiff: tifffile.TiffFile, first: tifffile.TiffPage) -> None:
    """Raise SlideError where the picture is spread over several pages: shown alone, the first would look right."""
    same = sum(page.aspage().shape == first.shape for page in tiff.pages) if first.is_tiled else 1
    if same > 1:
        raise SlideError(
            f"{path}: {same} pages of {first.imagewidth} × {first.imagelength} px (channels, depths or times), "
            "not one colour picture; write one RGB plane to a file of its own"
        )


def _check_size(path: Path, page: tifffile.TiffPage) -> None:
    """Raise SlideError where the header declares more than a slide can be.

    Before OpenSlide gets to see the file: where it cannot allocate what it is told to, the process is aborted.
    """
    width, height = int(page.imagewidth), int(page.imagelength)
    tile_width, tile_height = tile_size(page)
    limit, kind = (MAX_TILE_PX, "tiles") if page.is_tiled else (MAX_STRIP_PX, "strips")
    if min(width, height, tile_width, tile_height) < 1:
        raise SlideError(f"{path}: declares {width} × {height} px; damaged, copy it again from its source")
    too_large = tile_width * tile_height > limit and not is_streamed(page)
    if max(width, height) > MAX_SLIDE_SIDE_PX or too_large:
        raise SlideError(
            f"{path}: declares {width} × {height} px in {kind} of {tile_width} × {tile_height} px, over the limit "
            f"of {MAX_SLIDE_SIDE_PX} px a side and {limit} px at once; write it with smaller {kind}, "
            "or the header is damaged"
        )
