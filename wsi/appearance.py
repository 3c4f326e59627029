"""What kind of picture a slide is, told from a look at low power: bright-field H&E, or something else.

A model that learned on H&E gives confident nonsense on fluorescence, grey or inverted pictures. They are told by what
light does: in bright field the background is the lightest thing and stains take light from it, of H&E most of all
green; in a dark field the background is black. docs/quality.md says what was measured, and what cannot be told.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi.ink import ink_mask, stain_like_ink
from wsi.slide import Slide
from wsi.stain import background_rgb, is_glass, optical_density

Kind = Literal["H&E", "IHC", "other stain", "no colour", "dark background", "inverted", "unknown"]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Values = NDArray[np.float32]

# A look is no finer than ink is told at, and of at most so many px a side: it costs a few ms, whatever the slide.
LOOK_MPP, LOOK_PX = 22.0, 256

# A px whose brightest channel is below `_DARK` is dark, from `_LIGHT` on light. A picture with so large a share of dark
# px has a dark background, or black padding: what is not dark is then glass or tissue, hardly any of it in between.
_DARK, _LIGHT, _DARK_SHARE = 50, 100, 0.3
_PADDED_DIM, _PADDED_GLASS = 0.35, 0.05
# Of a glowing px, red or blue has less than this share of the strongest channel: stains let more of all through, and
# of H&E only green is taken nearly whole.
_GLOW = 0.05
# Content is darker than the background by this optical density; where it is blacker than `_BLACK_DENSITY`, no colour
# can be told. Fewer px of it tell nothing.
_CONTENT_DENSITY, _BLACK_DENSITY, _LEAST_CONTENT_PX = 0.06, 0.9, 12
# A grey picture has so many px so dark, in pieces so thick. Uneven light, dust and rims have not.
_FIRM_DENSITY, _THICK_PX, _LEAST_FIRM_PX = 0.15, 3, 40
# Medians and quantiles are of at most so many px, evenly taken.
_SAMPLE = 20_000
# Colour: largest minus smallest optical density of the channels, as a share of their mean, 90th percentile. Below
# `_GREY` there is none; below `_LEAST_COLOUR` too little to tell.
_GREY, _LEAST_COLOUR = 0.08, 0.2
# Share of the content that takes more green than red or blue: 0.95 and more of H&E, 0.15 of Giemsa.
_GREEN_SHARE = 0.7
# Stains take some light of every colour (median colour at most 2.4, eosin alone); one channel turned over has 3.
_ONE_CHANNEL = 2.7
# IHC: brown px (blue taken most, red least) make this share of what is stained at high power, and pink ones (eosin)
# hardly any. Of 12 × 20 tiles and 11 images of H&E, brown makes at most 0.0001 and pink at least 0.88.
_BROWN_SHARE, _PINK_SHARE, _STAINED_DENSITY = 0.02, 0.05, 0.1


@dataclass(frozen=True)
class Appearance:
    """What kind of picture a slide is, and the numbers that tell (shares 0-1; None where they could not be measured).

    dark_share: px that are nearly black. colour: how coloured the content is, 0 for grey. green_share: content that
    takes most of all green, as H&E does. brown_share, pink_share: of the stained px at high power.
    """

    kind: Kind
    dark_share: float
    colour: float | None = None
    green_share: float | None = None
    brown_share: float | None = None
    pink_share: float | None = None

    @property
    def bright_field(self) -> bool:
        """Whether light went through a stained section, as far as can be told."""
        return self.kind not in ("dark background", "inverted")

    @property
    def scorable(self) -> bool:
        """Whether a model for H&E, or for another stain seen in bright field, can say anything of it."""
        return self.bright_field and self.kind != "no colour"

    @property
    def text(self) -> str:
        """One sentence for people; empty where there is nothing to say."""
        return {
            "H&E": "",
            "unknown": "" if self.colour is None else f"hardly any colour in it ({self.colour:.2f}): is it H&E?",
            "IHC": f"looks like IHC, not H&E: {self.brown_share or 0:.0%} of the stain is brown, hardly any pink",
            "other stain": "bright-field, but its colours are not those of H&E: another stain",
            "no colour": "no colour in it: not bright-field H&E",
            "dark background": f"not bright-field: dark background ({self.dark_share:.0%} of it is nearly black)",
            "inverted": "not bright-field: its colours look inverted",
        }[self.kind]

    def as_json(self) -> dict[str, Any]:
        """What quality.json says."""
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}
        return {**rounded, "text": self.text}


def look(slide: Slide) -> Pixels:
    """(h, w, 3) RGB of the whole slide, for `appearance_of`; MppError where its mpp is unknown."""
    mpp = slide.require_mpp()
    sides_um = [side * own for side, own in zip(slide.size, mpp, strict=True)]
    px_um = max(LOOK_MPP, *mpp, max(sides_um) / LOOK_PX)
    width, height = (max(1, round(side / px_um)) for side in sides_um)
    return slide.read_to(slide.bounds, (width, height))


def appearance_of(rgb: Pixels) -> Appearance:
    """What (h, w, 3) RGB of a whole slide, of `LOOK_MPP` µm/px or coarser, shows."""
    dark_share = float((_brightest(rgb) < _DARK).mean())
    rgb = without_dark_sides(rgb)
    dark = _brightest(rgb) < _DARK
    if dark.mean() < _DARK_SHARE:
        return _bright_field(rgb, np.ones_like(dark), dark_share)
    found = Appearance("dark background", dark_share)
    if _is_padded(rgb, dark):
        found = _bright_field(rgb, _beyond(dark), dark_share)
    if found.kind not in ("dark background", "other stain"):
        return found
    # Black pen turned over is as white as glass, so that this is asked of what looks padded too.
    turned = np.asarray(255 - rgb, np.uint8)
    inverted = _bright_field(turned, np.ones_like(dark), 0.0).kind == "H&E"
    return Appearance("inverted", dark_share) if inverted else found


def without_dark_sides(rgb: Pixels) -> Pixels:
    """The part of (h, w, 3) RGB within the rows and columns at its sides that are dark from end to end: padding.

    All of it where there is nothing else: then dark is what it shows.
    """
    lit = _brightest(rgb) >= _DARK
    rows, columns = np.flatnonzero(lit.any(axis=1)), np.flatnonzero(lit.any(axis=0))
    if not len(rows):
        return rgb
    return np.ascontiguousarray(rgb[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def with_squares(seen: Appearance, squares: Pixels, background: Pixels) -> Appearance:
    """`seen`, after a look at (n, h, w, 3) squares of tissue at high power: brown beside blue and no pink is IHC."""
    if seen.kind not in ("H&E", "other stain") or not len(squares):
        return seen
    # Over 3 px, so that a sensor's noise is no colour.
    rgb = cv2.blur(squares.reshape(-1, squares.shape[2], 3), (3, 3)).reshape(1, -1, 3)
    densities = optical_density(np.asarray(rgb, np.uint8), background)[0]
    stained = densities[densities.mean(axis=1) > _STAINED_DENSITY]
    if len(stained) < _LEAST_CONTENT_PX:
        return seen
    red, green, blue = stained.T
    brown = float(((blue > 1.1 * green) & (green > 1.1 * red)).mean())
    pink = float(((green > 1.3 * blue) & (green > 1.5 * red)).mean())
    found = replace(seen, brown_share=brown, pink_share=pink)
    return replace(found, kind="IHC") if brown > _BROWN_SHARE and pink < _PINK_SHARE else found


def _is_padded(rgb: Pixels, dark: Mask) -> bool:
    """Whether the dark px are a scanner's padding: what lies beside them is bright-field, and not a glow that fades."""
    lit = rgb[~dark]
    if not len(lit) or (lit.max(axis=1) < _LIGHT).mean() > _PADDED_DIM:
        return False
    return bool(is_glass(lit[None]).mean() >= _PADDED_GLASS) or _bright_field(rgb, _beyond(dark), 0.0).kind == "H&E"


