"""OME-Zarr images (NGFF 0.4 and 0.5) on a local disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsi.errors import SlideError
from wsi.geometry import Level, downsample_of
from wsi.readers.base import Header

_UM_PER_UNIT = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}


class ZarrReader:
    """An OME-Zarr folder whose image has axes y and x, and c of 1, 3 or 4 channels, in any order."""

    name = "ome-zarr"

    def __init__(self, path: Path, group: zarr.Group) -> None:
        multiscale = _multiscale(path, group)
        self._path = path
        self._axes = [axis["name"] for axis in multiscale["axes"]]
        self._arrays: list[zarr.Array[Any]] = []
        for dataset in multiscale["datasets"]:
            array = group[dataset["path"]]
            if not isinstance(array, zarr.Array) or array.dtype != np.uint8:
                raise SlideError(f"{path}: level {dataset['path']} is no 8-bit array")
            self._arrays.append(array)
        sizes = [self._size(array) for array in self._arrays]
        levels = tuple(Level(*size, downsample_of(sizes[0], size)) for size in sizes)
        self.header = Header(levels=levels, mpp=_mpp(multiscale))

    @classmethod
    def open(cls, path: Path) -> ZarrReader | None:
        """See `Reader.open`."""
        if not path.is_dir() or not any((path / name).is_file() for name in ("zarr.json", ".zgroup")):
            return None
        try:
            return cls(path, zarr.open_group(path, mode="r"))
        except SlideError:
            raise
        # Zarr and what damaged metadata leads to here raise many kinds: key, index, attribute and value errors.
        except Exception as error:
            raise SlideError(f"{path}: not a readable OME-Zarr image ({error})") from error

    def _size(self, array: zarr.Array[Any]) -> tuple[int, int]:
        return array.shape[self._axes.index("x")], array.shape[self._axes.index("y")]

    def read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `Reader.read_level`."""
        wanted = {"x": slice(x, x + width), "y": slice(y, y + height), "c": slice(0, 3)}
        try:
            cut = np.asarray(self._arrays[level][tuple(wanted.get(axis, 0) for axis in self._axes)])
        except Exception as error:  # Codecs raise their own kinds, one per codec.
            raise SlideError(
                f"{self._path}: {width} × {height} px at ({x}, {y}) of level {level} cannot be decoded ({error}); "
                "copy it again from its source"
            ) from error
        kept = [axis for axis in self._axes if axis in wanted]
        if "c" not in kept:
            cut, kept = cut[..., None], [*kept, "c"]
        rgb = cut.transpose([kept.index(axis) for axis in "yxc"])
        return np.ascontiguousarray(np.repeat(rgb, 3, axis=2) if rgb.shape[2] == 1 else rgb)

    def close(self) -> None:
        """See `Reader.close`; Zarr holds no handle."""


def _multiscale(path: Path, group: zarr.Group) -> dict[str, Any]:
    attributes: dict[str, Any] = dict(group.attrs)
    found = attributes.get("ome", attributes).get("multiscales")
    if not found:
        raise SlideError(f"{path}: a Zarr folder without OME 'multiscales' in it")
    multiscale: dict[str, Any] = found[0]
    return multiscale


def _mpp(multiscale: dict[str, Any]) -> tuple[float, float] | None:
    scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    found = {}
    for axis, value in zip(multiscale["axes"], scale, strict=True):
        um = _UM_PER_UNIT.get(axis.get("unit", ""))
        if axis["name"] in "xy" and um is not None:
            found[axis["name"]] = float(value) * um
    return (found["x"], found["y"]) if len(found) == 2 else None
