"""overlay.png: the whole slide with its colours, a legend and a scale bar, for the eye and for slides of a talk."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image

from wsi.atomic import writing
from wsi.colours import heat_colours, hex_of
from wsi.fonts import fit_fonts, is_wide, spelled
from wsi.overlay import OverlayOptions, Painter
from wsi.scores import Threshold, TileScores, summarise
from wsi.slide import Slide

RESEARCH_USE = "Research use only. Not for diagnosis."
_DPI = 150
# All in inches: the legend's column, the strip of the scale bar, the gap around texts, a line of text.
_SIDE, _BAR_STRIP, _GAP, _LINE = 2.9, 0.3, 0.12, 0.14
_FONT_SIZE, _CHARACTER, _WIDE_CHARACTER = 8, 0.075, 0.115
_SHORTEST_COLOUR_BAR = 1.8
_AREA_OF = {"tissue": "mm²: of tissue in these tiles", "tiles": "mm²: of whole tiles, with their glass"}


@dataclass(frozen=True)
class Caption:
    """What stands beside the picture: slide id, model name, date (YYYY-MM-DD).

    source: SHA-256 of the predictions, kept inside the file so that a report can tell an old picture from a new one;
    slide: fingerprint of the slide, likewise.
    """

    slide_id: str
    model: str
    date: str
    source: str = ""
    slide: str = ""

    def __str__(self) -> str:
        """One line."""
        model = f" · model {self.model}" if self.model else ""
        return f"{self.slide_id}{model} · {self.date} · {RESEARCH_USE}"


def preview_provenance(preview: Path) -> tuple[str, str]:
    """(fingerprint of the slide, SHA-256 of the predictions) that an overlay.png was painted of; "" where unknown."""
    with Image.open(preview) as picture:
        return str(picture.info.get("Slide", "")), str(picture.info.get("Source", ""))


def write_preview(
    path: Path, slide: Slide, scores: TileScores, options: OverlayOptions, caption: Caption, longest_px: int = 1600
) -> None:
    """Write overlay.png, with the slide's colour profile where its pixels are shown as stored."""
    painter = Painter(scores, options)
    picture = painter.blend(slide.thumbnail(longest_px), slide.bounds)
    # The scores know the mpp, also where the file does not and a person gave it.
    um_per_px = scores.grid.slide_mpp[0] * slide.size[0] / picture.shape[1]
    figure = preview_figure(picture, um_per_px, painter, scores, options, caption)
    with writing(path) as temporary:
        # No software version or time in the file: the same run writes the same bytes.
        about = {"Software": None, "Source": caption.source, "Slide": caption.slide}
        figure.savefig(temporary, format="png", metadata=about, pil_kwargs={"icc_profile": slide.icc_profile})


