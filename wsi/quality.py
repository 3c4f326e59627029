"""Numbers that say how good a slide is: focus, folds, bubbles, stain, background. docs/quality.md explains each.

They are measured on what `survey` saw at low power, focus on a sample of squares at high power. Folds and bubbles are
hints for a person who looks: nothing is dropped for any of them.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2hed

from wsi.appearance import with_squares
from wsi.focus import OUT_OF_FOCUS, focus
from wsi.geometry import Box
from wsi.slide import Slide
from wsi.stain import by_bands, colour_density, optical_density
from wsi.tissue import Survey

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]

# Focus is measured as models see tissue, or as finely as the slide goes.
_FOCUS_MPP, _SQUARE_PX, _SQUARES = 0.5, 128, 64
_SEED = 0
# A fold is at most this wide; it is denser than what lies beside it by this many times the tissue's median density,
# and by so much at the least; it has so many times the tissue's median colour; it is this large, and this many times
# longer than wide. Measured on slides without pen: no phantom without folds has a share above 0.003, five folds on a
# slide of 4 mm² make 0.03 to 0.06. Blue pen over tissue makes 0.01 to 0.05.
_FOLD_WIDTH_UM, _FOLD_DENSER, _FOLD_LEAST, _FOLD_COLOUR = 160, 1.2, 0.2, 1.5
_FOLD_MM2, _FOLD_LENGTH = 0.005, 3.0
# A bubble's rim takes this much light of every colour (optical density), is thinner than this, and adds at most so
# much colour (× that density); what it encloses is at least this large, and fills this share of a circle around it.
_RIM_DENSITY, _RIM_UM, _RIM_COLOUR = 0.1, 60, 0.5
_BUBBLE_MM2, _BUBBLE_ROUND = 0.015, 0.72
# Medians over the tissue are of so many px.
_SAMPLE = 50_000
# A step runs straight along an axis for this long, and changes the grey level by so much within 2 px either side; a
# larger change (a hair, a coverslip line) counts for no more.
_STEP_UM, _LEAST_STEP, _MOST_STEP, _LEAST_GLASS_PX = 400, 2.0, 25.0, 1000
_STEP_REACH_PX, _STEP_LINES = 8, 4
# Glass is at most this much darker than the most frequent shade of it.
_SHADE = 0.3


def measure(slide: Slide, survey: Survey) -> dict[str, Any]:
    """All numbers of a slide, by the names of docs/quality.md; None where a number cannot be measured.

    `appearance` is what the survey says of it, after a second look at high power.
    """
    mpp = max(_FOCUS_MPP, *survey.mpp)
    squares = _squares(slide, survey, mpp)
    return {
        "appearance": with_squares(survey.appearance, squares, survey.background).as_json(),
        **focus_of(squares, mpp),
        "fold_hint_share": _rounded(fold_share(survey)),
        **bubble_hints(survey),
        **stain_of(survey),
        "background_step_levels": _rounded(background_step(survey), 1),
    }


def focus_of(squares: NDArray[np.uint8], mpp: float) -> dict[str, Any]:
    """Focus of a seeded sample of squares of tissue at `mpp`: their median, and the share of them out of focus."""
    values = focus(squares, mpp)
    told = values[~np.isnan(values)]
    return {
        "focus_median": _rounded(float(np.median(told))) if len(told) else None,
        "out_of_focus_share": _rounded(float((told < OUT_OF_FOCUS).mean())) if len(told) else None,
        "focus_squares": len(told),
        "focus_mpp": round(mpp, 4),
    }


def _squares(slide: Slide, survey: Survey, mpp: float) -> NDArray[np.uint8]:
    """(n, 128, 128, 3) squares of tissue at `mpp`, centred on px of the mask drawn at random; n at most 64."""
    places = np.flatnonzero(survey.tissue.mask)
    chosen = np.random.default_rng(_SEED).choice(places, min(_SQUARES, len(places)), replace=False)
    rows, cols = np.divmod(np.sort(chosen), survey.tissue.mask.shape[1])
    width, height = (max(1, round(_SQUARE_PX * mpp / own)) for own in survey.mpp)
    out = np.empty((len(chosen), _SQUARE_PX, _SQUARE_PX, 3), np.uint8)
    for square, row, col in zip(out, rows.tolist(), cols.tolist(), strict=True):
        x, y = (col + 0.5) * survey.tissue.px_size[0], (row + 0.5) * survey.tissue.px_size[1]
        box = Box(round(x - width / 2), round(y - height / 2), width, height)
        square[:] = slide.read_to(box, (_SQUARE_PX, _SQUARE_PX))
    return out


def fold_share(survey: Survey) -> float | None:
    """Share of the tissue that looks folded: long bands, far denser than both sides of them. None without tissue."""
    tissue, px_um = survey.tissue.mask, survey.px_um
    if not tissue.any():
        return None
    densities = optical_density(_sample(survey), survey.background)
    least = max(_FOLD_LEAST, _FOLD_DENSER * float(np.median(densities.mean(axis=2))))
    deep = _FOLD_COLOUR * float(np.median(np.ptp(densities, axis=2)))

    def folded(rows: slice) -> Mask:
        # Ink and glass count as clear: only tissue may stand out.
        densities = optical_density(survey.rgb[rows], survey.background)
        density = cv2.transform(densities, np.full((1, 3), 1 / 3, np.float32)) * tissue[rows]
        smooth = cv2.GaussianBlur(density, (0, 0), max(0.5, 20 / px_um))
        stands_out = cv2.morphologyEx(smooth, cv2.MORPH_TOPHAT, _square(_FOLD_WIDTH_UM / 2 / px_um))
        colour = colour_density(survey.rgb[rows], survey.background)
        return np.asarray((stands_out > least) & (colour > deep) & tissue[rows])

    halo = round((_FOLD_WIDTH_UM + 80) / px_um) + 4
    found = by_bands(tissue.shape, halo, folded).astype(bool)
    return float(_long(found, px_um).sum() / tissue.sum())


def _sample(survey: Survey) -> NDArray[np.uint8]:
    """(1, n, 3) px of the tissue, evenly taken."""
    places = np.flatnonzero(survey.tissue.mask)
    return survey.rgb.reshape(-1, 3)[places[:: -(-len(places) // _SAMPLE)]][None]


def _long(mask: Mask, px_um: float) -> Mask:
    """The pieces of a mask that are large and long enough to be folds."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    area = stats[:, cv2.CC_STAT_AREA].astype(float)
    half_width = np.zeros(len(area))
    inward = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    np.maximum.at(half_width, np.asarray(labels[mask], np.int64), inward[mask])
    # A band is its area over its width long.
    length = area / np.maximum(2 * half_width, 1)
    wanted = (area * px_um**2 / 1e6 >= _FOLD_MM2) & (length >= _FOLD_LENGTH * 2 * half_width)
    wanted[0] = False
    return np.asarray(wanted[labels])


