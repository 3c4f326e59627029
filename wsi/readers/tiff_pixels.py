"""From what a TIFF tile decodes to, to 8-bit RGB."""

from __future__ import annotations

import numpy as np
import tifffile
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG

from wsi.readers.openslide import over_white

_JPEG = {COMPRESSION.JPEG, COMPRESSION.OJPEG, COMPRESSION.ALT_JPEG}
_KNOWN = {
    PHOTOMETRIC.RGB,
    PHOTOMETRIC.YCBCR,
    PHOTOMETRIC.MINISBLACK,
    PHOTOMETRIC.MINISWHITE,
    PHOTOMETRIC.PALETTE,
}


def unsupported(page: tifffile.TiffPage) -> str | None:
    """Why this page's pixels cannot be shown as RGB; None where they can."""
    if page.photometric not in _KNOWN:
        return f"colours stored as {page.photometric!r} are not supported"
    if page.photometric == PHOTOMETRIC.YCBCR and page.compression not in _JPEG:
        return "YCbCr colours outside JPEG are not supported"
    if page.compression == COMPRESSION.APERIO_JP2000_YCBC:
        return "Aperio JPEG 2000 in YCbCr is not supported"
    if page.dtype not in (np.uint8, np.uint16):
        return f"pixels of type {page.dtype} are not supported"
    if page.samplesperpixel not in (1, 3, 4) or page.imagedepth != 1:
        return f"{page.samplesperpixel} channels and {page.imagedepth} planes are not a colour picture"
    if page.samplesperpixel > 1 and page.planarconfig != PLANARCONFIG.CONTIG:
        return "channels stored one after another (planar) are not supported"
    return None


def to_rgb(
    tile: NDArray[np.uint8] | NDArray[np.uint16],
    photometric: int,
    colormap: NDArray[np.uint16] | None,
) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB of a decoded (h, w, samples) tile.

    colormap: (3, entries) uint16 of a palette image. 16-bit values lose their lower byte.
    """
    if colormap is not None:
        return np.ascontiguousarray(np.moveaxis(_eight_bits(colormap)[:, tile[..., 0]], 0, -1))
    eight = _eight_bits(tile)
    if photometric == PHOTOMETRIC.MINISWHITE:
        eight = 255 - eight
    if eight.shape[-1] == 1:
        return np.repeat(eight, 3, axis=-1)
    return over_white(eight) if eight.shape[-1] == 4 else eight


def _eight_bits(values: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    return np.asarray(values if values.dtype == np.uint8 else values >> 8, np.uint8)
