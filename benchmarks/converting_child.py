"""One conversion in a process of its own, so that its peak memory is its own: prints seconds and MB as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import benchmarks  # noqa: F401 - two cores, before any pool is made
from wsi.memory import peak_rss_bytes


def _libvips(source: Path, folder: Path) -> float:
    import pyvips

    began = time.perf_counter()
    image = pyvips.Image.new_from_file(str(source), access="sequential")
    tiles = {"tile": True, "tile_width": 256, "tile_height": 256, "pyramid": True, "bigtiff": True}
    image.tiffsave(str(folder / "a.tif"), compression="jpeg", Q=87, **tiles)
    return time.perf_counter() - began


def _ours(source: Path, out: Path) -> float:
    from wsi.convert import ConvertOptions, convert, target_of
    from wsi.slide import open_slide

    began = time.perf_counter()
    with open_slide(source) as slide:
        target = target_of(out, None)
        convert(slide, out, ConvertOptions(target, "jpeg" if target == "ome-tiff" else None))
    return time.perf_counter() - began


def main() -> None:
    """Convert as the first word says: libvips, ome-tiff or ome-zarr; then the source and a folder to write to."""
    kind, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if kind == "libvips":
        seconds = _libvips(source, folder)
    else:
        seconds = _ours(source, folder / ("a.ome.tif" if kind == "ome-tiff" else "a.ome.zarr"))
    print(json.dumps({"seconds": seconds, "rss_mb": peak_rss_bytes() / 2**20}))


if __name__ == "__main__":
    main()
