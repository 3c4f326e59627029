"""Which pages of a TIFF are the slide's levels, which are its label and macro, and what is too large to be true."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import tifffile

from wsi.errors import SlideError
from wsi.readers.base import LARGEST_ASSOCIATED_PX, MAX_LEVELS, MAX_SLIDE_SIDE_PX, MAX_STRIP_PX, MAX_TILE_PX
from wsi.readers.scenes import check_scene, scene_notes
from wsi.readers.tiff.decode import is_streamed, tile_size
from wsi.readers.tiff.ome import elsewhere_notes, ome_images
from wsi.readers.tiff.pixels import unsupported
from wsi.readers.tiff.scenes import APERIO_NAMES, area_px, images_of, is_transparency, levels_of, name_of

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


def level_pages(path: Path, tiff: tifffile.TiffFile, scene: int) -> tuple[list[tifffile.TiffPage], tuple[str, ...]]:
    """The pages of a scene, finest first, and what people are told of other images.

    Raises SlideError where there is no such scene, sizes are beyond what a slide can have, or the picture is spread
    over several pages.
    """
    scenes = images_of(tiff)
    check_scene(path, scene, len(scenes))
    first = scenes[scene]
    # Philips pads reduced levels to whole tiles; tifffile takes that off.
    levels = [level.keyframe for level in tiff.series[0].levels] if tiff.is_philips else levels_of(tiff, first, scenes)
    if len(levels) > MAX_LEVELS:
        raise SlideError(f"{path}: {len(levels)} levels, over the limit of {MAX_LEVELS}; the header is damaged")
    _check_planes(path, tiff, first, scenes)
    for page in levels:
        _check_size(path, page)
    sizes = [(int(page.imagewidth), int(page.imagelength)) for page in scenes]
    return levels, scene_notes(path, scene, sizes) + elsewhere_notes(tiff)


def named_pages(tiff: tifffile.TiffFile, levels: list[tifffile.TiffPage]) -> dict[str, int]:
    """Index in the chain of "label", "macro" and "thumbnail", as far as the file names them.

    By Aperio's second line of text, Philips' description, a page's name, or the image's name in OME-XML.
    """
    own = {page.offset for page in levels}
    images = ome_images(tiff)
    found: dict[str, int] = {}
    for page in (page.aspage() for page in tiff.pages):
        if page.offset in own or not 0 < area_px(page) <= LARGEST_ASSOCIATED_PX or unsupported(page):
            continue
        name = name_of(page, images)
        if name is None and tiff.is_svs and not page.is_tiled:
            name = APERIO_NAMES.get(int(page.subfiletype), "thumbnail")
        if name is not None:
            found.setdefault(name, int(page.index))
    return found


def _check_planes(
    path: Path, tiff: tifffile.TiffFile, first: tifffile.TiffPage, scenes: list[tifffile.TiffPage]
) -> None:
    """Raise SlideError where the picture is spread over several pages: shown alone, the first would look right."""
    own = {page.offset for page in scenes}
    pages = [page.aspage() for page in tiff.pages]
    planes = sum(page.shape == first.shape and page.offset not in own and not is_transparency(page) for page in pages)
    if planes:
        raise SlideError(
            f"{path}: {planes + 1} pages of {first.imagewidth} × {first.imagelength} px (channels, depths or times), "
            "not one colour picture; write one RGB plane to a file of its own"
        )


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
