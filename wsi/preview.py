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
from wsi.colours import hex_of
from wsi.overlay import OverlayOptions, Painter
from wsi.scores import TileScores, summarise
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
    summary: dict[str, Any] = summarise(scores)
    handles = []
    for name in scores.classes:
        entry = summary["classes"][name]
        share = "–" if entry["share"] is None else f"{entry['share']:.1%}"
        hollow = "" if name in painter.painted else " (not painted)"
        face = hex_of(painter.colours[name]) if name in painter.painted else "none"
        handles.append(
            Patch(facecolor=face, edgecolor="0.4", label=f"{name}{hollow}\n{entry['area_mm2']:.2f} mm² · {share}")
        )
    legend = figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(left, 0.99),
        frameon=False,
        fontsize=8,
        labelspacing=0.7,
        alignment="left",
    )
    note = f"opacity = {options.alpha:g} × probability"
    if options.threshold > 0:
        note += f"\nbelow {options.threshold:g}: not painted"
    if not scores.scored.any():
        note = "No tile was scored:\nno tissue was found."
    legend.set_title(f"Most probable class\n{note}", prop=FontProperties(size=8))
