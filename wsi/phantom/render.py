"""From layout and swatches to pixels, one fixed block at a time.

The slide is cut into blocks at fixed places and every block is drawn whole, whatever box was asked for:
so a pixel never depends on how the slide is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.phantom.layout import Layout
from wsi.phantom.noise import Image, smooth_noise
from wsi.phantom.overlay import Ink, Speck
from wsi.phantom.spec import MAP_DOWNSAMPLE, PhantomSpec

Pixels = NDArray[np.uint8]
_Value = TypeVar("_Value", bound=np.generic)

BLOCK_PX = 256
# The warp's and the thickness' lattice: one node every so many px, repeating after so many nodes.
_NODE_PX = 32
_NODES = 192
_MARGIN = 2
_GRAIN_PX = 512
# Map pixels around a block that its soft borders look at.
_RIM = 3


@dataclass(frozen=True)
class Placing:
    """How a region lies on its swatch: rotation in radians, mirrored or not, offset in px."""

    angle: float
    mirrored: bool
    offset_x: float
    offset_y: float


@dataclass(frozen=True)
class Defocus:
    """Where the focus was wrong, 0–1 (rows, cols) on the 1/8 map, and the blurred swatches shown there."""

    share: Image
    swatches: dict[int, Pixels]


@dataclass(frozen=True)
class Scene:
    """All that a block is drawn from; maps are at 1/8 size, `swatches` are RGB by class index.

    `glass` is the share of light let through, `folds` how much the section lies on itself; None: nowhere.
    """

    spec: PhantomSpec
    layout: Layout
    placings: list[Placing]
    swatches: dict[int, Pixels]
    ink: Ink
    specks: list[Speck]
    light: Image
    lattice: Image
    grain: Image
    glass: Image | None = None
    folds: Image | None = None
    defocus: Defocus | None = None


def draw_lattice(rng: np.random.Generator) -> Image:
    """(nodes, nodes, 3) toroidal: warp x and y in px, and relative thickness of the section."""
    shape = (_NODES, _NODES)
    warps = [30 * smooth_noise(rng, shape, 40) + 3 * smooth_noise(rng, shape, 10) for _ in range(2)]
    thickness = 1 + 0.07 * smooth_noise(rng, shape, 40) + 0.04 * smooth_noise(rng, shape, 12)
    return np.stack([*warps, thickness], axis=-1).astype(np.float32)


def draw_grain(rng: np.random.Generator) -> Image:
    """(512, 512, 3) sensor noise in grey levels, repeated over the slide at changing offsets."""
    noise = rng.normal(0, 2.0, (_GRAIN_PX, _GRAIN_PX, 3)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 0.55), dtype=np.float32)


def draw_placings(layout: Layout, rng: np.random.Generator) -> list[Placing]:
    """Choose a placing per region."""
    return [
        Placing(float(turn), bool(mirror), float(x), float(y))
        for turn, mirror, x, y in zip(
            rng.uniform(0, 2 * np.pi, len(layout.region_classes)),
            rng.random(len(layout.region_classes)) < 0.5,
            *rng.uniform(0, 4096, (2, len(layout.region_classes))),
            strict=True,
        )
    ]


def draw_block(scene: Scene, col: int, row: int) -> Pixels:
    """(256, 256, 3) uint8 block at (col, row) of the block grid; past the slide's edge it means nothing."""
    x, y = col * BLOCK_PX, row * BLOCK_PX
    lattice = _lattice_at(scene.lattice, col, row)
    colours = _tissue(scene, x, y, lattice)
    if colours is not None:
        colours = _folded(scene.folds, _defocused(scene, colours, x, y, lattice), x, y)
    picture = _map_patch(scene.light, x, y) if colours is None else _lit(scene, colours, x, y)
    picture = _inked(scene.ink, picture, x, y)
    for speck in scene.specks:
        _dust(picture, speck, x, y)
    if scene.glass is not None:
        picture = picture * _enlarge(_rim_patch(scene.glass, x, y))[:, :, None]
    mix = np.random.default_rng([scene.spec.seed, col, row]).integers(_GRAIN_PX - BLOCK_PX, size=2)
    picture = picture + scene.grain[mix[0] : mix[0] + BLOCK_PX, mix[1] : mix[1] + BLOCK_PX]
    return np.asarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8))


def _lattice_at(lattice: Image, col: int, row: int) -> Image:
    """(256, 256, 3) of the lattice, smoothly between its nodes."""
    nodes = BLOCK_PX // _NODE_PX
    span = np.arange(-_MARGIN, nodes + _MARGIN)
    patch = lattice[np.ix_((row * nodes + span) % _NODES, (col * nodes + span) % _NODES)]
    side = len(span) * _NODE_PX
    full = cv2.resize(patch, (side, side), interpolation=cv2.INTER_CUBIC)
    start = _MARGIN * _NODE_PX
    return np.asarray(full[start : start + BLOCK_PX, start : start + BLOCK_PX], dtype=np.float32)


