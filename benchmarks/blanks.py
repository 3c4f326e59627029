"""Which tiles of generated slides are kept, class by class: the mask and the blank filter as the stage runs them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from wsi.blank import BlankOptions
from wsi.geometry import TileGrid, TileSpec
from wsi.phantom import CLASSES, MAP_DOWNSAMPLE, Phantom, PhantomSpec
from wsi.phantom.files import write_tiled
from wsi.shapes import box_fractions
from wsi.slide import Slide, open_slide
from wsi.tiles import candidates, make_tiles
from wsi.tissue import TissueOptions, find_tissue
from wsi.tissuemask import TissueMask

# Of 6 mm: pens, folds and the slide's edges are as large beside the tissue as on real slides.
_SIDE_PX, _MPP = 6144, 1.0
_TILE = TileSpec(128, _MPP, 128)
_SEEDS = range(3)
# The soft edge of a stroke: tiles so near to ink are counted apart.
_BESIDE_INK_UM = 200
_MIN_TISSUE = 0.1
# Every class in all of them. What lies on the glass, or makes the tissue hard to see, differs.
_KINDS = {
    "clean": {},
    "dirty": {"pens": ("black", "blue", "green", "red"), "dust": 60, "background_steps": True},
    "hard": {"bubbles": 3, "folds": 2, "coverslip": True, "dark_edges": True, "shading": True, "dust": 20},
    "faint": {"stain_strength": 0.6, "shading": True},
}


@dataclass(frozen=True)
class Tally:
    """Tiles of a class (BACK: without any tissue), and how many of them were kept: by the stage, by the filter alone.

    For the filter alone, every tile is a candidate: what it would do if the mask took all for tissue. The last two
    are of tiles beside ink, which the others leave out.
    """

    name: str
    tiles: int
    kept: int
    kept_by_filter: int
    beside_ink: int
    kept_beside_ink: int


def tallies(kinds: tuple[str, ...] = tuple(_KINDS), seeds: range = _SEEDS) -> list[Tally]:
    """Every class over several generated slides.

    A tile is of a class where half of it or more is, and no ink lies on it; of no tissue where none of it is.
    """
    count = np.zeros((len(CLASSES), 5), int)
    for number, kind in enumerate(kinds):
        for seed in seeds:
            spec = PhantomSpec(100 * number + seed, _SIDE_PX, _SIDE_PX, _MPP, pieces=1 + seed % 3, **_KINDS[kind])
            count += _counted(Phantom(spec))
    return [Tally(name, *row) for name, row in zip(CLASSES, count.tolist(), strict=True)]


def _counted(phantom: Phantom) -> NDArray[np.int_]:
    """(classes, 5): the numbers of a `Tally`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.ome.tif"
        write_tiled(phantom, path)
        with open_slide(path) as slide:
            mask = find_tissue(slide, TissueOptions())[0]
            grid = TileGrid.of(_TILE, slide.size, slide.mpp, name=slide.name)
            kept = [_kept(slide, grid, one) for one in (mask, TissueMask(np.ones_like(mask.mask), mask.px_size))]
    px = (float(MAP_DOWNSAMPLE), float(MAP_DOWNSAMPLE))
    margin_px = round(_BESIDE_INK_UM / _MPP / MAP_DOWNSAMPLE)
    around = cv2.dilate(phantom.ink.astype(np.uint8), np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8)) > 0
    clean = box_fractions(phantom.ink, grid.boxes(), px) == 0
    far = box_fractions(around, grid.boxes(), px) == 0
    rows = []
    for index, name in enumerate(CLASSES):
        share = box_fractions(phantom.class_map == index, grid.boxes(), px)
        chosen = clean & (share == 1 if name == "BACK" else share >= 0.5)
        apart, beside = chosen & far, chosen & ~far
        rows.append([apart.sum(), *(one[apart].sum() for one in kept), beside.sum(), kept[0][beside].sum()])
    return np.array(rows)


def _kept(slide: Slide, grid: TileGrid, mask: TissueMask) -> NDArray[np.bool_]:
    return candidates(make_tiles(slide, grid, mask, _MIN_TISSUE, BlankOptions()), grid).ravel()


def measure() -> list[Figure]:
    """`tiles.tissue_kept` (of the worst class) and `tiles.blank_dropped`."""
    found = tallies()
    tissue = [tally for tally in found if tally.name != "BACK"]
    glass = next(tally for tally in found if tally.name == "BACK")
    shares = ", ".join(f"{one.name} {one.kept / one.tiles:.2%} of {one.tiles:,}" for one in found)
    beside = sum(one.kept_beside_ink for one in tissue) / sum(one.beside_ink for one in tissue)
    alone = ", ".join(f"{one.name} {one.kept_by_filter / one.tiles:.2%}" for one in found)
    return [
        Figure(
            "tiles.tissue_kept",
            min(tally.kept / tally.tiles for tally in tissue),
            "of the worst class",
            "the truth of generated slides: tiles half of which or more is of the class, away from ink",
            0.995,
            detail=f"{shares}; within {_BESIDE_INK_UM} µm of ink {beside:.2%} of all tissue",
        ),
        Figure(
            "tiles.blank_dropped",
            1 - glass.kept / glass.tiles,
            "of all without tissue",
            "the same slides",
            0.99,
            detail=f"kept by the filter alone, without a mask: {alone}",
        ),
    ]
