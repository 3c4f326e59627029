"""YCbCr as TIFF stores it outside of JPEG (TIFF 6.0, section 21)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi.errors import SlideError

_REC601 = (0.299, 0.587, 0.114)
_FULL_RANGE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)


@dataclass(frozen=True)
class YCbCr:
    """luma: weights of R, G, B in Y. reference: black and white of Y, Cb, Cr. subsampling: (horizontal, vertical)."""

    luma: tuple[float, ...] = _REC601
    reference: tuple[float, ...] = _FULL_RANGE
    subsampling: tuple[int, int] = (1, 1)

    @classmethod
    def of(cls, page: tifffile.TiffPage) -> YCbCr:
        """As the page's tags say; without them the defaults of the specification, which halve both sides of colour."""
        subsampling = page.tags.valueof("YCbCrSubSampling") or (2, 2)
        luma = _rationals(page.tags.valueof("YCbCrCoefficients"), 3) or _REC601
        reference = _rationals(page.tags.valueof("ReferenceBlackWhite"), 6) or _FULL_RANGE
        return cls(luma, reference, (int(subsampling[0]), int(subsampling[1])))

    @property
    def possible(self) -> bool:
        """The numbers describe a colour space."""
        spans = [white - black for black, white in zip(self.reference[::2], self.reference[1::2], strict=True)]
        return self.luma[1] > 0 and all(spans) and set(self.subsampling) <= {1, 2, 4}

    def unpack(self, data: bytes, height: int, width: int) -> NDArray[np.uint8]:
        """(height, width, 3) YCbCr of subsampled data units: v × h of Y, then one Cb and one Cr, row by row."""
        across, down = self.subsampling
        units = (-(-height // down), -(-width // across))
        unit = across * down + 2
        needed = units[0] * units[1] * unit
        if len(data) < needed:
            raise SlideError(f"{len(data)} bytes of YCbCr, {needed} needed")
        grid = np.frombuffer(data, np.uint8, needed).reshape(*units, unit)
        luma = grid[..., :-2].reshape(*units, down, across).transpose(0, 2, 1, 3)
        out = np.empty((units[0] * down, units[1] * across, 3), np.uint8)
        out[..., 0] = luma.reshape(out.shape[:2])
        out[..., 1:] = grid[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
        return out[:height, :width]

    def to_rgb(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w, 3) RGB of (h, w, 3) YCbCr."""
        red, green, blue = self.luma
        y_black, y_white, cb_black, cb_white, cr_black, cr_white = self.reference
        values = tile.astype(np.float32)
        y = (values[..., 0] - y_black) * (255 / (y_white - y_black))
        cb = (values[..., 1] - cb_black) * (127 / (cb_white - cb_black))
        cr = (values[..., 2] - cr_black) * (127 / (cr_white - cr_black))
        r = y + cr * (2 - 2 * red)
        b = y + cb * (2 - 2 * blue)
        g = (y - red * r - blue * b) / green
        return np.clip(np.stack([r, g, b], axis=-1) + 0.5, 0, 255).astype(np.uint8)


def _rationals(value: tuple[int, ...] | None, count: int) -> tuple[float, ...] | None:
    """The numbers of a tag of rationals: numerator, denominator, numerator...; None where it is missing or damaged."""
    if value is None or len(value) != 2 * count or not all(value[1::2]):
        return None
    return tuple(a / b for a, b in zip(value[::2], value[1::2], strict=True))
