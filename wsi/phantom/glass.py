"""What takes light away above and beside the section: bubbles, the coverslip's edge, dark slide edges, shading."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsi.phantom.noise import Image, Mask, smooth_noise, smoothstep
from wsi.phantom.spec import MAP_DOWNSAMPLE, PhantomSpec

# A rim thinner than this many map px would vanish between them.
_LEAST_RIM_PX = 1.2
_DARKEST_CORNER = 0.24


@dataclass(frozen=True)
class Glass:
    """On the 1/8 maps: share of light let through, grey (rows, cols), and which px a bubble covers (rows, cols)."""

    light: Image
    bubbles: Mask


def draw_glass(spec: PhantomSpec, rng: np.random.Generator) -> Glass | None:
    """The glass of a phantom; None where the spec asks for nothing on it."""
    if not (spec.bubbles or spec.coverslip or spec.dark_edges or spec.shading):
        return None
    light = np.ones(spec.map_shape, dtype=np.float32)
    covered = np.zeros(spec.map_shape, dtype=bool)
    # Each feature has its own stream: more bubbles leave the edges where they were.
    for_bubbles, for_coverslip, for_edges, for_shading = rng.spawn(4)
    for _ in range(spec.bubbles):
        _bubble(light, covered, spec, for_bubbles)
    if spec.coverslip:
        _coverslip(light, spec, for_coverslip)
    if spec.dark_edges:
        _dark_edges(light, for_edges)
    if spec.shading:
        light *= _shading(light.shape, for_shading)
    return Glass(light, covered)


def _bubble(light: Image, covered: Mask, spec: PhantomSpec, rng: np.random.Generator) -> None:
    """Darken a bubble's rim, in place: it bends light away there; its middle is as clear as glass."""
    rows, cols = light.shape
    px_um = spec.mpp * MAP_DOWNSAMPLE
    radius = min(rng.uniform(60, 400) / px_um, 0.13 * min(rows, cols))
    rim = max(rng.uniform(7, 16) / px_um, _LEAST_RIM_PX)
    x, y = rng.uniform(0, cols), rng.uniform(0, rows)
    grid_y, grid_x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.85, 1)
    along = (grid_x - x) * np.cos(turn) + (grid_y - y) * np.sin(turn)
    across = ((grid_y - y) * np.cos(turn) - (grid_x - x) * np.sin(turn)) / flat
    inward = radius - np.hypot(along, across)
    dark = rng.uniform(0.5, 0.8) * np.exp(-np.square(inward / rim))
    # Inside, the shadow fades slowly; outside, the rim ends at once.
    dark += 0.25 * np.exp(-np.maximum(inward, 0) / (3 * rim)) * (inward > 0)
    light *= 1 - np.minimum(dark, 0.92).astype(np.float32)
    covered |= inward > -rim


def _coverslip(light: Image, spec: PhantomSpec, rng: np.random.Generator) -> None:
    """Draw the coverslip's edge along two sides, in place: a grey line, a bright one beside it."""
    rows, cols = light.shape
    width = max(rng.uniform(15, 40) / (spec.mpp * MAP_DOWNSAMPLE), _LEAST_RIM_PX)
    grid_y, grid_x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    for along, across, side in ((grid_x, grid_y, rows), (grid_y, grid_x, cols)):
        place = rng.uniform(0.03, 0.09) * side
        if rng.random() < 0.5:
            place = side - 1 - place
        off = across - place - rng.uniform(-0.02, 0.02) * along
        light *= (1 - rng.uniform(0.3, 0.6) * np.exp(-np.square(off / width))).astype(np.float32)
        light *= (1 + 0.03 * np.exp(-np.square((off - 2.5 * width) / width))).astype(np.float32)


def _dark_edges(light: Image, rng: np.random.Generator) -> None:
    """Darken a wavy band along two sides of the scan, in place, as the slide's own edge does."""
    rows, cols = light.shape
    wave = smooth_noise(rng, (rows, cols), 0.3 * min(rows, cols))
    grid_y, grid_x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    distances = (grid_x / cols, 1 - grid_x / cols, grid_y / rows, 1 - grid_y / rows)
    for side in rng.choice(4, 2, replace=False).tolist():
        edge = rng.uniform(0.012, 0.03) + 0.004 * wave
        shade = rng.uniform(0.75, 0.94) * (1 - smoothstep(distances[side] - edge, -0.004, 0.012))
        light *= (1 - shade).astype(np.float32)


def _shading(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    """(rows, cols) uneven illumination: full light at one corner, up to a quarter less at the other."""
    rows, cols = shape
    grid_y, grid_x = np.mgrid[0:rows, 0:cols].astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi)
    ramp = (grid_x / cols - 0.5) * np.cos(turn) + (grid_y / rows - 0.5) * np.sin(turn)
    ramp = (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)
    return np.asarray(1 - _DARKEST_CORNER * ramp**1.5, dtype=np.float32)
