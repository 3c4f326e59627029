"""`python -m benchmarks.cores FOLDER`: heat on a needle core 1 mm wide, cut along the tissue and as whole tiles.

Most tiles of a core lie on its border. The slide is generated, what is on it is known, and the model is always right:
what is left to see is how heat lies on tissue.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rich.console import Console

from wsi.annotations import Region
from wsi.blank import BlankOptions
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.overlay import Clipping, OverlayOptions, write_region
from wsi.phantom.stain import Stain
from wsi.phantom.textures import Swatch
from wsi.preview import Caption, write_preview
from wsi.scores import TileScores, summarise
from wsi.slide import open_slide
from wsi.tiles import candidates, make_tiles
from wsi.tissue import TissueOptions, find_tissue
from wsi.writers.ome import Facts
from wsi.writers.pyramid import PyramidOptions, write_pyramid

# At 1 µm a px, 8 × 2.4 mm.
_SIZE, _MPP = (8000, 2400), 1.0
_GLASS = (243, 242, 244)
_HALF_WIDTH_PX, _SWING_PX, _LENGTH_PX = 500, 300, 5200
CLASSES = ("STR", "TUM")
SPEC = TileSpec(131, 2.0, 131)  # 262 µm
# Tumour begins and ends with a column of tiles, so that the class of every tile is one.
_TUMOUR_COLUMNS = (10, 20)
_SHOWN = Box(4100, 300, 900, 700)


@dataclass(frozen=True)
class Core:
    """pixels: (h, w, 3) RGB. regions: what is on it, by class, level-0 px."""

    pixels: NDArray[np.uint8]
    regions: tuple[Region, ...]


def core_regions() -> tuple[Region, ...]:
    """A bent band of stroma with tumour in its middle."""
    along = np.arange(300, _SIZE[0] - 300 + 1, 20)
    middle = _SIZE[1] / 2 + _SWING_PX * np.sin(2 * np.pi * along / _LENGTH_PX)
    upper, lower = (np.stack([along, middle + side * _HALF_WIDTH_PX], axis=1) for side in (-1, 1))
    band = shapely.Polygon(np.concatenate([upper, lower[::-1]]))
    first, last = (column * SPEC.size_px * SPEC.mpp / _MPP for column in _TUMOUR_COLUMNS)
    tumour = band.intersection(shapely.box(first, 0, last, _SIZE[1]))
    return Region(band.difference(tumour), "STR", "truth"), Region(tumour, "TUM", "truth")


def core() -> Core:
    """The slide's pixels: stroma and tumour as phantoms have them, on glass."""
    pixels, regions = np.full((_SIZE[1], _SIZE[0], 3), _GLASS, np.uint8), core_regions()
    x, y = np.arange(_SIZE[0]) + 0.5, np.arange(_SIZE[1]) + 0.5
    stain = Stain.drawn(np.random.default_rng(1))
    for region in regions:
        sheet = Swatch.drawn(region.name, 1, _MPP).rgb(stain)
        shapely.prepare(region.polygon)
        inside = shapely.contains_xy(region.polygon, x[None], y[:, None])
        repeated = np.tile(sheet, (-(-_SIZE[1] // len(sheet)), -(-_SIZE[0] // len(sheet)), 1))
        pixels[inside] = repeated[: _SIZE[1], : _SIZE[0]][inside]
    return Core(pixels, regions)


def always_right(grid: TileGrid, scored: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(rows * cols, classes) the truth of every tile that is scored, NaN of the others."""
    col = np.arange(grid.rows * grid.cols) % grid.cols
    tumour = (col >= _TUMOUR_COLUMNS[0]) & (col < _TUMOUR_COLUMNS[1])
    truth = np.stack([~tumour, tumour], axis=1).astype(np.float32)
    return np.where(scored.ravel()[:, None], truth, np.float32(np.nan))


def main() -> None:
    """Draw the slide, and both overlays: whole, and its border px for px."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    facts, options = Facts((_MPP, _MPP)), PyramidOptions.of_quality(90)
    write_pyramid(folder / "core.ome.tif", [core().pixels], _SIZE, facts, options)
    with open_slide(folder / "core.ome.tif") as slide:
        tissue = find_tissue(slide, TissueOptions())[0]
        grid = TileGrid.of(SPEC, slide.size, slide.mpp, name=slide.name)
        table = make_tiles(slide, grid, tissue, 0.1, BlankOptions())
        scores = TileScores(grid, CLASSES, always_right(grid, candidates(table, grid)), "always right", tissue=tissue)
        clips: tuple[Clipping, ...] = ("tile", "tissue")
        for clip in clips:
            chosen = OverlayOptions(clip=clip)
            caption = Caption(f"core, clip: {clip}", "always right", "generated")
            write_preview(folder / f"core-{clip}.png", slide, scores, chosen, caption)
            write_region(folder / f"core-{clip}-1to1.png", slide, scores, chosen, _SHOWN)
    for region in core_regions():
        found = summarise(scores)["classes"][region.name]["area_mm2"]
        Console(stderr=True).print(f"{region.name}: {region.polygon.area * _MPP**2 / 1e6:.3f} mm², found {found:.3f}")


if __name__ == "__main__":
    main()
