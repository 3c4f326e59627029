"""A region of the overlay as a PNG, at full resolution or smaller: for a talk, a paper or a second look."""

from __future__ import annotations

from pathlib import Path

from wsi.atomic import refuse_overwriting
from wsi.errors import InputError
from wsi.geometry import Box
from wsi.overlay.options import OverlayOptions
from wsi.overlay.painter import Painter
from wsi.pictures import write_png
from wsi.scores import TileScores
from wsi.slide import Slide

# 300 MB of RGB, held twice while it is painted; larger pictures open nowhere.
_LARGEST_PX = 100_000_000


def parse_region(text: str) -> Box:
    """`x,y,width,height` in level-0 px. Raises InputError where it is not."""
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"--region {text}: give x,y,width,height in whole level-0 px, such as 1000,2000,512,512"
        ) from error
    return Box(x, y, width, height)


def write_region(
    path: Path, slide: Slide, scores: TileScores, options: OverlayOptions, region: Box, downsample: float = 1.0
) -> None:
    """Write the region's px, painted, each `downsample` level-0 px large. Raises InputError beyond the slide."""
    scores.grid.check_slide(slide.size, slide.mpp, slide.name)
    refuse_overwriting(path, slide.path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: a region is written as PNG; give a name that ends in .png")
    if region.x < 0 or region.y < 0 or region.right > slide.size[0] or region.bottom > slide.size[1]:
        raise InputError(
            f"--region {region.x},{region.y},{region.width},{region.height}: reaches beyond {slide.name}, "
            f"which is {slide.size[0]} × {slide.size[1]} px"
        )
    if not downsample >= 1:
        raise InputError(f"--downsample {downsample:g}: give 1 or more; 4 shows a quarter of the px along each side")
    size = (max(1, round(region.width / downsample)), max(1, round(region.height / downsample)))
    if size[0] * size[1] > _LARGEST_PX:
        raise InputError(
            f"--region: {size[0]} × {size[1]} px are too many for a picture; give a smaller one or a --downsample"
        )
    write_png(path, Painter(scores, options).blend(slide.read_to(region, size), region), slide.icc_profile)
