"""Tissue on a bright-field slide, by its stain: told from glass, and from pen."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.ink import ink_mask, stain_like_ink
from wsi.stain import background_rgb, by_bands, colour_density, contrast
from wsi.tissuepixels import JOIN_UM, THIN_UM, Candidates, disc, otsu, steps

# The least colour density of stain is this share of what Otsu's method says, within bounds. Below the lower one lie
# background steps and JPEG noise (0.016 at the 99th percentile of the real slides' glass); above the upper one pale
# stroma is left to texture alone.
_OTSU_SHARE = 0.8
_DENSITY_BOUNDS = (0.018, 0.08)
# Fat and mucus are nearly as pale as glass, but not as flat. Contrast of luminance (optical density) from here on is
# texture: at 8 µm/px glass has 0.004 at its 95th percentile, mucus 0.006 and fat 0.006 at their 5th.
_MIN_CONTRAST = 0.004
# JPEG rings around strong edges, with up to this share of their contrast, for its 8 px.
_RINGING, _RINGING_PX = 0.1, 8
# Contrast of that much is an edge as strong as stain makes it; ink and slide edges do not count for more.
_STRONG_CONTRAST = 0.09
# Colour contrast over luminance contrast: 0.14 (pale mucus) to 0.9 for whole pieces of phantoms and real slides; what
# is grey (dust, bubbles, slide edges) has hardly any.
_MIN_COLOURED = 0.07
# Fat and mucus are nearly as bright as glass. What is darker than this share of it (brightest channel) and has no stain
# is the slide's edge or a bubble's rim, and beside a piece of tissue its contrast seems to have that piece's colour.
_DARKEST_PALE = 0.6
# From this share of the stained area on, a person should look whether it is ink.
_MUCH_INK = 0.5
# Of less stained area than this, of dust say, nothing is told by the share of it that has the colour of ink.
_LEAST_STAINED_MM2 = 0.02
# Ink is flat: within its strokes (beyond `_STROKE_EDGE_UM`), contrast has medians up to 0.09 (213 outlined slides), in
# tissue so dark that it is taken for ink 0.15 and more. A person should look from this share and this area on.
_INK_CONTRAST, _STROKE_EDGE_UM = 0.12, 44
_MUCH_TEXTURED_INK, _LEAST_TEXTURED_INK_MM2 = 0.3, 0.02


def stained_tissue(rgb: NDArray[np.uint8], px_um: float) -> Candidates:
    """What has the colour of stain, and pale tissue of which it has the texture; without pen."""
    background = background_rgb(rgb)
    # In thousandths: one byte a px for the whole slide, and a histogram for Otsu's method.
    density = by_bands(rgb.shape, 8, lambda rows: np.minimum(colour_density(rgb[rows], background) * 1000, 255))
    threshold = float(np.clip(_OTSU_SHARE * otsu(density) / 1000, *_DENSITY_BOUNDS))
    stained = density > threshold * 1000
    (ink, edge), notes = ink_mask(rgb, px_um), []
    found = (stained | _pale(rgb, stained, background, px_um)) & ~edge
    excluded = ink | edge
    ink_share = float((found & ink).sum() / max(1, found.sum()))
    much = float(found.sum()) * px_um**2 / 1e6 >= _LEAST_STAINED_MM2
    if much and stain_like_ink(ink_share):
        notes.append(f"{ink_share:.0%} of the stained area has the colour of ink: taken as stain, nothing removed")
        ink = np.zeros_like(ink)
    elif much and ink_share > _MUCH_INK:
        notes.append(f"{ink_share:.0%} of the stained area has the colour of ink and was left out: is it ink?")
    textured = _textured_ink(rgb, ink, px_um)
    if textured > _MUCH_TEXTURED_INK:
        notes.append(
            f"{textured:.0%} of what was left out as pen has the texture of tissue: is it tissue stained black?"
        )
    return Candidates(found & ~ink, ink, excluded, background, threshold, tuple(notes))


def _textured_ink(rgb: NDArray[np.uint8], ink: NDArray[np.bool_], px_um: float) -> float:
    """Share of the ink, its edges aside, that is as textured as no pen is; 0 where that is hardly an area."""
    inner = cv2.erode(ink.astype(np.uint8), disc(_STROKE_EDGE_UM / px_um)) > 0
    if not inner.any():
        return 0.0
    rough = by_bands(rgb.shape, 8, lambda rows: contrast(rgb[rows], px_um)[0] > _INK_CONTRAST) > 0
    textured = float((inner & rough).sum())
    return textured / float(inner.sum()) if textured * px_um**2 / 1e6 >= _LEAST_TEXTURED_INK_MM2 else 0.0


def _pale(
    rgb: NDArray[np.uint8], stained: NDArray[np.bool_], background: NDArray[np.uint8], px_um: float
) -> NDArray[np.bool_]:
    """(h, w) areas of fat and mucus: texture that has colour, joined over fat cells, and nowhere thin."""
    halo = _RINGING_PX + round(48 / px_um) + 4
    darkest = _DARKEST_PALE * float(background.max())
    textured = by_bands(rgb.shape, halo, lambda rows: _textured(rgb[rows], darkest, px_um))
    textured[steps(textured, px_um)] = 0
    joined = cv2.morphologyEx(np.maximum(textured, stained), cv2.MORPH_CLOSE, disc(JOIN_UM / px_um))
    thick = cv2.morphologyEx(joined, cv2.MORPH_OPEN, disc(THIN_UM / px_um))
    # Not what was joined between two pieces of firm tissue: gaps and tears stay open.
    return np.asarray((thick > 0) & (cv2.dilate(textured, disc(JOIN_UM / px_um)) > 0))


def _textured(rgb: NDArray[np.uint8], darkest: float, px_um: float) -> NDArray[np.bool_]:
    """(h, w) contrast above noise and JPEG ringing, made by something coloured, and not where it is dark."""
    luminance, colour = contrast(rgb, px_um)
    around = 2 * _RINGING_PX + 1
    stain = np.minimum(np.minimum(luminance, 3 * colour), _STRONG_CONTRAST)
    least = np.maximum(_MIN_CONTRAST, _RINGING * cv2.dilate(stain, np.ones((around, around), np.uint8)))
    coloured = cv2.blur(colour, (5, 5)) > _MIN_COLOURED * cv2.blur(luminance, (5, 5))
    found = ((luminance > least) & coloured & (rgb.max(axis=2) > darkest)).astype(np.uint8)
    # An edge is blurred over 8 µm, and the window of `contrast` reaches as far beyond: that is taken back.
    return np.asarray(cv2.erode(found, disc(16 / px_um)), bool)
