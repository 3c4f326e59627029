"""A phantom as files: a flat TIFF, a tiled pyramid or an OME-Zarr, and its truth as GeoJSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
import zarr

from wsi.annotations import write_geojson
from wsi.atomic import writing
from wsi.colours import class_colours
from wsi.halving import level_sizes
from wsi.ome import Facts
from wsi.phantom.slide import Phantom
from wsi.phantom.spec import CLASSES
from wsi.pyramid import PyramidOptions, write_pyramid

_BAND_PX = 512
_CHUNK_PX = 512


def write_tiled(phantom: Phantom, path: Path, quality: int = 87, *, with_mpp: bool = True) -> None:
    """A pyramid; quality 0 is lossless. `with_mpp=False` leaves the mpp out, as some scanners do."""
    spec = phantom.spec
    facts = Facts((spec.mpp, spec.mpp) if with_mpp else None)
    options = PyramidOptions.of_quality(quality)
    write_pyramid(path, phantom.bands(_BAND_PX), (spec.width, spec.height), facts, options)


def write_flat(phantom: Phantom, path: Path, *, with_mpp: bool = True) -> None:
    """A striped LZW TIFF of one level, the kind that cannot be read at random."""
    spec = phantom.spec
    per_cm = 1e4 / spec.mpp
    resolution: dict[str, Any] = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"} if with_mpp else {}
    pixels = np.concatenate(list(phantom.bands(_BAND_PX)))
    with writing(path) as temporary:
        tifffile.imwrite(temporary, pixels, photometric="rgb", compression="lzw", rowsperstrip=16, **resolution)


def write_zarr(phantom: Phantom, path: Path) -> None:
    """An OME-Zarr 0.5 image (c, y, x) with levels halved by area."""
    spec = phantom.spec
    pixels = np.concatenate(list(phantom.bands(_BAND_PX)))
    sizes = level_sizes(spec.width, spec.height, _CHUNK_PX)
    datasets: list[Any] = []
    with writing(path) as temporary:
        group = zarr.open_group(temporary, mode="w", zarr_format=3)
        for index, (width, height) in enumerate(sizes):
            if index:
                even = pixels[: height * 2, : width * 2]
                pixels = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            names = ("c", "y", "x")
            chunks = (3, min(_CHUNK_PX, height), min(_CHUNK_PX, width))
            group.create_array(str(index), data=np.moveaxis(pixels, 2, 0), chunks=chunks, dimension_names=names)
            scale = spec.mpp * 2**index
            transformation = {"type": "scale", "scale": [1.0, scale, scale]}
            datasets.append({"path": str(index), "coordinateTransformations": [transformation]})
        axes: list[Any] = [{"name": "c", "type": "channel"}]
        axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
        multiscale = {"name": path.name, "axes": axes, "datasets": datasets}
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}


def write_truth(phantom: Phantom, path: Path) -> None:
    """The regions as QuPath GeoJSON, level-0 px: what a pathologist would have drawn."""
    write_geojson(path, phantom.regions(), class_colours(CLASSES))
