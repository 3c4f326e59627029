"""From what a TIFF tile decodes to, to 8-bit RGB: depth, photometric interpretation, palette, alpha."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG

from wsi.readers.alpha import over_white
from wsi.readers.samples import depth_lut, rgb_of_cmyk
from wsi.readers.tiff.ome import significant_bits
from wsi.readers.tiff.ycbcr import YCbCr
from wsi.readers.values import ALL_BITS, Values, alpha_notes, depth_notes

JPEG = frozenset({COMPRESSION.JPEG, COMPRESSION.ALT_JPEG})
JPEG_2000 = frozenset(
    {
        COMPRESSION.JPEG2000,
        COMPRESSION.JPEG_2000_LOSSY,
        COMPRESSION.APERIO_JP2000_YCBC,
        COMPRESSION.APERIO_JP2000_RGB,
    }
)
# Codecs whose streams state a size of their own, which may not be the tile's.
SELF_SIZED = JPEG | JPEG_2000 | {COMPRESSION.WEBP, COMPRESSION.JPEGXL, COMPRESSION.JPEGXL_DNG, COMPRESSION.PNG}
_CODECS = SELF_SIZED | {
    COMPRESSION.NONE,
    COMPRESSION.CCITTRLE,
    COMPRESSION.CCITTFAX3,
    COMPRESSION.CCITTFAX4,
    COMPRESSION.LZW,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
    COMPRESSION.PACKBITS,
    COMPRESSION.LZMA,
    COMPRESSION.ZSTD,
}
# Samples that make the colour; any more are extra ones, such as alpha.
_COLOUR_SAMPLES: dict[int, int] = {
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
}
_CMYK, _FLOAT = 1, 3


@dataclass(frozen=True)
class Colours:
    """How samples become RGB.

    full_scale: the value of full intensity. lut: (full range of values,) uint8, None where values are 8-bit already.
    alpha: index of the sample that is alpha, None where there is none; premultiplied: colours hold it already.
    """

    photometric: int
    full_scale: int
    lut: NDArray[np.uint8] | None = None
    colormap: NDArray[np.uint8] | None = None
    alpha: int | None = None
    premultiplied: bool = False
    ycbcr: YCbCr | None = None


def unsupported(page: tifffile.TiffPage) -> str | None:
    """Why this page's pixels cannot be shown as RGB; None where they can."""
    colour = _COLOUR_SAMPLES.get(page.photometric)
    if colour is None:
        return f"colours stored as {_name(PHOTOMETRIC, page.photometric)} are not supported"
    if page.compression not in _CODECS:
        return f"compression {_name(COMPRESSION, page.compression)} is not supported"
    bits = page.bitspersample
    if page.sampleformat == _FLOAT:
        return f"pixels of {bits}-bit floating point, whose white is not known, are not supported"
    if not isinstance(bits, int) or not 1 <= bits <= 16 or page.sampleformat != 1:
        return f"pixels of {bits} bits in sample format {page.sampleformat} are not supported"
    if not colour <= page.samplesperpixel <= colour + 4 or page.imagedepth != 1:
        return f"{page.samplesperpixel} channels and {page.imagedepth} planes are not a colour picture"
    if page.photometric == PHOTOMETRIC.SEPARATED and (page.tags.valueof("InkSet") or _CMYK) != _CMYK:
        return "inks other than CMYK are not supported"
    if _stores_ycbcr(page):
        if bits != 8 or page.predictor != 1 or not YCbCr.of(page).possible:
            return "this kind of YCbCr is not supported"
        if page.planarconfig != PLANARCONFIG.CONTIG and YCbCr.of(page).subsampling != (1, 1):
            return "YCbCr whose subsampled channels are stored one after another is not supported"
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is None:
        return "a palette picture without its palette"
    return None


def colours_of(page: tifffile.TiffPage, first: tifffile.TiffPage, values: Values | None) -> Colours:
    """How the page's samples become RGB. `first` is level 0, whose full intensity is that of every level.

    values: what a look into the file showed, where one was needed. Neither page may be `unsupported`.
    """
    palette = page.photometric == PHOTOMETRIC.PALETTE
    alpha = None if values is not None and values.alpha_is_nothing else alpha_of(page)
    full_scale = full_scale_of(first if first.bitspersample == page.bitspersample else page, values)
    return Colours(
        photometric=int(page.photometric),
        full_scale=full_scale,
        lut=None if page.bitspersample == 8 or palette else depth_lut(full_scale, 1 << page.bitspersample),
        colormap=_eight_bit_palette(page.colormap) if page.colormap is not None and palette else None,
        alpha=alpha,
        premultiplied=alpha is not None and EXTRASAMPLE.ASSOCALPHA in page.extrasamples,
        ycbcr=YCbCr.of(page) if _stores_ycbcr(page) else YCbCr() if _is_aperio_ycbcr(page) else None,
    )


_ALPHAS = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)


def colour_samples(page: tifffile.TiffPage) -> int:
    """How many of the page's samples are colours: the first ones."""
    return _COLOUR_SAMPLES[page.photometric]


def alpha_of(page: tifffile.TiffPage) -> int | None:
    """Index of the sample that is alpha; None where there is none."""
    alpha = next((i for i, kind in enumerate(page.extrasamples) if kind in _ALPHAS), None)
    return None if alpha is None else colour_samples(page) + alpha


def is_deep(page: tifffile.TiffPage) -> bool:
    """16 bits, of which nothing says how many are in use."""
    indexed = page.photometric == PHOTOMETRIC.PALETTE
    return page.bitspersample == 16 and not indexed and full_scale_of(page, None) == ALL_BITS


