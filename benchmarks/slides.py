"""The slides to measure on: the real colorectal one where there are real data, and a generated one always."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from wsi.atomic import writing
from wsi.convert import ConvertOptions, convert
from wsi.geometry import Box
from wsi.phantom import Phantom, PhantomSpec
from wsi.slide import open_slide
from wsi.writers.ome import Facts
from wsi.writers.pyramid import write_pyramid

# The size of a 20× scan of a small resection; a rendered block is mirrored until it is filled.
_SIDE_PX, _BLOCK_PX = 21_760, 4096
_ROWS_PER_STRIP = 16


def slides() -> dict[str, Path]:
    """Name → slide."""
    phantom = Path("build/bench") / f"phantom-{_SIDE_PX}.ome.tif"
    if not phantom.exists():
        with open_slide(flat()) as slide:
            convert(slide, phantom, ConvertOptions(codec="jpeg"))
    return {**_colorectal(), "phantom": phantom}


def tiled_slides() -> dict[str, Path]:
    """Name → slide of which part is tissue, to tell its blank tiles from the others."""
    return {**_colorectal(), "tissue": tissue_slide()}


def _colorectal() -> dict[str, Path]:
    data = os.environ.get("TESELA_TEST_DATA")
    return {"colorectal": Path(data) / "slides" / "colorectal-serrated-adenoma.tif"} if data else {}


def flat(width_px: int = _SIDE_PX, height_px: int = _SIDE_PX) -> Path:
    """A striped LZW TIFF with predictor, 21,760 px square or as asked, of tissue-like content, with mpp."""
    path = Path("build/bench") / f"flat-{width_px}x{height_px}.tif"
    if path.exists():
        return path
    block = Phantom(PhantomSpec(2, _BLOCK_PX, _BLOCK_PX, pieces=1)).render(Box(0, 0, _BLOCK_PX, _BLOCK_PX))
    x, y = (
        np.abs((np.arange(side) + _BLOCK_PX) % (2 * _BLOCK_PX) - _BLOCK_PX).clip(max=_BLOCK_PX - 1)
        for side in (width_px, height_px)
    )

    def strips() -> Iterator[bytes]:
        for top in range(0, height_px, _ROWS_PER_STRIP):
            pixels = block[y[top : top + _ROWS_PER_STRIP]][:, x]
            yield imagecodecs.lzw_encode(imagecodecs.delta_encode(pixels, axis=1).tobytes())

    with writing(path) as temporary:
        tifffile.imwrite(
            temporary,
            strips(),
            shape=(height_px, width_px, 3),
            dtype=np.uint8,
            photometric="rgb",
            compression="lzw",
            predictor=True,
            rowsperstrip=_ROWS_PER_STRIP,
            resolution=(20_000, 20_000),
            resolutionunit="CENTIMETER",
            metadata=None,
        )
    return path


# A quarter of the sides of the slide above: a generated piece of 5,120 px with glass around it, repeated.
_PIECE_PX, _PATCH_PX = 5120, _SIDE_PX // 4
_BAND_PX = 544


def tissue_slide(columns: int = 4, rows: int = 4) -> Path:
    """A JPEG pyramid in native tiles of 256 px, two fifths of it tissue: so many patches of 5,440 px side by side.

    Four by four are 21,760 px square, 28,900 tiles of 128 px. Twice and four times as many have that much more area
    of the very same content.
    """
    path = Path("build/bench") / f"tissue-{columns * _PATCH_PX}x{rows * _PATCH_PX}.ome.tif"
    if path.exists():
        return path
    piece = Phantom(PhantomSpec(2, _PIECE_PX, _PIECE_PX, pieces=1)).render(Box(0, 0, _PIECE_PX, _PIECE_PX))
    margin = (_PATCH_PX - _PIECE_PX) // 2
    patch = np.pad(piece, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    bands = (
        np.tile(patch[top : top + _BAND_PX], (1, columns, 1))
        for _ in range(rows)
        for top in range(0, _PATCH_PX, _BAND_PX)
    )
    write_pyramid(path, bands, (columns * _PATCH_PX, rows * _PATCH_PX), Facts((0.5, 0.5)))
    return path
