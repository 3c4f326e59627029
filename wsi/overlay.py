"""Blend class colours over a slide: out = (1 - a) · slide + a · colour, and rebuild the pyramid.

a = alpha × probability of the winning class, where that reaches the threshold; 0 elsewhere. A pixel that no
painted tile touches keeps the slide's own value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.atomic import refuse_overwriting
from wsi.colours import class_colours
from wsi.errors import InputError
from wsi.geometry import Box
from wsi.scores import TileScores
from wsi.slide import Slide
from wsi.writers.ome import Facts
from wsi.writers.pyramid import PyramidOptions, write_pyramid

# What a slide scanner sees where there is no tissue; painting it would only dim the picture.
UNPAINTED = frozenset({"BACK", "background"})


@dataclass(frozen=True)
class OverlayOptions:
    """alpha: opacity of a tile of probability 1. threshold: lowest winning probability that is painted.

    classes: which to paint; None: all but background. quality: JPEG quality of overlay.ome.tif, 0 for lossless.
    """

    alpha: float = 0.45
    threshold: float = 0.0
    classes: tuple[str, ...] | None = None
    quality: int = 87

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1 or not 0 <= self.threshold <= 1:
            raise InputError(f"overlay: alpha {self.alpha} and threshold {self.threshold} must lie in 0 to 1")


class Painter:
    """Colours and opacities on the tile grid, and how they fall on pixels of any level."""

    def __init__(self, scores: TileScores, options: OverlayOptions) -> None:
        self.colours = class_colours(scores.classes)
        self.painted = self._choose(scores.classes, options.classes)
        self._grid = grid = scores.grid
        winners = scores.winners()
        probability = np.where(scores.scored, np.nan_to_num(scores.probabilities).max(axis=1), 0)
        shown = np.isin(winners, [scores.classes.index(name) for name in self.painted])
        opacity = np.where(shown & (probability >= options.threshold), options.alpha * probability, 0)
        palette = np.array([self.colours[name] for name in scores.classes], np.uint8)
        # One row and column of nothing all around: pixels beyond the grid look there.
        self._opacity = np.pad(opacity.astype(np.float32).reshape(grid.rows, grid.cols), 1)
        self._colour = np.pad(palette[winners].reshape(grid.rows, grid.cols, 3), ((1, 1), (1, 1), (0, 0)))

    @staticmethod
    def _choose(classes: tuple[str, ...], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
        if wanted is None:
            return tuple(name for name in classes if name not in UNPAINTED)
        unknown = sorted(set(wanted) - set(classes))
        if unknown:
            raise InputError(f"overlay.classes: {', '.join(unknown)} not among the model's {', '.join(classes)}")
        return wanted

    def blend(self, pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        """The slide's (h, w, 3) pixels of a level-0 box, at any resolution, with the colours laid over."""
        height, width = pixels.shape[:2]
        rows = self._cells(box.y, box.height, height, self._grid.downsample[1], self._grid.rows)
        cols = self._cells(box.x, box.width, width, self._grid.downsample[0], self._grid.cols)
        opacity = self._opacity[rows][:, cols]
        if not opacity.any():
            return pixels
        colour = self._colour[rows][:, cols]
        return np.asarray(cv2.blendLinear(pixels, colour, 1 - opacity, opacity), np.uint8)

    def _cells(self, start: int, length: int, count_px: int, downsample: float, cells: int) -> NDArray[np.int64]:
        """(count_px,) padded cell index under each pixel's centre along one axis."""
        spec = self._grid.spec
        margin = (spec.size_px - spec.stride_px) // 2
        centres = start + (np.arange(count_px) + 0.5) * (length / count_px)
        index = np.floor((centres / downsample - margin) / spec.stride_px).astype(np.int64)
        return np.clip(index, -1, cells) + 1


def write_overlay(
    path: Path,
    slide: Slide,
    scores: TileScores,
    options: OverlayOptions,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write the slide with its colours as a pyramid (see `wsi.writers.pyramid`). progress is told 0 to 1."""
    scores.grid.check_slide(slide.size, slide.mpp, slide.name)
    refuse_overwriting(path, slide.path)
    painter = Painter(scores, options)
    pyramid = PyramidOptions.of_quality(options.quality)
    bands = _bands(slide, painter, pyramid.tile_px * 2, progress)
    profile = slide.header.icc_profile if slide.icc == "as-is" else None  # read through it, pixels are sRGB
    facts = Facts(slide.mpp, slide.header.objective_power, profile)
    write_pyramid(path, bands, slide.size, facts, pyramid)


def _bands(
    slide: Slide, painter: Painter, height_px: int, progress: Callable[[float], None] | None
) -> Iterator[NDArray[np.uint8]]:
    width, height = slide.size
    for top in range(0, height, height_px):
        box = Box(0, top, width, min(height_px, height - top))
        yield painter.blend(slide.read(box), box)
        if progress is not None:
            progress(min(1.0, (top + height_px) / height))
