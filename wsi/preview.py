"""overlay.png: the whole slide with its colours, a legend and a scale bar, for the eye and for slides of a talk."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from wsi.atomic import writing
from wsi.colours import heat_colours, hex_of
from wsi.overlay import OverlayOptions, Painter
from wsi.scores import Threshold, TileScores, summarise
from wsi.slide import Slide

RESEARCH_USE = "Research use only. Not for diagnosis."
_DPI = 150


@dataclass(frozen=True)
class Caption:
    """What stands beside the picture: slide id, model name, date (YYYY-MM-DD).

    source: SHA-256 of the predictions, kept inside the file so that a report can tell an old picture from a new one.
    """

    slide_id: str
    model: str
    date: str
    source: str = ""


def source_of(preview: Path) -> str:
    """SHA-256 of the predictions that an overlay.png was painted from; '' where it does not say."""
    with Image.open(preview) as picture:
        return str(picture.info.get("Source", ""))


def write_preview(
    path: Path, slide: Slide, scores: TileScores, options: OverlayOptions, caption: Caption, longest_px: int = 1600
) -> None:
    """Write overlay.png."""
    painter = Painter(scores, options)
    picture = painter.blend(slide.thumbnail(longest_px), slide.bounds)
    height, width = picture.shape[:2]
    side_inches, foot_inches = 2.9, 0.45
    shown = (width / _DPI, max(height / _DPI, 3.2))
    figure = Figure(figsize=(shown[0] + side_inches, shown[1] + foot_inches), dpi=_DPI, facecolor="white")
    total = figure.get_size_inches()
    axes = figure.add_axes(
        (
            0,
            foot_inches / total[1] + (shown[1] - height / _DPI) / total[1],
            width / _DPI / total[0],
            height / _DPI / total[1],
        )
    )
    axes.imshow(picture, interpolation="nearest", aspect="equal")
    axes.set_axis_off()
    _scale_bar(axes, width, height, slide.require_mpp()[0] * slide.size[0] / width)
    _legend(figure, (width / _DPI + 0.15) / total[0], painter, scores, options)
    model = f" · model {caption.model}" if caption.model else ""
    figure.text(
        0.1 / total[0],
        0.16 / total[1],
        f"{caption.slide_id}{model} · {caption.date} · {RESEARCH_USE}",
        fontsize=8,
        color="0.25",
    )
    with writing(path) as temporary:
        # No software version or time in the file: the same run writes the same bytes.
        figure.savefig(temporary, format="png", metadata={"Software": None, "Source": caption.source})


def _scale_bar(axes: Axes, width_px: int, height_px: int, um_per_px: float) -> None:
    length_um = round_length_um(width_px * um_per_px / 5)
    length_px = length_um / um_per_px
    left, bottom = 0.03 * width_px, 0.955 * height_px
    thick = max(2.0, 0.006 * height_px)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    box = (left - 0.012 * width_px, bottom - 0.055 * height_px)
    axes.add_patch(
        Rectangle(box, length_px + 0.024 * width_px, 0.085 * height_px, facecolor="white", alpha=0.8, edgecolor="none")
    )
    axes.add_patch(Rectangle((left, bottom), length_px, thick, facecolor="black", edgecolor="none"))
    axes.text(left + length_px / 2, bottom - 0.008 * height_px, text, ha="center", va="bottom", fontsize=8)


def round_length_um(about_um: float) -> float:
    """The largest of 1, 2, 5 × a power of ten that is not above `about_um`."""
    power = 10.0 ** math.floor(math.log10(about_um))
    return max(step * power for step in (1, 2, 5) if step * power <= about_um)


def _legend(figure: Figure, left: float, painter: Painter, scores: TileScores, options: OverlayOptions) -> None:
    """What the colours mean, right of the picture."""
    below = f"\nbelow {painter.heat.threshold.value:.3g}: not painted" if painter.heat.threshold.value > 0 else ""
    drawn = "borders of areas" if options.style == "outline" else f"opacity = {options.alpha:g} × probability"
    note = f"{drawn}{below}" if scores.scored.any() else "No tile was scored:\nno tissue was found."
    if options.heat is None or options.style == "outline":
        _class_legend(figure, left, painter, scores, options.heat, note)
    else:
        text = f"Probability of {options.heat}\n{note}"
        figure.text(left, 0.975, text, fontsize=8, va="top", linespacing=1.3)
        _colour_bar(figure, left, painter.heat.threshold)


def _class_legend(
    figure: Figure, left: float, painter: Painter, scores: TileScores, heat: str | None, note: str
) -> None:
    """Each class with its colour and area; of `heat` alone no area, since it is not where that class wins."""
    summary: dict[str, Any] = summarise(scores)
    handles = []
    for name in scores.classes if heat is None else (heat,):
        entry = summary["classes"][name]
        share = "–" if entry["share"] is None else f"{entry['share']:.1%}"
        hollow = "" if name in painter.painted else " (not painted)"
        face = hex_of(painter.colours[name]) if name in painter.painted else "none"
        area = f"\n{entry['area_mm2']:.2f} mm² · {share}" if heat is None else ""
        handles.append(Patch(facecolor=face, edgecolor="0.4", label=f"{name}{hollow}{area}"))
    legend = figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left, 0.99),
        frameon=False,
        fontsize=8,
        labelspacing=0.7,
        alignment="left",
    )
    title = "Most probable class" if heat is None else f"Probability of {heat}"
    legend.set_title(f"{title}\n{note}", prop=FontProperties(size=8))


def _colour_bar(figure: Figure, left: float, threshold: Threshold) -> None:
    """The scale from 0 to 1, with the threshold; what lies below it is not painted, and hatched here."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left + 0.05 / width, 0.22, 0.22 / width, 0.98 - 0.22 - 0.75 / height))
    axes.imshow(heat_colours()[:, None], origin="lower", extent=(0, 1, 0, 1), aspect="auto")
    axes.add_patch(Rectangle((0, 0), 1, threshold.value, facecolor="white", edgecolor="0.4", hatch="////", linewidth=0))
    ticks = {end: f"{end:g}" for end in (0.0, 1.0) if abs(end - threshold.value) > 0.04}  # else one hides the other
    said = {"given": "threshold", "model": "the model's threshold", "default": "threshold (the model has none)"}
    ticks[threshold.value] = f"{threshold.value:.3g} {said[threshold.source]}"
    axes.set_xticks([])
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.yaxis.tick_right()
