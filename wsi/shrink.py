"""Shrinking a region that is too large to hold: by whole numbers of pixels, block by block, then by what is left."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from wsi.readers import cache

# Larger regions are read in blocks: 8 Mpx are 24 MB of RGB.
LARGEST_READ_PX = 8 * 1024 * 1024
_BLOCK_PX = 1024
# Rows of the result that are made at once: in floating point they take four times their size and more.
_ROWS = 128

Pixels = NDArray[np.uint8]
# (x, y, width, height) → (height, width, 3) RGB.
Read = Callable[[int, int, int, int], Pixels]


def shrunk(read: Read, x: int, y: int, width: int, height: int, size: tuple[int, int]) -> Pixels:
    """(size[1], size[0], 3) area means of a region, read in blocks; it must be at least as large as `size`."""
    # Cells of half a pixel of the result: one that two pixels cut is shared between them by area, as if it were even.
    factor = max(1, min(width // size[0], height // size[1]) // 2)
    cells = _cells(read, x, y, width, height, factor)
    down, across = _area_weights(height, factor, size[1]), _area_weights(width, factor, size[0])
    out = np.empty((size[1], size[0], 3), np.uint8)
    for top in range(0, size[1], _ROWS):
        weights = down[top : top + _ROWS]
        first, last = int(weights.indices.min()), int(weights.indices.max())  # the product would take all as floats
        rows = weights[:, first : last + 1] @ cells[first : last + 1].reshape(last + 1 - first, -1)
        turned = rows.reshape(len(rows), -1, 3).transpose(1, 0, 2)
        means = across @ turned.reshape(len(turned), -1)
        out[top : top + _ROWS] = np.rint(means).reshape(size[0], len(rows), 3).transpose(1, 0, 2)
    return out


def _cells(read: Read, x: int, y: int, width: int, height: int, factor: int) -> Pixels:
    """(ceil(height / factor), ceil(width / factor), 3) means of factor × factor px; of fewer at the right and below."""
    out = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    step = max(1, _BLOCK_PX // factor)
    columns = -(-out.shape[1] // step)

    def place(index: int) -> None:
        row, col = index // columns * step, index % columns * step
        part = out[row : row + step, col : col + step]
        top, left = row * factor, col * factor
        high, wide = len(part) * factor, part.shape[1] * factor
        pixels = read(x + left, y + top, min(wide, width - left), min(high, height - top))
        below, right = high - pixels.shape[0], wide - pixels.shape[1]
        if below or right:
            pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        part[:] = cv2.resize(pixels, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_AREA)

    cache.in_threads(place, range(-(-out.shape[0] // step) * columns), at_once=1)
    return out


def _area_weights(extent_px: int, factor: int, count: int) -> csr_array:
    """(count, cells): the share that each cell of `factor` px (the last may be cut) has in each of `count` means."""
    cells = np.append(np.arange(0, extent_px, factor), extent_px) * 1.0
    means = np.linspace(0, extent_px, count + 1)
    edges = np.union1d(cells, means)
    middles = (edges[1:] + edges[:-1]) / 2
    place = (np.searchsorted(means, middles) - 1, np.searchsorted(cells, middles) - 1)
    shares = (np.diff(edges) * (count / extent_px)).astype(np.float32)
    return csr_array((shares, place), shape=(count, len(cells) - 1))