def _rim_patch(values: NDArray[_Value], x: int, y: int) -> NDArray[_Value]:
    """Take the map's pixels under a block and `_RIM` around it; the edge's value beyond the map."""
    cells = np.arange(-_RIM, BLOCK_PX // MAP_DOWNSAMPLE + _RIM)
    rows = np.clip(y // MAP_DOWNSAMPLE + cells, 0, values.shape[0] - 1)
    cols = np.clip(x // MAP_DOWNSAMPLE + cells, 0, values.shape[1] - 1)
    picked: NDArray[_Value] = values[np.ix_(rows, cols)]
    return picked


def _enlarge(patch: Image) -> Image:
    side = patch.shape[0] * MAP_DOWNSAMPLE
    full = cv2.resize(patch, (side, side), interpolation=cv2.INTER_LINEAR)
    start = _RIM * MAP_DOWNSAMPLE
    return np.asarray(full[start : start + BLOCK_PX, start : start + BLOCK_PX], dtype=np.float32)


def _map_patch(values: Image, x: int, y: int) -> Image:
    """Take a map's (256, 256, ...) values, blocky as the map is."""
    patch = _rim_patch(values, x, y)[_RIM:-_RIM, _RIM:-_RIM]
    return np.asarray(patch.repeat(MAP_DOWNSAMPLE, axis=0).repeat(MAP_DOWNSAMPLE, axis=1), dtype=np.float32)


def _tissue(scene: Scene, x: int, y: int, lattice: Image) -> Image | None:
    """(256, 256, 3) transmitted colour, 255 for clear glass; None where there is no tissue."""
    regions = _rim_patch(scene.layout.region_map, x, y)
    present = np.unique(regions)
    if len(present) == 1 and present[0] == 0:
        return None
    weights = [_weight(regions == region) for region in present] if len(present) > 1 else [None]
    total: Image | float = 0.0
    picture = np.zeros((BLOCK_PX, BLOCK_PX, 3), dtype=np.float32)
    for region, weight in zip(present.tolist(), weights, strict=True):
        colour = _swatch_at(scene, region, x, y, lattice) if region else np.float32(255)
        if weight is None:
            picture += colour
            total = 1.0
        else:
            picture += colour * weight[:, :, None]
            total = total + weight
    if not isinstance(total, float):
        picture /= total[:, :, None]
    return _thickened(picture, lattice[:, :, 2])


def _weight(inside: NDArray[np.bool_]) -> Image:
    """How much of each pixel a region owns: 1 inside, soft over a few px at its border."""
    smooth: Image = np.asarray(cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.7), dtype=np.float32)
    return np.asarray(np.clip((_enlarge(smooth) - 0.5) * 3 + 0.5, 0.0005, 1), dtype=np.float32)


def _swatch_at(scene: Scene, region: int, x: int, y: int, lattice: Image) -> Image:
    swatch = scene.swatches[int(scene.layout.region_classes[region])]
    placing = scene.placings[region]
    side = swatch.shape[0]
    cos, sin = np.cos(placing.angle), np.sin(placing.angle)
    flip = -1.0 if placing.mirrored else 1.0
    # The block's corner in double precision, then wrapped: single precision would drift on a large slide.
    corner_x = (cos * x - sin * y + placing.offset_x) % side
    corner_y = (flip * (sin * x + cos * y) + placing.offset_y) % side
    grid = np.arange(BLOCK_PX, dtype=np.float32)
    local_x, local_y = lattice[:, :, 0] + grid[None, :], lattice[:, :, 1] + grid[:, None]
    source_x = np.float32(cos) * local_x - np.float32(sin) * local_y + np.float32(corner_x)
    source_y = np.float32(flip * sin) * local_x + np.float32(flip * cos) * local_y + np.float32(corner_y)
    found = cv2.remap(swatch, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(found, dtype=np.float32)


def _thickened(picture: Image, thickness: Image) -> Image:
    """Beer–Lambert at another thickness, to first order: light^t ≈ light + (t - 1) · light · ln(light)."""
    table = np.arange(256) / 255
    slope = np.zeros(256, dtype=np.float32)
    slope[1:] = 255 * table[1:] * np.log(table[1:])
    return picture + slope[picture.astype(np.uint8)] * (thickness - 1)[:, :, None]


def _defocused(scene: Scene, colours: Image, x: int, y: int, lattice: Image) -> Image:
    """The section as a wrong focus shows it: from blurred swatches, so that blocks need not know their neighbours."""
    if scene.defocus is None:
        return colours
    patch = _rim_patch(scene.defocus.share, x, y)
    blurred = _tissue(replace(scene, swatches=scene.defocus.swatches), x, y, lattice) if patch.any() else None
    if blurred is None:
        return colours
    return colours + _enlarge(patch)[:, :, None] * (blurred - colours)


def _folded(folds: Image | None, colours: Image, x: int, y: int) -> Image:
    """Beer–Lambert through two more layers where the section is folded: down, back and on."""
    if folds is None:
        return colours
    patch = _rim_patch(folds, x, y)
    if not patch.any():
        return colours
    through = np.clip(colours / np.float32(255), 0, 1) ** (2 * _enlarge(patch)[:, :, None])
    return np.asarray(colours * through, dtype=np.float32)


def _lit(scene: Scene, colours: Image, x: int, y: int) -> Image:
    return colours * (_map_patch(scene.light, x, y) / np.float32(255))


def _inked(ink: Ink, picture: Image, x: int, y: int) -> Image:
    patch = _rim_patch(ink.opacity, x, y)
    if not patch.any():
        return picture
    opacity = _enlarge(patch)[:, :, None]
    return picture + opacity * (_map_patch(ink.colour, x, y) - picture)


def _dust(picture: Image, speck: Speck, x: int, y: int) -> None:
    """Darken the part of the block under a speck, in place."""
    high, wide = speck.shade.shape
    top, left = max(speck.y, y), max(speck.x, x)
    bottom, right = min(speck.y + high, y + BLOCK_PX), min(speck.x + wide, x + BLOCK_PX)
    if top >= bottom or left >= right:
        return
    shade = speck.shade[top - speck.y : bottom - speck.y, left - speck.x : right - speck.x]
    picture[top - y : bottom - y, left - x : right - x] *= (1 - shade)[:, :, None]
