"""The slides to measure on: the real colorectal one where there are real data, and a generated one always."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

from wsi.atomic import writing
from wsi.convert import convert
from wsi.geometry import Box
from wsi.phantom import Phantom, PhantomSpec
from wsi.slide import open_slide

# The size of a 20× scan of a small resection; a rendered block is mirrored until it is filled.
_SIDE_PX, _BLOCK_PX = 21_760, 4096
_ROWS_PER_STRIP = 16


def slides() -> dict[str, Path]:
    """Name → slide."""
    phantom = Path("build/bench") / f"phantom-{_SIDE_PX}.ome.tif"
    if not phantom.exists():
        with open_slide(flat()) as slide:
            convert(slide, phantom)
    found = {"phantom": phantom}
    data = os.environ.get("TESELA_TEST_DATA")
    if data:
        found = {"colorectal": Path(data) / "slides" / "colorectal-serrated-adenoma.tif", **found}
    return found


def flat() -> Path:
    """A striped LZW TIFF with predictor, 21,760 px square, of tissue-like content, with mpp."""
    path = Path("build/bench") / f"flat-{_SIDE_PX}.tif"
    if path.exists():
        return path
    block = Phantom(PhantomSpec(2, _BLOCK_PX, _BLOCK_PX, pieces=1)).render(Box(0, 0, _BLOCK_PX, _BLOCK_PX))
    folded = np.abs((np.arange(_SIDE_PX) + _BLOCK_PX) % (2 * _BLOCK_PX) - _BLOCK_PX).clip(max=_BLOCK_PX - 1)

    def strips() -> Iterator[bytes]:
        for top in range(0, _SIDE_PX, _ROWS_PER_STRIP):
            pixels = block[folded[top : top + _ROWS_PER_STRIP]][:, folded]
            yield imagecodecs.lzw_encode(imagecodecs.delta_encode(pixels, axis=1).tobytes())

    with writing(path) as temporary:
        tifffile.imwrite(
            temporary,
            strips(),
            shape=(_SIDE_PX, _SIDE_PX, 3),
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
