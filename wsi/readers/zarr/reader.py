"""OME-Zarr images (NGFF 0.4 and 0.5): folders, zip files, and addresses that fsspec opens."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi.errors import SlideError
from wsi.icc import profile_notes, rgb_profile
from wsi.readers import cache
from wsi.readers.base import MAX_RANDOM_TILE_PX, Header, NativeTiles
from wsi.readers.samples import depth_lut, rgb_of, rgb_of_planes
from wsi.readers.values import ALL_BITS, Values, alpha_notes, depth_notes, looked_at
from wsi.readers.zarr.levels import Array, ZarrImage, open_image, stated_full_scale
from wsi.readers.zarr.ngff import credible_mpp
from wsi.readers.zarr.own import own_facts, own_pictures
from wsi.readers.zarr.store import is_zarr
from wsi.source import File

_serial = itertools.count()


class ZarrReader:
    """An OME-Zarr image whose axes are y and x, and c of 1, 3 or 4 channels, in any order; of others the first.

    Zarr keeps no chunk of which every value is the fill value, and 0, its default, would be black. No slide is black
    there: unless the file declares another value, a place without chunks is white, like the missing tiles of a TIFF.
    A chunk that a copy has lost looks the same: nothing in the file tells it from one that was never written.
    """

    name = "ome-zarr"

    def __init__(self, source: File, scene: int = 0) -> None:
        self._source, self._scene = source, scene
        self._serial = next(_serial)
        self._image, self._process = open_image(source, scene), os.getpid()
        image = self._image
        mpp, why = credible_mpp(image.mpp)
        self._order = "".join(axis for axis in image.multiscale.axes if axis in "xyc")
        values = self._values()
        self._lut = depth_lut(self._full_scale(values)) if image.sixteen_bits else None
        self._opaque = values is not None and values.alpha_is_nothing
        power, profile = own_facts(dict(image.group.attrs))
        self.header = Header(
            levels=tuple(plane.level for plane in image.planes),
            mpp=mpp,
            objective_power=power,
            icc_profile=rgb_profile(profile),
            random_access=all(p.chunk_width * p.chunk_height <= MAX_RANDOM_TILE_PX for p in image.planes),
            notes=image.notes + self._pixel_notes(values) + why + profile_notes(profile),
            description=image.multiscale.name,
            lossless=True,  # codecs that are not, such as JPEG, are none of Zarr's own
        )

    @classmethod
    def open(cls, path: File, scene: int = 0) -> ZarrReader | None:
        """See `Reader.open`; also takes a Url."""
        if not is_zarr(path):
            return None
        try:
            return cls(path, scene)
        except SlideError:
            raise
        # Zarr, fsspec and what damaged metadata lead to here raise many kinds: key, index, attribute, value errors.
        except Exception as error:
            raise SlideError(f"{path}: not a readable OME-Zarr image ({type(error).__name__}: {error})") from error

    def _values(self) -> Values | None:
        """What a look at the coarsest level and some chunks of level 0 shows; None where the metadata say enough."""
        image = self._image
        deep = image.sixteen_bits and stated_full_scale(image.multiscale) is None
        if not deep and image.channels != 4:
            return None
        alpha = 3 if image.channels == 4 else None
        return Values.joined(
            Values.of(self._written(index, *field), alpha or image.channels, alpha) for index, field in _fields(image)
        )

    def _written(self, index: int, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """(n, channels) of a level's pixels as they are stored, without those that were never written."""
        plane = self._image.planes[index]
        samples = self._cut(plane.array, x, y, width, height)
        pixels = np.moveaxis(samples, self._order.index("c"), -1) if "c" in self._order else samples[..., None]
        pixels = pixels if self._image.rgb is None else pixels[..., list(self._image.rgb)]
        return pixels[(pixels < np.iinfo(pixels.dtype).max).any(axis=-1)]

    def _full_scale(self, values: Values | None) -> int:
        stated = stated_full_scale(self._image.multiscale)
        return stated or (ALL_BITS if values is None else values.full_scale)

    def _pixel_notes(self, values: Values | None) -> tuple[str, ...]:
        image = self._image
        alpha = ("4 channels: taken as RGBA", *alpha_notes(values)) if image.channels == 4 else ()
        if not image.sixteen_bits:
            return alpha
        top, stated = self._full_scale(values), stated_full_scale(image.multiscale)
        by = "its display window" if stated else "the type's range" if top == ALL_BITS else ""
        return depth_notes(16, top, None if stated else values, by) + alpha

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `Reader.read_level`. Chunks used in part are decoded whole and kept, so that none is decoded twice."""
        plane = self._opened().planes[level]
        left, right = _aligned(x, x + width, plane.chunk_width, plane.level.width)
        top, bottom = _aligned(y, y + height, plane.chunk_height, plane.level.height)
        if (left, top, right, bottom) == (x, y, x + width, y + height):
            return self._decoded(level, x, y, width, height)
        out = np.empty((height, width, 3), np.uint8)
        if left < right and top < bottom:
            out[top - y : bottom - y, left - x : right - x] = self._decoded(
                level, left, top, right - left, bottom - top
            )
        columns = -(-plane.level.width // plane.chunk_width)

        def place(index: int) -> None:
            chunk_top, chunk_left = index // columns * plane.chunk_height, index % columns * plane.chunk_width
            chunk = self._chunk(level, index, chunk_left, chunk_top)
            y0, y1 = max(chunk_top, y), min(chunk_top + chunk.shape[0], y + height)
            x0, x1 = max(chunk_left, x), min(chunk_left + chunk.shape[1], x + width)
            out[y0 - y : y1 - y, x0 - x : x1 - x] = chunk[
                y0 - chunk_top : y1 - chunk_top, x0 - chunk_left : x1 - chunk_left
            ]

        cache.in_threads(
            place,
            [
                row * columns + col
                for row in range(y // plane.chunk_height, (y + height - 1) // plane.chunk_height + 1)
                for col in range(x // plane.chunk_width, (x + width - 1) // plane.chunk_width + 1)
                if not (left <= col * plane.chunk_width < right and top <= row * plane.chunk_height < bottom)
            ],
        )
        return out

    def _chunk(self, level: int, index: int, left: int, top: int) -> NDArray[np.uint8]:
        key = (self.name, self._serial, level, index)
        chunk = cache.CACHE.get(key)
        if chunk is None:
            plane = self._opened().planes[level]
            width = min(plane.chunk_width, plane.level.width - left)
            chunk = self._decoded(level, left, top, width, min(plane.chunk_height, plane.level.height - top))
            cache.CACHE.put(key, chunk)
        return chunk

    def _decoded(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """(height, width, 3) RGB, straight from the arrays."""
        plane = self._opened().planes[level]
        try:
            samples = self._cut(plane.array, x, y, width, height)
            if plane.white is not None and not samples.any(axis=self._order.index("c")).all():
                # Channels lie in chunks of their own, and one may be all 0 where the others are not: a place has no
                # chunk at all only where every channel follows the fill value.
                white = self._cut(plane.white, x, y, width, height)
                absent = (white != samples).all(axis=self._order.index("c"), keepdims=True)
                samples = np.where(absent, white, samples)
        except Exception as error:  # Codecs and drivers raise their own kinds.
            raise SlideError(
                f"{self._source}: {width} × {height} px at ({x}, {y}) of level {level} cannot be decoded "
                f"({type(error).__name__}: {error}); copy it again from its source"
            ) from error
        return self._to_rgb(samples if self._lut is None else self._lut[samples])

    def _cut(self, array: Array, x: int, y: int, width: int, height: int) -> NDArray[Any]:
        """Part of an array, of the axes x, y and c in the array's own order."""
        wanted = {"x": slice(x, x + width), "y": slice(y, y + height), "c": slice(None)}
        return np.asarray(array[tuple(wanted.get(axis, 0) for axis in self._image.multiscale.axes)])

    def _to_rgb(self, samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
        order = self._order
        if "c" not in order:
            samples, order = samples[None], "c" + order
        if self._opaque:
            samples = samples.take((self._image.rgb or (0, 1, 2))[:3], axis=order.index("c"))
        elif self._image.rgb is not None:
            samples = samples.take(self._image.rgb, axis=order.index("c"))
        if order[2] == "c":
            return rgb_of(samples.transpose([order.index(axis) for axis in "yxc"]))
        return rgb_of_planes(samples.transpose([order.index(axis) for axis in "cyx"]))

    def _opened(self) -> ZarrImage:
        """The image; opened anew in a forked process, whose parent's connections and event loop are not its own."""
        if self._process != os.getpid():
            self._image, self._process = open_image(self._source, self._scene), os.getpid()
        return self._image

    def native(self, level: int) -> NativeTiles | None:  # noqa: ARG002 - the protocol's signature
        """See `Reader.native`: chunks are no TIFF tiles."""
        return None

    def associated(self) -> dict[str, NDArray[np.uint8]]:
        """See `Reader.associated`: those that `tesela convert` was told to keep."""
        return own_pictures(self._opened().group)

    def close(self) -> None:
        """See `Reader.close`."""
        self._image.group.store.close()


def _fields(image: ZarrImage) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """(level, (x, y, width, height) px) of the chunks that are looked at: of level 0 and the coarsest level."""
    for number in sorted({0, len(image.planes) - 1}):
        plane = image.planes[number]
        level, width, height = plane.level, plane.chunk_width, plane.chunk_height
        columns, rows = -(-level.width // width), -(-level.height // height)
        for index in looked_at(level, columns * rows):
            x, y = index % columns * width, index // columns * height
            yield number, (x, y, min(width, level.width - x), min(height, level.height - y))


def _aligned(start: int, stop: int, step: int, end: int) -> tuple[int, int]:
    """The part of start..stop that whole chunks of `step` fill; the last chunk ends at `end`. Empty: (start, start)."""
    first = -(-start // step) * step
    last = stop if stop == end else stop // step * step
    return (first, last) if first < last else (start, start)