def preview_figure(
    picture: NDArray[np.uint8],
    um_per_px: float,
    painter: Painter,
    scores: TileScores,
    options: OverlayOptions,
    caption: Caption,
) -> Figure:
    """The painted picture (h, w, 3), px for px; legend to its right, scale bar and caption below, as large as needed.

    Nothing lies on the picture, and whatever its shape and the lengths of names, all of them are shown whole.
    """
    height, width = (side / _DPI for side in picture.shape[:2])
    legend = _Legend.of(painter, scores, options)
    total = width + _SIDE
    said = _wrapped(str(caption), total - 2 * _GAP).splitlines()
    foot = _whole_px(_BAR_STRIP + len(said) * _LINE + _GAP)
    shown = max(height, _whole_px(legend.height))
    # Names are shown to the letter: a $ in one begins no formula.
    with rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(total, shown + foot), dpi=_DPI, facecolor="white")
        axes = figure.add_axes((0, 1 - height / (shown + foot), width / total, height / (shown + foot)))
        axes.imshow(picture, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        legend.draw(figure, width + _GAP, foot)
        _scale_bar(figure, um_per_px, max(picture.shape[:2]), foot - _BAR_STRIP / 2)
        figure.text(
            *(_GAP, foot - _BAR_STRIP),
            "\n".join(said),
            transform=figure.dpi_scale_trans,
            va="top",
            fontsize=_FONT_SIZE,
            color="0.25",
        )
    fit_fonts(figure)
    return figure


def _whole_px(inches: float) -> float:
    """No less, so that the picture's px fall on those of the file."""
    return math.ceil(inches * _DPI) / _DPI


def _scale_bar(figure: Figure, um_per_px: float, longest_px: int, middle: float) -> None:
    """A bar of about a fifth of the picture's longer side, its length beside it. middle: inches from below."""
    length_um = round_length_um(longest_px * um_per_px / 5)
    length, thick = length_um / um_per_px / _DPI, 0.04
    inches = figure.dpi_scale_trans
    bar = Rectangle((_GAP, middle - thick / 2), length, thick, facecolor="black", edgecolor="none", transform=inches)
    figure.add_artist(bar)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    figure.text(_GAP + length + 0.07, middle, text, transform=inches, va="center_baseline", fontsize=_FONT_SIZE)


def round_length_um(about_um: float) -> float:
    """The largest of 1, 2, 5 × a power of ten that is not above `about_um`."""
    power = 10.0 ** math.floor(math.log10(about_um))
    return max(step * power for step in (1, 2, 5) if step * power <= about_um)


@dataclass(frozen=True)
class _Legend:
    """What the colours mean. entries: (colour or "none", text) of classes; scale: instead, the threshold on cividis."""

    title: str
    entries: tuple[tuple[str, str], ...]
    scale: Threshold | None

    @classmethod
    def of(cls, painter: Painter, scores: TileScores, options: OverlayOptions) -> _Legend:
        """Areas are named with classes alone; the last line of the title says of what they are."""
        outlined, least = options.style == "outline", painter.heat.threshold
        name = "Most probable class" if options.heat is None else f"Probability of {options.heat}"
        lines = [name, "borders of areas" if outlined else f"opacity = {options.alpha:g} × probability"]
        if not scores.scored.any():
            lines[1:] = ["No tile was scored: no tissue was found,", "or all of it is blank."]
        elif least.value > 0:
            lines.append(f"below {least.value:.3g}: not painted")
        if options.heat is None and scores.scored.any():
            lines.append(_AREA_OF[scores.area_of])
        title = "\n".join(_wrapped(line, _SIDE - 2 * _GAP) for line in lines)
        if options.heat is None or outlined:
            return cls(title, tuple(_entries(painter, scores, options.heat)), None)
        return cls(title, (), least)

    @property
    def height(self) -> float:
        """In inches."""
        if self.scale is not None:
            return 3 * _GAP + _lines(self.title) + _SHORTEST_COLOUR_BAR
        return 3 * _GAP + _lines(self.title) + sum(_lines(text) + 0.08 for _, text in self.entries)

    def draw(self, figure: Figure, left: float, bottom: float) -> None:
        """Into the figure's upper right, above `bottom`; in inches."""
        top = figure.get_size_inches()[1] - _GAP
        if self.scale is not None:
            figure.text(left, top, self.title, transform=figure.dpi_scale_trans, fontsize=_FONT_SIZE, va="top")
            top -= _lines(self.title) + _GAP
            tall = max(_SHORTEST_COLOUR_BAR, 0.8 * (top - bottom))
            _colour_bar(figure, (left + 0.05, top - tall, 0.22, tall), self.scale)
            return
        legend = figure.legend(
            handles=[Patch(facecolor=face, edgecolor="0.4", label=text) for face, text in self.entries],
            loc="upper left",
            bbox_to_anchor=(left, top),
            bbox_transform=figure.dpi_scale_trans,
            borderpad=0,
            borderaxespad=0,
            frameon=False,
            fontsize=_FONT_SIZE,
            labelspacing=0.7,
            alignment="left",
        )
        legend.set_title(self.title, prop=FontProperties(size=_FONT_SIZE))


def _entries(painter: Painter, scores: TileScores, heat: str | None) -> list[tuple[str, str]]:
    """Each class with its colour and area; of `heat` alone no area, since it is not where that class wins."""
    summary: dict[str, Any] = summarise(scores)
    found = []
    for name in scores.classes if heat is None else (heat,):
        entry, painted = summary["classes"][name], name in painter.painted
        share = "–" if entry["share"] is None else f"{entry['share']:.1%}"
        area = f"\n{entry['area_mm2']:.2f} mm² · {share}" if heat is None else ""
        text = _wrapped(name if painted else f"{name} (not painted)", _SIDE - 2 * _GAP - 0.35) + area
        found.append((hex_of(painter.colours[name]) if painted else "none", text))
    return found


def _wrapped(text: str, inches: float) -> str:
    text = spelled(text)
    return textwrap.fill(text, int(inches / (_WIDE_CHARACTER if is_wide(text) else _CHARACTER)))


def _lines(text: str) -> float:
    """Inches that a text takes in height."""
    return _LINE * (text.count("\n") + 1)


def _colour_bar(figure: Figure, place: tuple[float, float, float, float], threshold: Threshold) -> None:
    """The scale from 0 to 1, with the threshold; what lies below it is not painted, and hatched here.

    place: left, bottom, width and height in inches.
    """
    wide, high = figure.get_size_inches()
    axes = figure.add_axes((place[0] / wide, place[1] / high, place[2] / wide, place[3] / high))
    axes.imshow(heat_colours()[:, None], origin="lower", extent=(0, 1, 0, 1), aspect="auto")
    axes.add_patch(Rectangle((0, 0), 1, threshold.value, facecolor="white", edgecolor="0.4", hatch="////", linewidth=0))
    ticks = {end: f"{end:g}" for end in (0.0, 1.0) if abs(end - threshold.value) > 0.04}  # else one hides the other
    said = {"given": "threshold", "model": "the model's threshold", "default": "threshold (the model has none)"}
    ticks[threshold.value] = f"{threshold.value:.3g} {said[threshold.source]}"
    axes.set_xticks([])
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=_FONT_SIZE)
    axes.yaxis.tick_right()
