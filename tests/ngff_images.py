"""Writes OME-Zarr images of every layout that the reader is to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray

Samples = NDArray[Any]


def halved(pixels: Samples, levels: int) -> list[Samples]:
    """The picture (h, w, c) and its copies halved by area."""
    found = [pixels]
    for _ in range(levels - 1):
        height, width = found[-1].shape[0] // 2, found[-1].shape[1] // 2
        smaller = cv2.resize(found[-1][: height * 2, : width * 2], (width, height), interpolation=cv2.INTER_AREA)
        found.append(smaller.reshape(height, width, -1))
    return found


def write_ngff(
    target: Path | zarr.abc.store.Store,
    levels: list[Samples],
    *,
    axes: str = "cyx",
    version: str = "0.5",
    chunk_px: int = 256,
    channels_apart: bool = False,
    shard_chunks: int | None = None,
    sizes: dict[str, int] | None = None,
    group: str = "",
    mpp: float = 0.5,
    unit: str | None = "micrometer",
    fill_value: int = 0,
    **metadata: Any,
) -> None:
    """Pictures (h, w, c), finest first, as an image whose arrays have `axes`, one letter each.

    sizes: how many pictures lie along each further axis; the levels are the first of them, all others are 7.
    metadata: more attributes beside "multiscales".
    """
    zarr_format: Any = 3 if version == "0.5" else 2
    root = zarr.open_group(target, mode="a", path=group, zarr_format=zarr_format)
    datasets = []
    for index, picture in enumerate(levels):
        counts = {"y": picture.shape[0], "x": picture.shape[1], "c": picture.shape[2], **(sizes or {})}
        shape = [counts.get(axis, 1) for axis in axes]
        sides = {"y": chunk_px, "x": chunk_px, "c": 1 if channels_apart else picture.shape[2]}
        chunks = tuple(sides.get(axis, 1) for axis in axes)
        options: dict[str, Any] = {} if zarr_format == 2 else {"dimension_names": list(axes)}
        if zarr_format == 2:
            options["chunk_key_encoding"] = {"name": "v2", "separator": "/"}
        if shard_chunks is not None:
            options["shards"] = tuple(
                side * (shard_chunks if axis in "xy" else 1) for axis, side in zip(axes, chunks, strict=True)
            )
        array = root.create_array(
            str(index), shape=tuple(shape), chunks=chunks, dtype=picture.dtype, fill_value=fill_value, **options
        )
        kept = [axis for axis in axes if axis in "yxc"]
        whole = np.full(shape, 7, picture.dtype)
        picture = picture if "c" in axes else picture[..., 0]
        whole[tuple(slice(None) if axis in "yxc" else 0 for axis in axes)] = picture.transpose(
            ["yxc".index(axis) for axis in kept]
        )
        array[...] = whole
        scale = [mpp * 2**index if axis in "yx" else 1.0 for axis in axes]
        datasets.append({"path": str(index), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    described = {"name": "a picture", "axes": [_axis(axis, unit) for axis in axes], "datasets": datasets}
    if version == "0.5":
        root.attrs["ome"] = {"version": version, "multiscales": [described], **metadata}
    else:
        root.attrs.update({"multiscales": [{"version": version, **described}], **metadata})


def _axis(name: str, unit: str | None) -> dict[str, str]:
    kind = {"c": "channel", "t": "time"}.get(name, "space")
    return {"name": name, "type": kind} | ({"unit": unit} if unit and kind == "space" else {})
