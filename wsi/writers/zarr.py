"""Write an OME-Zarr 0.5 image (Zarr 3, sharded): the same levels as the TIFF pyramid's, lossless."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsi.atomic import writing
from wsi.readers.zarr.own import PICTURES, is_own, own_attributes
from wsi.writers.halving import Sink, halve_down, level_sizes
from wsi.writers.ome import Facts
from wsi.writers.shards import ShardedArray


def write_zarr_pyramid(
    path: Path, bands: Iterable[NDArray[np.uint8]], size: tuple[int, int], facts: Facts, chunk_px: int = 512
) -> None:
    """Write an RGB pyramid to the folder `path`, which has its name only once it is whole.

    Raises InputError where something lies there that Tesela did not write.

    bands: (rows, width, 3) uint8 from top to bottom, of any height; together they are `size` (width, height).
    """
    sizes = level_sizes(*size, chunk_px)
    with _writing_zarr(path, sizes, facts, chunk_px) as encode:
        halve_down(bands, sizes, chunk_px, encode)


@contextmanager
def _writing_zarr(path: Path, sizes: Sequence[tuple[int, int]], facts: Facts, chunk_px: int) -> Iterator[Sink]:
    """A folder to fill; on leaving the context it is complete and named, or gone.

    sizes: (width, height) of every level. Yields what takes bands of `chunk_px` rows.
    """
    with writing(path, is_own) as temporary, ExitStack() as opened:
        group = zarr.open_group(temporary, mode="w", zarr_format=3, attributes=_attributes(path, facts, len(sizes)))
        levels = [
            opened.enter_context(closing(ShardedArray(group, temporary / str(index), size, chunk_px)))
            for index, size in enumerate(sizes)
        ]
        for name, pixels in sorted(facts.pictures.items()):
            picture = group.create_group(f"{PICTURES}/{name}", attributes={"ome": image_attributes(name, None, 1)})
            picture.create_array("0", data=np.moveaxis(pixels, 2, 0), chunks=(3, *pixels.shape[:2]))
        yield lambda level, top, band: levels[level].encode(top, band)


def _attributes(path: Path, facts: Facts, levels: int) -> dict[str, Any]:
    image = image_attributes(path.name.partition(".")[0], facts.mpp, levels)
    return {"ome": image} | own_attributes(facts.objective_power, facts.icc_profile, facts.description)


def image_attributes(name: str, mpp: tuple[float, float] | None, levels: int) -> dict[str, Any]:
    """NGFF 0.5 metadata of an image (c, y, x) whose level k is level 0 halved k times.

    A pixel's index stands for its centre. The first of a level's pixels covers 2^k of level 0, so its centre lies
    (2^k - 1) / 2 px of level 0 further: the translation says so, and one point of tissue has the same coordinates in
    every level. Without an mpp the unit is left out and a level-0 px is 1.
    """
    x, y = mpp or (1.0, 1.0)
    unit = {} if mpp is None else {"unit": "micrometer"}
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", **unit} for axis in "yx"]
    datasets = []
    for level in range(levels):
        scale, shift = 2**level, (2**level - 1) / 2
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": [1.0, y * scale, x * scale]}]
        if level:
            transformations.append({"type": "translation", "translation": [0.0, y * shift, x * shift]})
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    return {
        "version": "0.5",
        "multiscales": [{"name": name, "type": "mean", "axes": axes, "datasets": datasets}],
        "omero": {"channels": _CHANNELS, "rdefs": {"model": "color"}},
    }


_CHANNELS = [
    {"label": label, "color": colour, "active": True, "window": {"min": 0, "max": 255, "start": 0, "end": 255}}
    for label, colour in (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
]
