"""A phantom as files: a flat TIFF, a tiled pyramid or an OME-Zarr, and its truth as GeoJSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from wsi.annotations import write_geojson
from wsi.atomic import writing
from wsi.colours import class_colours
from wsi.phantom.slide import Phantom
from wsi.phantom.spec import CLASSES
from wsi.writers.ome import Facts
from wsi.writers.pyramid import PyramidOptions, write_pyramid
from wsi.writers.zarr import write_zarr_pyramid

_BAND_PX = 512


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
    """An OME-Zarr 0.5 image."""
    spec = phantom.spec
    write_zarr_pyramid(path, phantom.bands(_BAND_PX), (spec.width, spec.height), Facts((spec.mpp, spec.mpp)))


def write_truth(phantom: Phantom, path: Path) -> None:
    """The regions as QuPath GeoJSON, level-0 px: what a pathologist would have drawn."""
    write_geojson(path, phantom.regions(), class_colours(CLASSES), identity=repr(phantom.spec))
