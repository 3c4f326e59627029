"""Any readable image → a pyramid that can be read at random."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi.atomic import refuse_overwriting
from wsi.errors import SlideError
from wsi.geometry import Box
from wsi.pyramid import PyramidOptions, write_pyramid
from wsi.slide import Slide

_BAND_PX = 512


def convert(
    slide: Slide,
    out: Path,
    options: PyramidOptions = PyramidOptions(),  # noqa: B008 - frozen, so sharing it is safe
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write `slide` as a pyramidal OME-TIFF; mpp and ICC profile are kept, label and free text are not.

    Raises SlideError where the disk has no room for it. Memory is a few bands, whatever the size.
    """
    refuse_overwriting(out, slide.path)
    width, height = slide.size
    # A JPEG pyramid of tissue takes about 0.5 byte a px with all levels; lossless ones up to 4.
    needed = width * height * (1 if options.quality else 4)
    out.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise SlideError(
            f"{out}: {needed / 1e9:.1f} GB needed to convert {slide.name}, {free / 1e9:.1f} GB free; make room"
        )
    write_pyramid(out, _bands(slide, progress), slide.size, slide.mpp, options, slide.header.icc_profile)


def _bands(slide: Slide, progress: Callable[[float], None] | None) -> Iterator[NDArray[np.uint8]]:
    width, height = slide.size
    for top in range(0, height, _BAND_PX):
        yield slide.read(Box(0, top, width, min(_BAND_PX, height - top)))
        if progress is not None:
            progress(min(1.0, (top + _BAND_PX) / height))
