"""One overlay in a process of its own, so that its peak memory is its own: prints seconds, MB and the share scored."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np

import benchmarks  # noqa: F401 - two cores, before any pool is made
from wsi.geometry import TileGrid, TileSpec
from wsi.memory import keep_freed_memory, peak_rss_bytes
from wsi.overlay import OverlayOptions, Painter, View, write_overlay
from wsi.readers import cache
from wsi.scores import TileScores
from wsi.slide import Slide, open_slide
from wsi.tissue import TissueOptions, find_tissue

_CLASSES = ("STR", "TUM", "BACK")


def _scores(slide: Slide) -> TileScores:
    """Every tile that is half tissue, scored by chance, most of them as a class that is painted."""
    grid = TileGrid.of(TileSpec(128, slide.require_mpp()[0], 128), slide.size, slide.mpp, name=slide.name)
    tissue = find_tissue(slide, TissueOptions())[0]
    enough = tissue.fractions(grid) >= 0.5
    values = np.random.default_rng(1).dirichlet((4, 4, 0.2), len(enough)).astype(np.float32)
    return TileScores(grid, _CLASSES, np.where(enough[:, None], values, np.float32(np.nan)), "chance", tissue=tissue)


def _ours(slide: Slide, scores: TileScores, folder: Path) -> float:
    began = time.perf_counter()
    write_overlay(folder / "a.ome.tif", slide, scores, OverlayOptions())
    return time.perf_counter() - began


def _parts(slide: Slide, scores: TileScores) -> float:
    """The codecs and the same blending, of painted native tiles that lie in memory: what no overlay can do without."""
    painter, work = Painter(scores, OverlayOptions()), []
    for power in range(len(slide.header.levels)):
        level, tiles = slide.header.levels[power], slide.native(power)
        assert tiles is not None
        brush = painter.on(View.of_level((level.width, level.height), level.downsample))
        side = tiles.tile_width
        for index in range(tiles.rows * tiles.columns):
            left, top = index % tiles.columns * side, index // tiles.columns * side
            width, height = min(side, level.width - left), min(side, level.height - top)
            if brush.touches(left, top, width, height):
                work.append((brush, tiles.raw(index), left, top, width, height))

    def one(brush, raw, left, top, width, height):
        tile = imagecodecs.jpeg8_decode(raw)
        tile[:height, :width] = brush.paint(tile[:height, :width], left, top)
        imagecodecs.jpeg8_encode(tile, level=87, colorspace="RGB", outcolorspace="YCBCR", subsampling="420")

    def some(chunk):
        for each in chunk:
            one(*each)

    keep_freed_memory()
    began = time.perf_counter()
    with ThreadPoolExecutor(cache.WORKERS) as pool:
        list(pool.map(some, [work[start : start + 8] for start in range(0, len(work), 8)]))
    return time.perf_counter() - began


def _libvips(source: Path, scores: TileScores, folder: Path) -> float:
    """The colours with their opacity, a px a tile, enlarged to the slide's px, laid over and saved."""
    import pyvips

    heat = Painter(scores, OverlayOptions()).heat
    colours = np.array([(0, 0, 0), (240, 130, 60), (215, 30, 40)], np.uint8)[heat.layer]
    opacity = np.rint(heat.value * OverlayOptions.alpha * 255).astype(np.uint8)
    rgba = np.ascontiguousarray(np.dstack([colours, opacity]))
    began = time.perf_counter()
    image = pyvips.Image.new_from_file(str(source), access="sequential")
    cells = pyvips.Image.new_from_array(rgba, interpretation="srgb").zoom(128, 128)
    painted = image.composite2(cells.crop(0, 0, image.width, image.height), "over").flatten()
    tiles = {"tile": True, "tile_width": 256, "tile_height": 256, "pyramid": True, "bigtiff": True}
    painted.tiffsave(str(folder / "a.tif"), compression="jpeg", Q=87, **tiles)
    return time.perf_counter() - began


def main() -> None:
    """Paint as the first word says: overlay, parts or libvips; then the source and a folder to write to."""
    kind, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    with open_slide(source) as slide:
        scores = _scores(slide)
        if kind == "libvips":
            seconds = _libvips(source, scores, folder)
        else:
            seconds = _ours(slide, scores, folder) if kind == "overlay" else _parts(slide, scores)
    scored = float(scores.scored.mean())
    print(json.dumps({"seconds": seconds, "rss_mb": peak_rss_bytes() / 2**20, "scored": scored}))


if __name__ == "__main__":
    main()