def _beyond(dark: Mask) -> Mask:
    """What is neither dark nor beside it."""
    return np.asarray(cv2.dilate(dark.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)


def _bright_field(rgb: Pixels, shown: Mask, dark_share: float) -> Appearance:
    """Told by the colours of a picture with a light background, where it is `shown`."""
    if not shown.any():
        return Appearance("unknown", dark_share)
    lightest = _lightest(rgb[shown])
    content, firm_px = _content(rgb, shown, lightest)
    if len(content) < _LEAST_CONTENT_PX:
        return Appearance("unknown", dark_share)
    if _glowing_share(content) > 0.5:
        return Appearance("dark background", dark_share)
    # A tint of the whole picture is no colour in it, so this is measured against its own lightest px.
    colour = float(np.quantile(_colours(_densities(content, lightest)), 0.9))
    if colour < _LEAST_COLOUR:
        grey = colour < _GREY and firm_px >= _LEAST_FIRM_PX
        told = firm_px >= _LEAST_FIRM_PX or colour >= _GREY
        return Appearance("no colour" if grey else "unknown", dark_share, colour if told else None)
    # Where there is no glass, pale tissue is taken for it: then white tells better.
    white = np.full(3, 255, np.uint8)
    densities = [_densities(content, background) for background in (background_rgb(rgb[shown][None]), white)]
    green = max(float((each[1] >= np.maximum(each[0], each[2])).mean()) for each in densities)
    kind: Kind = "H&E" if green >= _GREEN_SHARE else "other stain"
    if float(np.median(_colours(densities[0]))) > _ONE_CHANNEL:
        kind = "inverted"
    return Appearance(kind, dark_share, colour, green)


def _lightest(shown: Pixels) -> Pixels:
    """(3,) the median of the twentieth of (n, 3) px that are lightest."""
    shown = _sample(shown)
    grey = shown.sum(axis=1, dtype=np.uint16)
    return np.asarray(np.median(shown[grey >= np.quantile(grey, 0.95)], axis=0)).astype(np.uint8)


def _content(rgb: Pixels, shown: Mask, lightest: Pixels) -> tuple[Pixels, int]:
    """(n, 3) px of (h, w, 3) RGB that are neither background, nor pen, nor nearly black; and how many px are firm.

    Firm is what is dark, thick and away from pen: shading, dust, fibres, rims and strokes are grey on any slide.
    """
    density = cv2.transform(optical_density(rgb, lightest), np.full((1, 3), 1 / 3))
    content = shown & (density > _CONTENT_DENSITY) & (density < _BLACK_DENSITY)
    ink, edge = ink_mask(rgb, LOOK_MPP)
    near_ink = cv2.dilate((ink | edge).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    thick = np.ones((_THICK_PX, _THICK_PX), np.uint8)
    plain = (content & ~near_ink & (density > _FIRM_DENSITY)).astype(np.uint8)
    firm = int(cv2.morphologyEx(plain, cv2.MORPH_OPEN, thick).sum())
    if not stain_like_ink(float((content & near_ink).sum() / max(1, content.sum()))):
        content &= ~near_ink
    # A sensor's noise is no colour.
    return _sample(np.asarray(cv2.blur(rgb, (3, 3)), np.uint8)[content]), firm


def _glowing_share(pixels: Pixels) -> float:
    """Share of (n, 3) px in which red or blue is hardly there."""
    red, _, blue = pixels.T
    return float((np.minimum(red, blue) < _GLOW * pixels.max(axis=1)).mean())


def _brightest(rgb: Pixels) -> Pixels:
    """(h, w) the largest channel."""
    red, green, blue = cv2.split(rgb)
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def _sample(pixels: Pixels) -> Pixels:
    return pixels[:: -(-len(pixels) // _SAMPLE) or 1]


def _densities(pixels: Pixels, background: Pixels) -> Values:
    """(3, n) optical densities of (n, 3) px."""
    return np.asarray(optical_density(pixels[None], background)[0].T, np.float32)


def _colours(densities: Values) -> Values:
    """(n,) how coloured px are: largest minus smallest of (3, n) densities, as a share of their mean."""
    red, green, blue = densities
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return np.asarray(3 * (high - low) / np.maximum(red + green + blue, 3e-3), np.float32)
