"""Tiles labelled through a pair of pictures, against labels from the areas that were drawn: 11 prostate images.

The marked copies are made here: a pen's outline around the tumour, as a pathologist joins glands to areas, on a copy
that is shifted, turned and recompressed. Both ways of labelling are given the same areas.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from wsi.annotations import Region
from wsi.geometry import TileGrid, TileSpec
from wsi.labels import label_tiles
from wsi.marked import MarkedOptions, marked_regions
from wsi.pictures import jpeg_bytes
from wsi.shapes import polygons_of
from wsi.slide import open_slide

TUMOUR_CLASSES = (0, 1)
# Nobody knows the mpp of these images, and the labels do not depend on it: a tile is 128 px of them whatever it is.
MPP = 0.5
_TILE = TileSpec(128, MPP, 64)
_MIN_COVER = 0.75
# Glands nearer than twice this are one area; smaller areas are not outlined, and nobody draws over the picture's edge.
_JOIN_PX, _LEAST_AREA_PX, _MARGIN_PX = 25, 4000, 20
_PEN_PX, _WOBBLE_PX, _OPACITY = 12, 2.0, 0.92
_PENS = {"black": (35, 32, 38), "blue": (30, 60, 150), "green": (20, 110, 70)}
_GLASS = (240, 238, 240)


@dataclass(frozen=True)
class Moved:
    """How a copy differs from its slide: degrees, px of shift, scale, JPEG quality, px of glass around it."""

    angle: float
    shift: tuple[float, float]
    scale: float
    quality: int
    border_px: int


# The second loses half of the resolution, and everything that subtraction relies on is a little off.
COPIES = {
    "label.marked_agreement": Moved(0.5, (7, -5), 1.0, 80, 0),
    "label.marked_agreement_hard": Moved(3.0, (40, -40), 0.5, 50, 110),
}


def measure() -> list[Figure]:
    """`label.marked_agreement`, of a copy as scanners make them and of a poor one; [] where there are no images."""
    data = os.environ.get("TESELA_TEST_DATA")
    paths = sorted(Path(data, "prostate", "images").glob("*.jpg")) if data else []
    figures = []
    for name, moved in COPIES.items() if paths else ():
        found = [labelled(number, path, moved) for number, path in enumerate(paths)]
        # Without a mark at all: every tile is outside, and nothing of the tissue may be taken for ink.
        bare = [labelled(number, path, moved, draw=False) for number, path in enumerate(paths)]
        _print(name, paths, found, bare)
        shares = [each.agree for each in found]
        detail = (
            f"worst {min(shares):.1%}; one label for all {np.mean([each.commonest for each in found]):.1%}; "
            f"copies without marks {np.mean([each.agree for each in bare]):.1%}"
        )
        against = f"labels from the areas drawn, {len(paths)} images, {moved}"
        figures.append(Figure(name, 100 * float(np.mean(shares)), "%", against, 97.0, detail=detail))
    return figures


@dataclass(frozen=True)
class Labelled:
    """Shares of one image's tiles: same label (tumour, benign, none) both ways; with the image's commonest label."""

    agree: float
    commonest: float


def labelled(number: int, path: Path, moved: Moved, *, draw: bool = True) -> Labelled:
    """Draw on one image, and label its tiles both ways."""
    rgb = np.asarray(cv2.imread(str(path))[..., ::-1], np.uint8)
    mask = cv2.imread(str(path.parent.parent / "masks" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
    area, outlines = joined(np.isin(mask, TUMOUR_CLASSES))
    if not draw:
        area, outlines = np.zeros_like(area), []
    pen = list(_PENS)[number % len(_PENS)]
    marked = moved_copy(drawn(rgb, outlines, np.random.default_rng(number), pen), moved)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.jpg"
        copy.write_bytes(jpeg_bytes(marked, moved.quality))
        with open_slide(path, MPP) as slide, open_slide(copy) as other:
            found = marked_regions(slide, other, MarkedOptions())
            grid = TileGrid.of(_TILE, slide.size, slide.mpp, name=slide.name, edge="drop")
    table = pa.table({"number": np.arange(grid.rows * grid.cols)})
    truth = [Region(polygon, "tumour", "mask") for polygon in polygons_of(area, (1, 1))]
    read = [Region(region.polygon, "tumour", region.source) for region in found.regions]
    ours = label_tiles(table, grid, read, _MIN_COVER, "benign", found.unseen)["label"].to_pylist()
    theirs = label_tiles(table, grid, truth, _MIN_COVER, "benign")["label"].to_pylist()
    agree = sum(a == b for a, b in zip(ours, theirs, strict=True))
    return Labelled(agree / len(ours), max(theirs.count(label) for label in set(theirs)) / len(theirs))


def joined(tumour: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], list[NDArray[np.int32]]]:
    """(h, w) the areas that a pathologist would outline, holes filled, and their outlines (N, 1, 2: x, y)."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _JOIN_PX + 1, 2 * _JOIN_PX + 1))
    pad = 2 * _JOIN_PX
    closed = cv2.morphologyEx(np.pad(tumour.astype(np.uint8), pad), cv2.MORPH_CLOSE, kernel)[pad:-pad, pad:-pad]
    inner = np.zeros_like(closed)
    inner[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX] = closed[_MARGIN_PX:-_MARGIN_PX, _MARGIN_PX:-_MARGIN_PX]
    found, _ = cv2.findContours(inner, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlines = [np.asarray(outline, np.int32) for outline in found if cv2.contourArea(outline) >= _LEAST_AREA_PX]
    area = np.zeros_like(inner)
    cv2.drawContours(area, outlines, -1, (1,), cv2.FILLED)
    return area > 0, outlines


def drawn(
    rgb: NDArray[np.uint8], outlines: list[NDArray[np.int32]], rng: np.random.Generator, pen: str
) -> NDArray[np.uint8]:
    """The picture with a pen's strokes: an unsteady hand, a soft edge, tissue shining through."""
    ink = np.zeros(rgb.shape[:2], np.uint8)
    for outline in outlines:
        wobble = cv2.blur(rng.normal(size=(len(outline), 2)), (1, 61), borderType=cv2.BORDER_REFLECT)
        points = outline[:, 0] + wobble * _WOBBLE_PX / wobble.std()
        cv2.polylines(ink, [np.rint(points).astype(np.int32)], True, (255,), _PEN_PX, cv2.LINE_AA)
    opacity = cv2.GaussianBlur(ink, (0, 0), 1.2)[..., None] / 255 * _OPACITY
    dyed = np.array(_PENS[pen]) * (0.6 + 0.4 * rgb / 255)
    return np.rint(rgb * (1 - opacity) + dyed * opacity).astype(np.uint8)


def moved_copy(rgb: NDArray[np.uint8], moved: Moved) -> NDArray[np.uint8]:
    """The picture as another scan shows it, before recompression."""
    border = [moved.border_px] * 4
    wide = cv2.copyMakeBorder(rgb, *border, cv2.BORDER_CONSTANT, value=_GLASS)
    height, width = wide.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), moved.angle, moved.scale)
    matrix[:, 2] += moved.shift - np.array([width, height]) * (1 - moved.scale) / 2
    size = round(width * moved.scale), round(height * moved.scale)
    return np.asarray(cv2.warpAffine(wide, matrix, size, flags=cv2.INTER_AREA, borderValue=_GLASS), np.uint8)


def _print(name: str, paths: list[Path], found: list[Labelled], bare: list[Labelled]) -> None:
    table = Table("image", "tiles that agree", "one label for all", "without marks", title=name)
    for path, each, none in zip(paths, found, bare, strict=True):
        table.add_row(path.stem, f"{each.agree:.1%}", f"{each.commonest:.1%}", f"{none.agree:.1%}")
    Console(stderr=True).print(table)
