"""The levels of an OME-Zarr image as arrays, checked before a pixel is read."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from zarr.core.array import AsyncArray

from wsi.errors import SlideError
from wsi.geometry import Level, downsample_of
from wsi.readers.base import MAX_SLIDE_SIDE_PX, MAX_TILE_PX
from wsi.readers.scenes import check_scene, scene_notes
from wsi.readers.values import ALL_BITS
from wsi.readers.zarr.channels import rgb_order
from wsi.readers.zarr.ngff import Multiscale, multiscale_of
from wsi.readers.zarr.scenes import scenes_of
from wsi.readers.zarr.store import open_group
from wsi.source import File

Array = zarr.Array[Any]

_COLOUR_CHANNELS = (1, 3, 4)
# Every chunk costs a look into the store: of smaller ones than this, a slide takes hours to read.
_MIN_CHUNK_PX = 64 * 64
# A shard's index is read whole: 16 bytes a chunk.
_MAX_CHUNKS_A_SHARD = 1 << 20


@dataclass(frozen=True)
class Plane:
    """One level and its array, in which absent chunks read as white unless the file declares a value of its own.

    white: None, but where a chunk does not hold all channels: then `array` reads absent chunks as 0 and this as white.
    """

    level: Level
    array: Array
    white: Array | None
    chunk_width: int
    chunk_height: int


@dataclass(frozen=True)
class ZarrImage:
    """An opened image: its group, what the metadata say, the levels finest first and what was altered.

    rgb: indices of the channels in the order of RGB(A); None where they lie so.
    """

    group: zarr.Group
    multiscale: Multiscale
    planes: tuple[Plane, ...]
    rgb: tuple[int, ...] | None
    mpp: tuple[float, float] | None
    notes: tuple[str, ...]

    @property
    def channels(self) -> int:
        """1, 3 or 4."""
        return _channels(self.multiscale.axes, self.planes[0].array)

    @property
    def sixteen_bits(self) -> bool:
        """Else 8."""
        return _type_of(self.planes[0].array) == np.uint16


def open_image(source: File, scene: int = 0) -> ZarrImage:
    """Open a scene of `source`; raises SlideError where it is none that can be shown as RGB, or is not there."""
    group = open_group(source)
    scenes = scenes_of(group, source)
    check_scene(source, scene, len(scenes))
    image = scenes[scene].group
    others = scene_notes(source, scene, [each.size for each in scenes])
    multiscale = multiscale_of(dict(image.attrs), str(source), scenes[scene].number)
    arrays = [_array(image, path, multiscale.axes, str(source)) for path in multiscale.paths]
    order = sorted(range(len(arrays)), key=lambda i: -math.prod(_size(multiscale.axes, arrays[i])))
    rgb, said = rgb_order(multiscale.omero, _channels(multiscale.axes, arrays[order[0]]), str(source))
    notes = others + _notes(multiscale, arrays[order[0]], resorted=order != sorted(order)) + said
    planes = _planes(multiscale.axes, [arrays[i] for i in order])
    return ZarrImage(group, multiscale, planes, rgb, multiscale.mpp[order[0]], notes)


def fingerprint_of(source: File) -> str:
    """SHA-256 (hex) of an image's metadata: attributes, and every level's shape, chunks and codecs. Not of pixels."""
    image = open_image(source)
    # By the levels' names and not by listing what is there: a web server need not list anything.
    found = [dict(image.group.attrs), *(plane.array.metadata.to_dict() for plane in image.planes)]
    return hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()


def _size(axes: tuple[str, ...], array: Array) -> tuple[int, int]:
    return int(array.shape[axes.index("x")]), int(array.shape[axes.index("y")])


def _channels(axes: tuple[str, ...], array: Array) -> int:
    return int(array.shape[axes.index("c")]) if "c" in axes else 1


def _type_of(array: Array) -> np.dtype[Any]:
    """Of its values, whichever of their bytes comes first."""
    return np.dtype(array.dtype).newbyteorder("=")


def _array(image: zarr.Group, path: str, axes: tuple[str, ...], where: str) -> Array:
    array = image[path]
    if not isinstance(array, zarr.Array) or array.ndim != len(axes):
        raise SlideError(f"{where}: level {path!r} is no array of axes {', '.join(axes)}; its metadata are damaged")
    what = f"{where}: level {path!r}"
    if _type_of(array) not in (np.uint8, np.uint16):
        raise SlideError(f"{what} holds pixels of type {array.dtype}; write it as uint8 or uint16")
    if _channels(axes, array) not in _COLOUR_CHANNELS:
        raise SlideError(
            f"{what} has {_channels(axes, array)} channels; 1 (grey), 3 (RGB) or 4 (RGBA) make a colour picture, "
            "write those to an image of their own"
        )
    _check_limits(array, axes, what)
    return array


def _check_limits(array: Array, axes: tuple[str, ...], what: str) -> None:
    """Raise SlideError where the metadata declare more than a slide can be, or chunks that cannot be read in time."""
    width, height = _size(axes, array)
    chunk = dict(zip(axes, array.chunks, strict=True))
    chunk_px = math.prod(side for axis, side in chunk.items() if axis != "c")
    per_shard = math.prod(array.shards) // math.prod(array.chunks) if array.shards else 1
    if (
        not 0 < min(width, height) <= max(width, height) <= MAX_SLIDE_SIDE_PX
        or not min(_MIN_CHUNK_PX, width * height) <= min(chunk["x"], width) * min(chunk["y"], height)
        or chunk_px > MAX_TILE_PX
        or per_shard > _MAX_CHUNKS_A_SHARD
    ):
        raise SlideError(
            f"{what} declares {width} × {height} px in chunks of {chunk['x']} × {chunk['y']} px ({chunk_px:,} px with "
            f"all axes, {per_shard:,} a shard), outside the limits of {MAX_SLIDE_SIDE_PX:,} px a side, "
            f"{_MIN_CHUNK_PX:,} to {MAX_TILE_PX:,} px a chunk and {_MAX_CHUNKS_A_SHARD:,} a shard; write it with "
            "chunks of 512 × 512 px, or its metadata are damaged"
        )


def _planes(axes: tuple[str, ...], arrays: list[Array]) -> tuple[Plane, ...]:
    """Levels of the finest array's shape, each smaller than the last."""
    first = _size(axes, arrays[0])
    planes: list[Plane] = []
    for array in arrays:
        width, height = _size(axes, array)
        scale = downsample_of(first, (width, height))
        skewed = max(abs(side / small / scale - 1) for side, small in zip(first, (width, height), strict=True)) >= 0.02
        if planes and (width >= planes[-1].level.width or (skewed and not scale.is_integer())):
            continue
        chunk = dict(zip(axes, array.chunks, strict=True))
        white = None if array.metadata.fill_value else _filled(array, int(np.iinfo(array.dtype).max))
        split = chunk.get("c", 1) < _channels(axes, array)
        shown, second = (array, white) if split else (white or array, None)
        planes.append(Plane(Level(width, height, scale), shown, second, chunk["x"], chunk["y"]))
    return tuple(planes)


def _filled(array: Array, value: int) -> Array:
    """The same array, whose absent chunks read as `value`."""
    metadata = type(array.metadata).from_dict({**array.metadata.to_dict(), "fill_value": value})
    return zarr.Array(AsyncArray(metadata=metadata, store_path=array.store_path))


def _notes(multiscale: Multiscale, array: Array, *, resorted: bool) -> tuple[str, ...]:
    notes = []
    for axis, count in zip(multiscale.axes, array.shape, strict=True):
        if axis not in "xyc" and count > 1:
            notes.append(f"{count} pictures along axis {axis}: the first is shown")
    if resorted:
        notes.append("levels are not listed finest first: sorted by size")
    return tuple(notes)


def stated_full_scale(multiscale: Multiscale) -> int | None:
    """The 16-bit value of full intensity: the display window's upper limit, where it is less than all bits set."""
    stated = None if multiscale.brightest is None else max(1, round(multiscale.brightest))
    return stated if stated is not None and stated < ALL_BITS else None