def bubble_hints(survey: Survey) -> dict[str, Any]:
    """How many closed, round, thin, dark grey rims there are, and the share of the slide they enclose."""
    kernel = _square(_RIM_UM / 2 / survey.px_um)

    def rim(rows: slice) -> Mask:
        # What every channel lacks is grey: stains let at least one colour through.
        red, green, blue = cv2.split(optical_density(survey.rgb[rows], survey.background))
        thin = cv2.morphologyEx(cv2.min(cv2.min(red, green), blue), cv2.MORPH_TOPHAT, kernel)
        colour = colour_density(survey.rgb[rows], survey.background)
        tint = cv2.morphologyEx(colour, cv2.MORPH_TOPHAT, kernel)
        return np.asarray((thin > _RIM_DENSITY) & (tint < _RIM_COLOUR * thin))

    rims = by_bands(survey.rgb.shape, len(kernel) + 4, rim)
    joined = cv2.morphologyEx(rims, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    contours, hierarchy = cv2.findContours(joined, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = [] if hierarchy is None else hierarchy[0][:, 3]
    holes = [contour for contour, parent in zip(contours, parents, strict=True) if parent >= 0]
    areas = [cv2.contourArea(hole) for hole in holes if _is_bubble(hole, survey.px_um)]
    return {"bubble_hint_count": len(areas), "bubble_hint_share": _rounded(sum(areas) / rims.size)}


def _is_bubble(hole: NDArray[Any], px_um: float) -> bool:
    area = cv2.contourArea(hole)
    if area * px_um**2 / 1e6 < _BUBBLE_MM2:
        return False
    radius = cv2.minEnclosingCircle(hole)[1]
    return bool(area >= _BUBBLE_ROUND * np.pi * radius**2)


def stain_of(survey: Survey) -> dict[str, Any]:
    """Median optical density of hematoxylin and of eosin in the tissue, after colour deconvolution."""
    if not survey.tissue.mask.any():
        return {"hematoxylin_density": None, "eosin_density": None}
    white = np.maximum(survey.background.astype(np.float32), 1)
    # scikit-image counts densities in sixths, since it takes 1e-6 for black.
    hed = 6 * rgb2hed(np.clip(_sample(survey) / white, 0, 1))
    return {
        "hematoxylin_density": _rounded(float(np.median(hed[..., 0]))),
        "eosin_density": _rounded(float(np.median(hed[..., 1]))),
    }


def background_step(survey: Survey) -> float | None:
    """Size in grey levels of the steps between a scanner's fields on glass; 0 where there are none.

    The 90th percentile along all steps. None where there is too little glass to see one.
    """
    grey = cv2.cvtColor(survey.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    glass = cv2.cvtColor(survey.background.reshape(1, 1, 3), cv2.COLOR_RGB2GRAY).astype(np.float32)[0, 0]
    # Rims of bubbles, dust and the slide's edge have soft shadows around them, as tissue has.
    other = survey.tissue.mask | survey.ink | (np.abs(grey - glass) > _SHADE * glass)
    clear = cv2.dilate(other.astype(np.uint8), _disc(80 / survey.px_um)) == 0
    if clear.sum() < _LEAST_GLASS_PX:
        return None
    sizes = np.concatenate([_step_sizes(grey, clear, survey.px_um), _step_sizes(grey.T, clear.T, survey.px_um)])
    # Shorter than twice what it is averaged along, a step may be chance.
    return float(np.percentile(sizes, 90)) if len(sizes) * _STEP_LINES * survey.px_um >= 2 * _STEP_UM else 0.0


def _step_sizes(grey: Values, clear: Mask, px_um: float) -> Values:
    """(n,) sizes of the upright steps of a picture, a value a px along them."""
    # Every fourth line of px is enough along steps that are 50 px long and more.
    grey, clear, px_um = grey[::_STEP_LINES], clear[::_STEP_LINES], px_um * _STEP_LINES
    # A step changes the level near by and farther off alike; a line (the coverslip's edge, a fibre) does not.
    near, there = _change(grey, clear, 2, px_um)
    far, clear_far = _change(grey, clear, _STEP_REACH_PX, px_um)
    size = np.where(np.sign(near) == np.sign(far), np.minimum(np.abs(near), np.abs(far)), 0)
    peak = size >= cv2.dilate(size, np.ones((1, 5), np.uint8))
    return np.asarray(size[there & clear_far & peak & (size >= _LEAST_STEP)], np.float32)


def _change(grey: Values, clear: Mask, reach_px: int, px_um: float) -> tuple[Values, Mask]:
    """(h, w) level to the right minus level to the left, mean along y; and where nearly all of it is clear glass."""
    pad = ((0, 0), (reach_px, reach_px))
    level, glass = np.pad(grey, pad, mode="edge"), np.pad(clear, pad)
    both = glass[:, 2 * reach_px :] & glass[:, : -2 * reach_px] & clear
    change = np.clip(level[:, 2 * reach_px :] - level[:, : -2 * reach_px], -_MOST_STEP, _MOST_STEP) * both
    length = (1, max(3, round(_STEP_UM / px_um)))
    share = cv2.blur(both.astype(np.float32), length)
    return np.asarray(cv2.blur(change, length) / np.maximum(share, 0.01), np.float32), np.asarray(share > 0.8)


def _disc(radius_px: float) -> NDArray[np.uint8]:
    radius = max(1, round(radius_px))
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _square(radius_px: float) -> NDArray[np.uint8]:
    """A square, where a disc would take seconds instead of a tenth: OpenCV works squares out along rows and columns."""
    side = 2 * max(1, round(radius_px)) + 1
    return np.ones((side, side), np.uint8)


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
