"""The images of a TIFF, and which pages are the levels of each: pages of the chain and SubIFDs alike."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import tifffile
from tifffile import PHOTOMETRIC

from wsi.geometry import downsample_of
from wsi.readers.tiff.ome import OmeImage, ome_images
from wsi.readers.tiff.pixels import unsupported

# Of NewSubfileType, as Aperio uses it.
APERIO_NAMES = {1: "label", 9: "macro"}
_COLOUR_SAMPLES = 3


def images_of(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """The first page of every scene: the largest first, of equal ones the first in the file.

    Label, macro and thumbnail are none, as far as they are named, or striped where the slide is tiled. Pages that
    are not said to be reduced are scenes, also where they show the largest one smaller: their shape proves nothing.
    """
    chain = [page.aspage() for page in tiff.pages]
    # Almost always the first. Some writers put a thumbnail before it.
    main = max(chain, key=lambda page: (area_px(page), page.is_tiled))
    if tiff.is_svs or tiff.is_philips:
        return [main]
    images = ome_images(tiff)
    others = [page for page in chain if page is not main and _is_image(page, main, images)]
    return sorted([main, *others], key=lambda page: -area_px(page))


def _is_image(page: tifffile.TiffPage, main: tifffile.TiffPage, images: Mapping[int, OmeImage]) -> bool:
    whole = not (page.is_reduced or is_transparency(page)) and area_px(page) > 0 and name_of(page, images) is None
    alike = page.is_tiled == main.is_tiled and page.samplesperpixel == main.samplesperpixel
    # Outside of OME, grey pages side by side are the channels, depths or times of one picture, or maps of it.
    own = page.index in images if images else page.samplesperpixel >= _COLOUR_SAMPLES
    return bool(whole and alike and own) and not unsupported(page)


def levels_of(
    tiff: tifffile.TiffFile, first: tifffile.TiffPage, scenes: list[tifffile.TiffPage]
) -> list[tifffile.TiffPage]:
    """The page and its reduced copies, finest first. `scenes`: the first pages of all images of the file."""
    if not first.is_tiled:
        return [first]
    chain = [page.aspage() for page in tiff.pages]
    if len(scenes) > 1:
        # Its copies stand between its own page and that of the next image.
        ends = [int(page.index) for page in scenes if page.index > first.index]
        chain = chain[int(first.index) : min(ends, default=len(chain))]
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
        return name_in(page.description) is None and int(page.subfiletype) not in APERIO_NAMES
    return bool(page.is_reduced)


def area_px(page: tifffile.TiffPage) -> int:
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


def is_transparency(page: tifffile.TiffPage) -> bool:
    """The page says which pixels of another are transparent."""
    return bool(page.is_mask) or page.photometric == PHOTOMETRIC.MASK


def name_of(page: tifffile.TiffPage, images: Mapping[int, OmeImage]) -> str | None:
    """What it is ("label", "macro", "thumbnail"), where its text or name, or its image's name in OME-XML says so."""
    image = images.get(int(page.index))
    # The text of an OME-TIFF's first page tells of all images.
    words = image.name if image else page.description[:300]
    return name_in(f"{words} {page.tags.valueof('PageName') or ''}")


def name_in(words: str) -> str | None:
    """The same, of any words."""
    return next((name for name in ("label", "macro", "thumbnail") if name in words.lower()), None)