def pixel_notes(page: tifffile.TiffPage, values: Values | None) -> tuple[str, ...]:
    """What is altered when the page is shown as 8-bit RGB, for people."""
    bits, seen = int(page.bitspersample), values if is_deep(page) else None
    notes = list(depth_notes(bits, full_scale_of(page, values), seen))
    if page.photometric == PHOTOMETRIC.SEPARATED:
        notes.append("CMYK: turned into RGB by arithmetic, without its colour profile")
    orientation = page.tags.valueof("Orientation") or 1
    if orientation != 1:
        notes.append(f"the file says it is turned (orientation {int(orientation)}): shown as stored")
    if any(kind in _ALPHAS for kind in page.extrasamples):
        notes += alpha_notes(values)
    ignored = sum(kind not in _ALPHAS for kind in page.extrasamples)
    if ignored:
        notes.append(f"{ignored} channel(s) beyond the colours, of unstated meaning: ignored")
    if page.photometric == PHOTOMETRIC.RGB and holds_jfif(page):
        notes.append("the tag says RGB, the JPEG data say YCbCr (JFIF); the data are believed")
    return tuple(notes)


def to_rgb(tile: NDArray[Any], colours: Colours) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB of a decoded (h, w, samples) tile."""
    if tile.dtype == bool:
        tile = tile.view(np.uint8)
    if colours.colormap is not None:
        index = np.minimum(tile[..., 0], colours.colormap.shape[1] - 1)
        rgb = np.moveaxis(colours.colormap[:, index], 0, -1)
    else:
        eight: NDArray[np.uint8] = tile if colours.lut is None else colours.lut[tile]
        rgb = _coloured(eight, colours)
        tile = eight
    if colours.alpha is not None:
        return _laid_over_white(rgb, tile[..., colours.alpha], premultiplied=colours.premultiplied)
    return np.ascontiguousarray(rgb)


def _coloured(samples: NDArray[np.uint8], colours: Colours) -> NDArray[np.uint8]:
    if colours.ycbcr is not None:
        return colours.ycbcr.to_rgb(samples[..., :3])
    if colours.photometric == PHOTOMETRIC.SEPARATED:
        return rgb_of_cmyk(samples[..., :4])
    if colours.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE):
        grey = 255 - samples[..., :1] if colours.photometric == PHOTOMETRIC.MINISWHITE else samples[..., :1]
        return np.repeat(grey, 3, axis=-1)
    return samples[..., :3]


def _laid_over_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], *, premultiplied: bool) -> NDArray[np.uint8]:
    if not premultiplied:
        return over_white(np.concatenate([rgb, alpha[..., None]], axis=-1))
    laid: NDArray[np.uint8] = np.minimum(rgb.astype(np.uint16) + (255 - alpha[..., None]), 255).astype(np.uint8)
    return laid


def _stores_ycbcr(page: tifffile.TiffPage) -> bool:
    """The decoder hands out YCbCr: outside of JPEG, or where JPEG holds each channel by itself."""
    if page.photometric != PHOTOMETRIC.YCBCR or page.compression in JPEG_2000:
        return False
    return page.compression not in SELF_SIZED or page.planarconfig != PLANARCONFIG.CONTIG


def _is_aperio_ycbcr(page: tifffile.TiffPage) -> bool:
    """Aperio's JPEG 2000 of kind 33003 holds YCbCr whatever its photometric tag says."""
    return page.compression == COMPRESSION.APERIO_JP2000_YCBC


def full_scale_of(page: tifffile.TiffPage, values: Values | None) -> int:
    """The value of full intensity: as the file states it, else as the values seen show it, else all bits set.

    Stated by MaxSampleValue, SMaxSampleValue or OME's SignificantBits, where that is sensible.
    """
    largest = (1 << int(page.bitspersample)) - 1
    if page.bitspersample <= 8:
        return largest
    for name in ("MaxSampleValue", "SMaxSampleValue"):
        stated = page.tags.valueof(name)
        tops = stated if isinstance(stated, tuple) else (stated,)
        if all(isinstance(top, int) and 255 <= top < largest for top in tops):
            return int(max(tops))
    bits = significant_bits(page)
    if bits is not None and 8 <= bits < page.bitspersample:
        return (1 << bits) - 1
    return values.full_scale if values is not None and page.bitspersample == 16 else largest


def _eight_bit_palette(colormap: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """(3, entries) uint8. Some writers put 8-bit values where 16-bit ones belong: seen by their being small."""
    if colormap.max(initial=0) < 256:
        return colormap.astype(np.uint8)
    return (colormap >> 8).astype(np.uint8)  # exact for both ways of writing 8 bits as 16: × 257 and × 256


def is_jfif(jpeg: bytes) -> bool:
    """The stream has JFIF's marker, whose colours are YCbCr by definition."""
    return jpeg[6:10] == b"JFIF"


def holds_jfif(page: tifffile.TiffPage) -> bool:
    """The page's first tile that is not left out is JPEG with JFIF's marker."""
    places = zip(page.dataoffsets, page.databytecounts, strict=False)
    offset = next((offset for offset, count in places if offset and count > 10), None)
    if page.compression not in JPEG or offset is None:
        return False
    page.parent.filehandle.seek(offset)
    return is_jfif(page.parent.filehandle.read(10))


def _name(kind: Any, value: int) -> str:
    try:
        return f"{kind(value).name} ({int(value)})"
    except ValueError:
        return str(int(value))
