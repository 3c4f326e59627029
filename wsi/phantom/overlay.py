"""What lies on the glass: pen strokes, dust and fibres, and the scanner's stitched background."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.phantom.noise import Image, Mask, smooth_noise, smoothstep
from wsi.phantom.spec import MAP_DOWNSAMPLE, PhantomSpec

_PEN_RGB = {"black": (28, 27, 33), "blue": (38, 54, 150), "green": (22, 118, 78), "red": (196, 26, 44)}
# Marker ink lets little through; what does shows the tissue beneath.
_INK_OPACITY = 0.93
_FIELD_PX = 64
_STROKE_UM = 260


@dataclass(frozen=True)
class Ink:
    """Pen strokes on the 1/8 maps: opacity 0–1 (rows, cols) and colour (rows, cols, 3), 0–255."""

    opacity: Image
    colour: Image

    @property
    def mask(self) -> Mask:
        """(rows, cols) where ink hides nearly all of what is below."""
        return np.asarray(self.opacity > 0.8 * _INK_OPACITY)


@dataclass(frozen=True)
class Speck:
    """Dust at level-0 (x, y), its top-left: how much light it takes away, 0–1 (h, w)."""

    x: int
    y: int
    shade: Image


def draw_ink(spec: PhantomSpec, tissue: Mask, rng: np.random.Generator) -> Ink:
    """One stroke or outline per pen, each near a piece of tissue."""
    rows, cols = tissue.shape
    opacity = np.zeros((rows, cols), dtype=np.float32)
    colour = np.zeros((rows, cols, 3), dtype=np.float32)
    width = float(np.clip(_STROKE_UM / spec.mpp / MAP_DOWNSAMPLE, 3, 0.035 * min(rows, cols) + 2))
    for pen in spec.pens:
        path = _outline(tissue, rng) if rng.random() < 0.6 else _stroke((rows, cols), rng)
        line = np.zeros((rows, cols), dtype=np.uint8)
        cv2.polylines(line, [np.rint(path).astype(np.int32)], False, 1, 1)
        off = cv2.distanceTransform(1 - line, cv2.DIST_L2, 5)
        ragged = off + 0.05 * width * smooth_noise(rng, (rows, cols), 2.5 * width)
        uneven = 1 - 0.05 * np.abs(smooth_noise(rng, (rows, cols), 0.8 * width, stretch=3))
        cover = _INK_OPACITY * uneven * smoothstep((width / 2 - ragged).astype(np.float32), -1.0, 1.0)
        # The last pen lies on top; colour spreads past the edge so that blending never meets black.
        colour[(cover > 0) | ((off < width / 2 + 6) & (opacity == 0))] = _PEN_RGB[pen]
        opacity = np.maximum(opacity, cover)
    return Ink(opacity.astype(np.float32), colour)


def _outline(tissue: Mask, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 2) (x, y): part of a wobbly ellipse around a random spot of tissue."""
    rows, cols = tissue.shape
    places = np.argwhere(tissue)
    y, x = places[rng.integers(len(places))]
    radius = rng.uniform(0.12, 0.24) * min(rows, cols)
    start, sweep = rng.uniform(0, 2 * np.pi), rng.uniform(1.2, 1.9) * np.pi
    turn = start + np.linspace(0, sweep, 80)
    wobble = 1 + 0.08 * np.sin(2 * turn + start) + 0.05 * np.sin(5 * turn)
    return np.stack([x + 1.3 * radius * wobble * np.cos(turn), y + radius * wobble * np.sin(turn)], axis=1)


def _stroke(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 2) (x, y): a slightly curved line, somewhere on the slide."""
    rows, cols = shape
    start = rng.uniform(0.1, 0.9, 2) * (cols, rows)
    heading = rng.uniform(0, 2 * np.pi)
    # Headed for the middle, so that it stays on the slide.
    heading = 0.4 * np.sin(heading) + np.arctan2(rows / 2 - start[1], cols / 2 - start[0])
    along = np.linspace(0, rng.uniform(0.35, 0.6) * min(rows, cols), 60)
    angles = heading + 0.5 * np.sin(along / along[-1] * 3 + rng.uniform(0, 6))
    step = along[1] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.asarray(start + np.cumsum(step, axis=0))


def draw_dust(spec: PhantomSpec, rng: np.random.Generator) -> list[Speck]:
    """`spec.dust` specks (three of four) and fibres, anywhere on the slide."""
    specks = []
    for _ in range(spec.dust):
        shade = _fibre(spec.mpp, rng) if rng.random() < 0.25 else _grain(spec.mpp, rng)
        x, y = rng.integers(spec.width), rng.integers(spec.height)
        specks.append(Speck(int(x) - shade.shape[1] // 2, int(y) - shade.shape[0] // 2, shade))
    return specks


def _grain(mpp: float, rng: np.random.Generator) -> Image:
    radius_px = rng.uniform(1.5, 7.0) / mpp
    side = 2 * int(np.ceil(radius_px * 1.8)) + 3
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) - side // 2
    turn = np.arctan2(y, x)
    lobes = sum(rng.normal(0, 0.1) * np.cos(k * turn + rng.uniform(0, 6.3)) for k in (1, 2, 3, 5))
    inside = 1 - np.hypot(x, y) / (radius_px * np.clip(1 + lobes, 0.4, 1.7))
    return np.asarray(rng.uniform(0.55, 0.9) * smoothstep(inside, -0.15, 0.25), dtype=np.float32)


def _fibre(mpp: float, rng: np.random.Generator) -> Image:
    length_px = rng.uniform(60, 260) / mpp
    angles = rng.uniform(0, 6.3) + np.cumsum(rng.normal(0, 0.16, 40))
    path = np.cumsum(length_px / 40 * np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
    path -= path.min(axis=0) - 8
    cols, rows = (int(side) + 9 for side in path.max(axis=0))
    canvas = np.zeros((rows, cols), dtype=np.uint8)
    thick = max(1, round(rng.uniform(1.5, 3.5) / mpp))
    cv2.polylines(canvas, [np.rint(path * 16).astype(np.int32)], False, 255, thick, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), 0.8)
    return np.asarray(rng.uniform(0.35, 0.7) * soft, dtype=np.float32)


def draw_light(spec: PhantomSpec, tissue: Mask, rng: np.random.Generator) -> Image:
    """(rows, cols, 3) brightness of empty glass, 0–255, on the 1/8 map.

    With `background_steps` the scanner's square fields differ by a few grey levels, and what it never
    scanned, away from the tissue, is filled with another white.
    """
    rows, cols = tissue.shape
    white = np.array([243.0, 242.0, 244.0]) + rng.normal(0, 1.2, 3)
    light = np.full((rows, cols, 3), np.clip(white, 236, 249), dtype=np.float32)
    if not spec.background_steps:
        return light
    field_rows, field_cols = -(-rows // _FIELD_PX), -(-cols // _FIELD_PX)
    padded = np.zeros((field_rows * _FIELD_PX, field_cols * _FIELD_PX), dtype=bool)
    padded[:rows, :cols] = tissue
    scanned = cv2.resize(padded.astype(np.float32), (field_cols, field_rows), interpolation=cv2.INTER_AREA) > 0
    fields = -rng.uniform([3, 3, 6], [5, 6, 10]) + rng.normal(0, 0.9, (field_rows, field_cols, 1))
    fields = np.where(scanned[:, :, None], fields, 0.0)
    steps = fields.repeat(_FIELD_PX, axis=0).repeat(_FIELD_PX, axis=1)[:rows, :cols]
    return np.asarray(light + steps, dtype=np.float32)
