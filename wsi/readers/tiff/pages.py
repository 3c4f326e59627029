"""Which pages of a TIFF are the slide's levels, which are its label and macro, and what is too large to be true."""

from __future__ import annotations

import operator
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import tifffile
from tifffile import PHOTOMETRIC

from wsi.errors import SlideError
from wsi.geometry import downsample_of
from wsi.readers.base import LARGEST_ASSOCIATED_PX, MAX_LEVELS, MAX_SLIDE_SIDE_PX, MAX_STRIP_PX, MAX_TILE_PX
from wsi.readers.tiff.decode import is_streamed, tile_size
from wsi.readers.tiff.ome import ome_images
from wsi.readers.tiff.pixels import unsupported

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
    """Offsets of the pages, as far as they can be followed. TIFF 6.0, section 2; BigTIFF has 8-byte numbers.

    A TIFF of more than 4 GiB with 4-byte numbers is Hamamatsu's NDPI, which has a way of its own to go beyond them.
    """
    head = stream.read(16)
    if head[2:4] in (b"*\0", b"\0*") and os.fstat(stream.fileno()).st_size > 1 << 32:
        return
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
    images = ome_images(tiff)
    levels = [first]
    for page in sorted([*reduced, *chain], key=lambda page: -int(page.imagewidth)):
        smaller = page.imagewidth < levels[-1].imagewidth and page.is_tiled and _reduces(page, first)
        said = page.is_subifd or _is_said_to_be_reduced(tiff, page, images)
        if smaller and said and page.samplesperpixel == first.samplesperpixel and not unsupported(page):
            levels.append(page)
    return levels


def _is_said_to_be_reduced(tiff: tifffile.TiffFile, page: tifffile.TiffPage, images: Mapping[int, object]) -> bool:
    """A page of the chain is a level: its tag says so, or in Aperio's files nothing says otherwise.

    Its shape alone does not make it one: a label, a macro or a map of probabilities may have the slide's shape too.
    """
    if page.index in images or is_transparency(page):
        return False
    if tiff.is_svs:
        return _name_in(page.description) is None and int(page.subfiletype) not in _APERIO_NAMES
    return bool(page.is_reduced)


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
    images = ome_images(tiff)
    found: dict[str, int] = {}
    for page in (page.aspage() for page in tiff.pages):
        if page.offset in own or not 0 < _area_px(page) <= LARGEST_ASSOCIATED_PX or unsupported(page):
            continue
        image = images.get(int(page.index))
        name = _name_in(f"{page.description[:300]} {page.tags.valueof('PageName') or ''} {image.name if image else ''}")
        if name is None and tiff.is_svs and not page.is_tiled:
            name = _APERIO_NAMES.get(int(page.subfiletype), "thumbnail")
        if name is not None:
            found.setdefault(name, int(page.index))
    return found


# Of NewSubfileType, as Aperio uses it.
_APERIO_NAMES = {1: "label", 9: "macro"}


def _name_in(words: str) -> str | None:
    return next((name for name in ("label", "macro", "thumbnail") if name in words.lower()), None)


def _check_planes(path: Path, tiff: tifffile.TiffFile, first: tifffile.TiffPage) -> None:
    """Raise SlideError where the picture is spread over several pages: shown alone, the first would look right."""
    pages = [page.aspage() for page in tiff.pages]
    same = sum(page.shape == first.shape and not is_transparency(page) for page in pages)
    if same > 1:
        raise SlideError(
            f"{path}: {same} pages of {first.imagewidth} × {first.imagelength} px (channels, depths or times), "
            "not one colour picture; write one RGB plane to a file of its own"
        )


def is_transparency(page: tifffile.TiffPage) -> bool:
    """The page says which pixels of another are transparent."""
    return bool(page.is_mask) or page.photometric == PHOTOMETRIC.MASK


def mask_notes(tiff: tifffile.TiffFile) -> tuple[str, ...]:
    """For people: that a mask was left out."""
    masked = any(is_transparency(page.aspage()) for page in tiff.pages)
    return ("its transparency mask is ignored",) if masked else ()


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
