"""Healthy files to mutate: one small file of every kind that a reader takes, and the headers of real ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from tests.fuzzing.tiffbytes import shrunk
from wsi.phantom import Phantom, PhantomSpec
from wsi.phantom.files import write_flat, write_tiled, write_zarr

# Larger real files keep their headers, but share one tile.
_WHOLE_BYTES = 300_000
_LARGEST_BYTES = 2_500_000
_MICRONS = {"type": "space", "unit": "micrometer"}


@dataclass(frozen=True)
class Seed:
    """A healthy file; or a folder, by the relative paths of its files. name: with the suffix that readers look at."""

    name: str
    kind: str
    files: Mapping[str, bytes]

    @property
    def is_folder(self) -> bool:
        """A file is held under the empty path."""
        return "" not in self.files


def seeds(folder: Path) -> list[Seed]:
    """All seeds, in an order that does not change; `folder` is used to write them in."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [*_tiffs(folder), *_phantoms(folder), *_zarrs(folder), *_flat_pictures()]
    data = os.environ.get("TESELA_TEST_DATA")
    return [*found, *_real(Path(data) / "slides")] if data else found


def _picture() -> NDArray[np.uint8]:
    """(96, 112, 3): smooth, so that files stay small, with something to find in it."""
    y, x = np.mgrid[:96, :112]
    return np.stack([x * 2, y * 2, (x + y) % 64 * 4], axis=-1).astype(np.uint8)


def _tiffs(folder: Path) -> Iterator[Seed]:
    rgb = _picture()
    tiled: dict[str, Any] = {"tile": (32, 48), "photometric": "rgb", "resolution": (2e4, 2e4), "resolutionunit": 3}
    grey = {**tiled, "photometric": "minisblack"}
    colours = np.linspace(0, 65_535, 768).reshape(3, 256).astype(np.uint16)
    kinds: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
        **{
            codec: (rgb, {**tiled, "compression": codec})
            for codec in ("jpeg", "lzw", "adobe_deflate", "jpeg2000", "webp", "zstd", "packbits", "jpegxl", "none")
        },
        "predictor": (rgb, {**tiled, "compression": "adobe_deflate", "predictor": 2}),
        "bigtiff": (rgb, {**tiled, "compression": "jpeg", "bigtiff": True}),
        "big-endian": (rgb, {**tiled, "compression": "adobe_deflate", "byteorder": ">"}),
        "planar": (np.moveaxis(rgb, 2, 0), {**tiled, "compression": "adobe_deflate", "planarconfig": "separate"}),
        "16-bit": (rgb.astype(np.uint16) * 257, {**tiled, "compression": "adobe_deflate"}),
        "grey": (rgb[..., 0], {**grey, "compression": "adobe_deflate"}),
        "grey-jpeg": (rgb[..., 0], {**grey, "compression": "jpeg"}),
        "palette": (rgb[..., 0], {**tiled, "photometric": "palette", "colormap": colours, "compression": "lzw"}),
        "rgba": (np.dstack([rgb, rgb[..., 0]]), {**tiled, "extrasamples": ["unassalpha"], "compression": "lzw"}),
        "cmyk": (np.dstack([rgb, rgb[..., 0]]), {**tiled, "photometric": "separated", "compression": "lzw"}),
        "strips-lzw": (rgb, {"photometric": "rgb", "compression": "lzw", "rowsperstrip": 16}),
        "strips-jpeg": (rgb, {"photometric": "rgb", "compression": "jpeg", "rowsperstrip": 16}),
        "one-strip": (rgb, {"photometric": "rgb", "rowsperstrip": 96}),
        "ome": (rgb, {**tiled, "compression": "jpeg", "ome": True, "metadata": {"axes": "YXS", "PhysicalSizeX": 0.5}}),
    }
    for kind, (pixels, options) in kinds.items():
        options = {"metadata": None, "software": "", **options}
        writer = {key: options.pop(key) for key in ("ome", "bigtiff", "byteorder") if key in options}
        path = folder / f"{kind}.tif"
        with tifffile.TiffWriter(path, **writer) as tiff:
            tiff.write(pixels, **options)
        yield Seed(path.name, "tiff", {"": path.read_bytes()})
    path = folder / "aperio.svs"
    text = "Aperio Image Library v11\r\n112x96 (48x32) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990|Filename = 1"
    with tifffile.TiffWriter(path) as tiff:
        for size in (1, 2):
            part = {**tiled, "compression": "jpeg", "metadata": None, "description": text, "software": ""}
            tiff.write(np.ascontiguousarray(rgb[::size, ::size]), **part)
    yield Seed(path.name, "tiff", {"": path.read_bytes()})


