"""`make figures`: what the tissue and ink stages find, drawn over slides, to look at.

docs/tissue.png shows generated slides. Those of real slides go to build/figures/ and stay there: their licences do
not allow more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import shapely
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from PIL import Image
from rich.console import Console

from benchmarks.ink import halves, pens
from benchmarks.tissue import CASES, phantom_file
from wsi.ink import PEN_RGB, InkOptions, ink_regions
from wsi.slide import open_slide
from wsi.tissue import TissueOptions, find_tissue

_LONGEST_PX = 1400
_COLUMNS = 3
_TISSUE = (0.0, 0.47, 0.24)


@dataclass(frozen=True)
class Panel:
    """A slide to draw; mpp where the file does not say it; `ink`: with the regions that pens enclose."""

    title: str
    path: Path
    mpp: float | None = None
    ink: bool = False


def main() -> None:
    """Draw every figure that there is data for."""
    draw([Panel(name, phantom_file(spec), ink=name == "pens") for name, spec in CASES.items()], Path("docs/tissue.png"))
    data = os.environ.get("TESELA_TEST_DATA")
    if data:
        real = Path(data) / "slides"
        files = ("colorectal-serrated-adenoma.tif", "oral-carcinoma.tif")
        draw([Panel(name, real / name) for name in files], Path("build/figures/tissue-real.png"))
    folder = pens()
    if folder:
        # Every thirteenth of the reported half: eight, whoever they are.
        chosen = halves(folder)[1][::13][:8]
        draw([Panel(path.stem, path, 22.0, ink=True) for path in chosen], Path("build/figures/ink-real.png"))


def draw(panels: list[Panel], out: Path) -> None:
    """One figure of all panels."""
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6 * columns, 5 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, panels, strict=False):
        _draw_panel(axis, panel)
    out.parent.mkdir(parents=True, exist_ok=True)
    # For a page: 0.6 MB instead of 3.3, and by eye the same.
    figure.savefig(out, dpi=70)
    with Image.open(out) as picture:
        picture.convert("RGB").quantize(256).save(out, optimize=True)
    plt.close(figure)
    Console(stderr=True).print(f"{out}")


def _draw_panel(axis: Axes, panel: Panel) -> None:
    with open_slide(panel.path, panel.mpp) as slide:
        mask, _ = find_tissue(slide, TissueOptions())
        outlines = [region.polygon for region in mask.regions()]
        regions = ink_regions(slide, InkOptions()).regions if panel.ink else ()
        picture, size = slide.thumbnail(_LONGEST_PX), slide.size
        area = mask.area_mm2(slide.require_mpp())
    axis.imshow(picture, extent=(0, size[0], size[1], 0), interpolation="antialiased")
    axis.set_title(f"{panel.title}: {area:.2f} mm²", fontsize=10)
    _outline(axis, outlines, _TISSUE, 0.12)
    for region in regions:
        red, green, blue = PEN_RGB[region.name.removesuffix(" pen")]
        _outline(axis, [region.polygon], (red / 255, green / 255, blue / 255), 0.3)


def _outline(axis: Axes, polygons: Iterable[shapely.Geometry], colour: tuple[float, float, float], fill: float) -> None:
    for polygon in polygons:
        for part in shapely.get_parts(polygon):
            rings = [Outline(ring.coords, closed=True) for ring in (part.exterior, *part.interiors)]
            whole = Outline.make_compound_path(*rings)
            axis.add_patch(PathPatch(whole, edgecolor=colour, facecolor=(*colour, fill), linewidth=1.1))


if __name__ == "__main__":
    main()
