"""A whole flat picture → 8-bit RGB, and what of its pixels cannot be shown so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from wsi.errors import SlideError
from wsi.readers.declared import Bytes, boxes, jxl_depth, samples_of
from wsi.readers.picture.meta import opened
from wsi.readers.samples import depth_lut, rgb_of, without_alpha
from wsi.readers.streamed import StreamedPicture
from wsi.readers.values import Values, alpha_notes, depth_notes

_CODECS = {
    "png": imagecodecs.png_decode,
    "jp2": imagecodecs.jpeg2k_decode,
    "jxl": imagecodecs.jpegxl_decode,
    "webp": imagecodecs.webp_decode,
}
# JPEG 2000's enumerated colour spaces: sRGB and grey.
_JP2_SPACES = (16, 17)
# Colour types: grey and RGB, each with alpha.
_PNG_WITH_ALPHA = (4, 6)


def unsupported(kind: str, data: Bytes) -> str | None:
    """Why the pixels cannot be shown as RGB, from the header alone; None where they can."""
    if kind == "jpeg":
        bits, channels = samples_of(data) or (0, 0)
        if bits != 8 or channels not in (1, 3, 4):
            return f"a JPEG of {channels} channels of {bits} bits is not supported"
    if kind == "jp2":
        found = samples_of(data)
        if found is None or not 1 <= found[0] <= 16 or not 1 <= found[1] <= 4:
            return "a JPEG 2000 with signed, subsampled, unequal or more than 4 channels is not supported"
        space = _jp2_space(data)
        if space is not None and space not in _JP2_SPACES:
            return f"a JPEG 2000 in colour space {space} is not supported"
    if kind == "jxl" and (jxl_depth(data) or 99) > 16:
        return "a JPEG XL of floats, or one that is turned, animated or has a preview, is not supported"
    return None


def pixel_notes(kind: str, data: Bytes, values: Values | None) -> tuple[str, ...]:
    """What is altered when the pixels are shown as 8-bit RGB, for people."""
    if kind == "jpeg" and (samples_of(data) or (0, 0))[1] == 4:
        return ("CMYK: turned into RGB by arithmetic, without its colour profile",)
    bits = _depth(kind, data)
    hides = values is not None and values.alpha_is_nothing
    return depth_notes(bits, full_scale(kind, data, values), values) + (alpha_notes(values) if hides else ())


def must_be_looked_at(kind: str, data: Bytes) -> bool:
    """The pixels decide how they are shown: by 16 bits of which few may be in use, or by an alpha that may be nothing.

    A JPEG XL may have alpha whatever its first bytes say.
    """
    if kind == "png":
        return _depth(kind, data) == 16 or data[25] in _PNG_WITH_ALPHA
    if kind == "jp2":
        bits, channels = samples_of(data) or (8, 3)
        return bits == 16 or channels in (2, 4)
    if kind == "webp":
        lossless, extended = bytes(data[12:16]) == b"VP8L", bytes(data[12:16]) == b"VP8X"
        return bool((lossless and data[24] & 0x10) or (extended and data[20] & 0x10))
    return kind == "jxl" or (kind == "bmp" and int.from_bytes(data[28:30], "little") == 32)


def full_scale(kind: str, data: Bytes, values: Values | None) -> int:
    """The value of full intensity."""
    bits = _depth(kind, data)
    return values.full_scale if bits == 16 and values is not None else (1 << bits) - 1


def jpeg_rgb(path: Path, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) RGB of a whole JPEG. Raises SlideError where damaged or of another size.

    By libvips whatever its size: the other decoders here fill with grey where data are missing, and say nothing.
    """
    picture = StreamedPicture(path, width, height)
    try:
        return picture.rows(0, 0, width, height)
    finally:
        picture.close()


def decode(path: Path, kind: str, width: int, height: int) -> tuple[NDArray[np.uint8], Values]:
    """(height, width, 3) RGB of a whole picture that is no JPEG, and what its values show.

    Raises SlideError where damaged or of another size.
    """
    try:
        data = path.read_bytes()
        samples: NDArray[Any] = _bmp(path) if kind == "bmp" else np.asarray(_CODECS[kind](data))
    except Exception as error:  # Codecs raise their own kinds, one per codec.
        raise SlideError(
            f"{path}: {kind.upper()} cannot be decoded ({error}); the file is damaged, copy it again from its source"
        ) from error
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.shape[:2] != (height, width) or samples.ndim != 3 or samples.shape[2] > 4:
        raise SlideError(
            f"{path}: decodes to an array of {samples.shape}, its header says {width} × {height} px; "
            "convert it to 8-bit RGB TIFF first"
        )
    channels = samples.shape[2]
    colours = channels - (channels in (2, 4))
    values = Values.of(samples, colours, colours if colours < channels else None)
    if _depth(kind, data) != 8:
        samples = depth_lut(full_scale(kind, data, values))[samples]
    return rgb_of(without_alpha(samples) if values.alpha_is_nothing else samples), values


def _bmp(path: Path) -> NDArray[np.uint8]:
    with opened("bmp", path) as image:
        return np.asarray(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB"))


def _depth(kind: str, data: Bytes) -> int:
    """Bits of a decoded sample."""
    if kind == "png":
        return 16 if data[24] == 16 else 8  # fewer are spread to 8 by the decoder
    if kind == "jp2":
        return (samples_of(data) or (8, 0))[0]
    return (jxl_depth(data) or 8) if kind == "jxl" else 8


def _jp2_space(data: Bytes) -> int | None:
    """The enumerated colour space of a JPEG 2000 file; None where it states none."""
    for kind, start, end in boxes(data):
        if kind == b"jp2h":
            header = bytes(data[start:end])
            for inner, at, _ in boxes(header):
                if inner == b"colr" and header[at] == 1:
                    return int.from_bytes(header[at + 3 : at + 7], "big")
    return None
