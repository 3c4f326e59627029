"""From samples as they are stored to 8-bit RGB: what pictures of every container have in common."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.readers.alpha import over_white


def depth_lut(full_scale: int, entries: int = 1 << 16) -> NDArray[np.uint8]:
    """(entries,) uint8: a stored value → 0 to 255, rounded; values above `full_scale` are 255."""
    values = np.minimum(np.arange(entries, dtype=np.uint32), full_scale)
    return ((values * 255 + full_scale // 2) // full_scale).astype(np.uint8)


def rgb_of(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) RGB of (h, w, n) grey (n = 1), grey + alpha (2), RGB (3) or RGBA (4); alpha is laid over white."""
    count = samples.shape[2]
    if count <= 2:
        grey = np.ascontiguousarray(samples[..., 0])
        rgb = np.asarray(cv2.merge([grey, grey, grey]), np.uint8)
        return rgb if count == 1 else over_white(np.dstack([rgb, samples[..., 1]]))
    return over_white(samples) if count == 4 else np.ascontiguousarray(samples)


def without_alpha(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 1 or 3) of what `rgb_of` takes, which may have alpha."""
    return samples[..., : (samples.shape[2] - 1) // 2 * 2 + 1]


def rgb_of_planes(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same of (n, h, w) channels. By OpenCV: five times as fast as numpy's transposed copy."""
    if len(planes) == 3:
        return np.asarray(cv2.merge([np.ascontiguousarray(plane) for plane in planes]), np.uint8)
    return rgb_of(np.moveaxis(planes, 0, 2))


def rgb_of_cmyk(cmyk: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) RGB of (h, w, 4) CMYK, by arithmetic: 0 is no ink."""
    rest = 255 - cmyk.astype(np.uint16)
    return (rest[..., :3] * rest[..., 3:] // 255).astype(np.uint8)