def _phantoms(folder: Path) -> Iterator[Seed]:
    phantom = Phantom(PhantomSpec(1, 560, 400, 1.0, pieces=1))
    for name, quality in (("pyramid.ome.tif", 60), ("lossless.ome.tif", 0)):
        write_tiled(phantom, folder / name, quality)
        yield Seed(name, "tiff pyramid", {"": (folder / name).read_bytes()})
    write_flat(phantom, folder / "flat.tif")
    yield Seed("flat.tif", "tiff", {"": (folder / "flat.tif").read_bytes()})
    write_zarr(phantom, folder / "phantom.ome.zarr")
    yield _folder(folder / "phantom.ome.zarr")


def _zarrs(folder: Path) -> Iterator[Seed]:
    """Small images of both versions, in plain chunks and in shards, with channels first, last and none."""
    rgb = _picture()
    kinds: dict[str, tuple[str, NDArray[np.uint8], dict[str, Any]]] = {
        "v2": ("yxc", rgb, {"chunks": (64, 64, 3)}),
        "v3": ("cyx", np.moveaxis(rgb, 2, 0), {"chunks": (3, 64, 64)}),
        "shards": ("cyx", np.moveaxis(rgb, 2, 0), {"chunks": (3, 64, 64), "shards": (3, 128, 128)}),
        "grey": ("yx", rgb[..., 0], {"chunks": (64, 64)}),
    }
    for kind, (axes, pixels, options) in kinds.items():
        path = folder / f"{kind}.ome.zarr"
        group = zarr.open_group(path, mode="w", zarr_format=2 if kind == "v2" else 3)
        datasets = []
        for level in range(2):
            steps = tuple(slice(None, None, 1 if axis == "c" else 2**level) for axis in axes)
            group.create_array(str(level), data=np.ascontiguousarray(pixels[steps]), **options)
            scale = [1.0 if axis == "c" else 0.5 * 2**level for axis in axes]
            datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        units = {axis: {"type": "channel"} if axis == "c" else _MICRONS for axis in axes}
        multiscale = {"axes": [{"name": axis, **units[axis]} for axis in axes], "datasets": datasets}
        if kind == "v2":
            group.attrs["multiscales"] = [{"version": "0.4", **multiscale}]
        else:
            group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
        yield _folder(path)


def _folder(root: Path) -> Seed:
    files = {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
    return Seed(root.name, "ome-zarr", files)


def _flat_pictures() -> Iterator[Seed]:
    rgb = _picture()
    encoded = {
        "flat.png": imagecodecs.png_encode(rgb),
        "flat.jpg": imagecodecs.jpeg8_encode(rgb, level=80),
        "flat.jp2": imagecodecs.jpeg2k_encode(rgb, level=40, codecformat="jp2"),
    }
    for name, raw in encoded.items():
        yield Seed(name, "flat picture", {"": bytes(raw)})


def _real(folder: Path) -> Iterator[Seed]:
    for path in sorted(folder.iterdir()):
        is_tiff = path.suffix in {".svs", ".tif", ".tiff"}
        raw = shrunk(path) if is_tiff and path.stat().st_size > _WHOLE_BYTES else path.read_bytes()
        if len(raw) <= _LARGEST_BYTES:
            yield Seed(f"real-{path.name}", "real tiff" if is_tiff else "real dicom", {"": raw})
