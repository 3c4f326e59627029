"""Small pictures as JPEG and PNG files."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi.atomic import writing


def jpeg_bytes(rgb: NDArray[np.uint8], quality: int = 88) -> bytes:
    """(h, w, 3) RGB as JPEG."""
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(rgb), level=quality, colorspace="RGB"))


def write_jpeg(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write (h, w, 3) RGB to `path`."""
    with writing(path) as temporary:
        temporary.write_bytes(jpeg_bytes(rgb))


def write_png(path: Path, pixels: NDArray[np.uint8], icc_profile: bytes | None = None) -> None:
    """Write (h, w) grey or (h, w, 3) RGB to `path`, lossless; icc_profile: of these pixels."""
    with writing(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG", icc_profile=icc_profile)
