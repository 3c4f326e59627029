"""A whole phantom slide: pixels of any box, and the truth about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wsi.annotations import Region
from wsi.errors import InputError
from wsi.geometry import Box
from wsi.phantom.glass import draw_glass
from wsi.phantom.layout import lay_out
from wsi.phantom.noise import Mask, blur
from wsi.phantom.outlines import polygon_of
from wsi.phantom.overlay import draw_dust, draw_ink, draw_light
from wsi.phantom.render import BLOCK_PX, Defocus, Pixels, Scene, draw_block, draw_grain, draw_lattice, draw_placings
from wsi.phantom.section import add_fragments, draw_defocus, draw_folds
from wsi.phantom.spec import BACKGROUND, CLASSES, MAP_DOWNSAMPLE, PhantomSpec
from wsi.phantom.stain import Stain
from wsi.phantom.textures import Swatch

# The seed's independent streams, so that (say) more dust leaves the tissue as it was.
_LAYOUT, _STAIN, _LATTICE, _PLACING, _INK, _DUST, _LIGHT, _GRAIN = range(8)
_FRAGMENTS, _FRAGMENT_PLACING, _GLASS, _FOLDS, _DEFOCUS = range(8, 13)


@lru_cache(maxsize=24)
def _swatch(name: str, seed: int, mpp: float, strength: float) -> Pixels:
    stain = Stain.drawn(np.random.default_rng([seed, _STAIN]))
    return Swatch.drawn(name, seed, mpp).rgb(stain if strength == 1 else stain.times(strength))


class Phantom:
    """A seeded slide. The same spec gives the same pixels, however they are read.

    The truth is kept at 1/8 of level 0 (`MAP_DOWNSAMPLE`), sizes rounded up: `class_map` (rows, cols) uint8
    index into CLASSES, BACK outside the tissue; `tissue` (rows, cols) bool; `ink` (rows, cols) bool. Ink lies
    over tissue and glass alike and changes neither of the other two. So do `bubbles` (rows, cols) bool; `folds` and
    `out_of_focus` (rows, cols) bool are parts of the tissue.
    """

    def __init__(self, spec: PhantomSpec) -> None:
        self.spec = spec
        pieces = lay_out(spec, self._stream(_LAYOUT))
        layout = add_fragments(pieces, spec, self._stream(_FRAGMENTS))
        self.class_map: NDArray[np.uint8] = layout.class_map
        self.tissue: NDArray[np.bool_] = self.class_map != BACKGROUND
        ink = draw_ink(spec, self.tissue, self._stream(_INK))
        self.ink: NDArray[np.bool_] = ink.mask
        glass = draw_glass(spec, self._stream(_GLASS))
        self.bubbles: Mask = np.zeros(spec.map_shape, bool) if glass is None else glass.bubbles
        folds = draw_folds(spec, self.tissue, self._stream(_FOLDS)) if spec.folds else None
        self.folds: Mask = np.zeros(spec.map_shape, bool) if folds is None else (folds > 0.5) & self.tissue
        present = [int(index) for index in np.unique(layout.region_classes) if index != BACKGROUND]
        swatches = {index: _swatch(CLASSES[index], spec.seed, spec.mpp, spec.stain_strength) for index in present}
        defocus = self._defocus(swatches) if spec.defocus_um else None
        self.out_of_focus: Mask = (
            np.zeros(spec.map_shape, bool) if defocus is None else (defocus.share > 0.5) & self.tissue
        )
        fragments = replace(layout, region_classes=layout.region_classes[len(pieces.region_classes) :])
        self._scene = Scene(
            spec=spec,
            layout=layout,
            placings=[
                *draw_placings(pieces, self._stream(_PLACING)),
                *draw_placings(fragments, self._stream(_FRAGMENT_PLACING)),
            ],
            swatches=swatches,
            ink=ink,
            specks=draw_dust(spec, self._stream(_DUST)),
            light=draw_light(spec, self.tissue, self._stream(_LIGHT)),
            lattice=draw_lattice(self._stream(_LATTICE)),
            grain=draw_grain(self._stream(_GRAIN)),
            glass=None if glass is None else glass.light,
            folds=folds,
            defocus=defocus,
        )

    def _stream(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.spec.seed, purpose])

    def _defocus(self, swatches: dict[int, Pixels]) -> Defocus:
        sigma_px = self.spec.defocus_um / self.spec.mpp
        blurred = {
            index: np.stack([blur(swatch[..., i].astype(np.float32), sigma_px) for i in range(3)], axis=-1)
            for index, swatch in swatches.items()
        }
        share = draw_defocus(self.tissue, self._stream(_DEFOCUS))
        return Defocus(share, {index: np.rint(swatch).astype(np.uint8) for index, swatch in blurred.items()})

    def regions(self) -> list[Region]:
        """One region per class present, BACK aside: its whole area with holes, in level-0 px."""
        found = []
        for index in np.unique(self.class_map).tolist():
            if index != BACKGROUND:
                mask = self.class_map == index
                area = polygon_of(mask, MAP_DOWNSAMPLE, self.spec.width, self.spec.height)
                found.append(Region(area, CLASSES[index], "phantom"))
        return found

    def render(self, box: Box) -> Pixels:
        """(box.height, box.width, 3) uint8 RGB of a level-0 box; white (255) outside the slide."""
        out = np.full((box.height, box.width, 3), 255, dtype=np.uint8)
        left, top = max(0, box.x), max(0, box.y)
        right, bottom = min(self.spec.width, box.right), min(self.spec.height, box.bottom)
        if left >= right or top >= bottom:
            return out
        for row in range(top // BLOCK_PX, -(-bottom // BLOCK_PX)):
            for col in range(left // BLOCK_PX, -(-right // BLOCK_PX)):
                block = draw_block(self._scene, col, row)
                x0, y0 = max(left, col * BLOCK_PX), max(top, row * BLOCK_PX)
                x1, y1 = min(right, (col + 1) * BLOCK_PX), min(bottom, (row + 1) * BLOCK_PX)
                part = block[y0 - row * BLOCK_PX : y1 - row * BLOCK_PX, x0 - col * BLOCK_PX : x1 - col * BLOCK_PX]
                out[y0 - box.y : y1 - box.y, x0 - box.x : x1 - box.x] = part
        return out

    def bands(self, height_px: int) -> Iterator[Pixels]:
        """Yield the slide top to bottom in bands of (height_px, width, 3) uint8; the last may be lower.

        Raises InputError for a height below 1.
        """
        if height_px < 1:
            raise InputError(f"height_px is {height_px}; give 1 or more")
        return self._bands(height_px)

    def _bands(self, height_px: int) -> Iterator[Pixels]:
        # Whole rows of blocks are drawn once and cut to size: a band may be much lower than a block.
        width, height = self.spec.width, self.spec.height
        held = np.empty((0, width, 3), dtype=np.uint8)
        drawn = 0
        for top in range(0, height, height_px):
            wanted = min(height_px, height - top)
            while len(held) < wanted:
                strip = self.render(Box(0, drawn, width, min(BLOCK_PX, height - drawn)))
                drawn += len(strip)
                held = np.concatenate([held, strip])
            yield held[:wanted].copy()
            held = held[wanted:]
