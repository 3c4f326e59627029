"""The tissue of a slide as a mask at low power: shares, areas and outlines of it, and as text in a file's metadata."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from wsi.annotations import Region
from wsi.annotations.tissue import TISSUE
from wsi.errors import InputError
from wsi.geometry import TileGrid
from wsi.shapes import box_fractions, polygons_of, rasterise

# A border of a cell that lies so near to one of the mask's px, in px of the mask, is that one, but for rounding.
_SAME_PX = 1e-6


@dataclass(frozen=True)
class TissueMask:
    """`mask` (rows, cols) bool over the whole slide; `px_size`: level-0 px per mask px, (x, y)."""

    mask: NDArray[np.bool_]
    px_size: tuple[float, float]

    @classmethod
    def of_regions(
        cls, regions: list[Region], size: tuple[int, int], px_um: float, mpp: tuple[float, float]
    ) -> TissueMask:
        """The mask of outlines in level-0 px (as ingest or a person wrote them), with pixels of `px_um` µm."""
        shape, px_size = mask_frame(size, px_um, mpp)
        # Ten times as fast as `union_all` where outlines do not overlap, as those of tissue do not.
        outline = shapely.disjoint_subset_union_all([region.polygon for region in regions])
        return cls(rasterise(outline, shape, px_size), px_size)

    def fractions(self, grid: TileGrid) -> NDArray[np.float32]:
        """(rows * cols,) share of every tile that is tissue."""
        return box_fractions(self.mask, grid.boxes(), self.px_size)

    def regions(self) -> list[Region]:
        """Outlines in level-0 px."""
        return [Region(polygon, TISSUE, "tesela tissue") for polygon in polygons_of(self.mask, self.px_size)]

    def area_mm2(self, mpp: tuple[float, float]) -> float:
        """Area of the mask, for a slide of `mpp` (x, y)."""
        return float(self.mask.sum() * self._px_area() * mpp[0] * mpp[1] / 1e6)

    def _px_area(self) -> float:
        return self.px_size[0] * self.px_size[1]

    def areas_px(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """(len(y) - 1, len(x) - 1) tissue in level-0 px², between lines at ascending level-0 places `x` and `y`.

        Exact, also where a line runs through px of the mask: of all that the lines enclose, the sum is its tissue.
        """
        # Within a px the integral grows evenly in x and in y, so that between its corners it is bilinear.
        rows = _between(cv2.integral(self.mask.astype(np.uint8)), y / self.px_size[1])
        areas: NDArray[np.float64] = np.diff(np.diff(_between(rows.T, x / self.px_size[0]).T, axis=0), axis=1)
        return np.maximum(areas, 0) * self._px_area()

    def some_and_every(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Two of (len(y) - 1, len(x) - 1): whether there is tissue between lines, see `areas_px`, and nothing else."""
        integral = cv2.integral(self.mask.astype(np.uint8))
        (left, right), (top, bottom) = (
            _touched(lines / px, count)
            for lines, px, count in zip((x, y), self.px_size, self.mask.shape[::-1], strict=True)
        )
        rows = integral[bottom].astype(np.int64) - integral[top]
        tissue = rows[:, right] - rows[:, left]
        return tissue > 0, tissue == np.outer(bottom - top, right - left)

    def px_at(self, places: NDArray[np.float64], axis: int) -> NDArray[np.int64]:
        """The mask's rows (axis 0) or columns (axis 1) at level-0 places on the slide."""
        index = np.floor(places / self.px_size[1 - axis]).astype(np.int64)
        return np.clip(index, 0, self.mask.shape[axis] - 1)

    def packed(self) -> str:
        """As text, for a file's metadata: tens of kB for a slide. Back with `unpacked`."""
        bits = zlib.compress(np.packbits(self.mask).tobytes(), 9)
        shape, px_size = self.mask.shape, self.px_size
        return json.dumps({"shape": shape, "px_size": px_size, "bits": base64.b85encode(bits).decode()})

    @classmethod
    def unpacked(cls, text: str | bytes, where: str) -> TissueMask:
        """The mask that was packed; raises InputError, which says `where`, if it is damaged."""
        try:
            found = json.loads(text)
            (rows, cols), (x, y) = found["shape"], found["px_size"]
            size = -(-rows * cols // 8)
            bits = zlib.decompressobj().decompress(base64.b85decode(found["bits"]), size)
            if len(bits) != size:
                raise ValueError(f"{len(bits)} bytes of {size}")
            mask = np.unpackbits(np.frombuffer(bits, np.uint8), count=rows * cols).astype(bool)
            return cls(mask.reshape(rows, cols), (float(x), float(y)))
        except (ValueError, TypeError, KeyError, binascii.Error, zlib.error) as error:
            raise InputError(f"{where}: the tissue in its metadata is damaged ({error})") from error


def mask_frame(
    size: tuple[int, int], px_um: float, mpp: tuple[float, float]
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Shape (rows, cols) and level-0 px per px of a mask of about `px_um` µm a px."""
    cols = max(1, round(size[0] * mpp[0] / px_um))
    rows = max(1, round(size[1] * mpp[1] / px_um))
    return (rows, cols), (size[0] / cols, size[1] / rows)


def _between(table: NDArray[Any], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of a table at places between them, by the two that are next."""
    at = np.clip(at, 0, len(table) - 1)
    before = np.minimum(at.astype(np.int64), len(table) - 2)
    share = (at - before)[:, None]
    rows: NDArray[np.float64] = table[before] * (1 - share) + table[before + 1] * share
    return rows


def _touched(lines: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(first, last + 1) of the `count` px between each line and the next, px that lines run through included."""
    first = np.clip(np.floor(lines[:-1] + _SAME_PX), 0, count - 1).astype(np.int64)
    last = np.clip(np.ceil(lines[1:] - _SAME_PX), 0, count).astype(np.int64)
    return first, np.maximum(last, first + 1)
