"""Pen marks: found whatever their colour, never tissue; outlines become regions, writing does not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from shapely.geometry import Polygon, box
from typer.testing import CliRunner

from benchmarks.ink import halves, outlined
from pipelines.commands.app import app
from wsi.annotations import read_geojson
from wsi.errors import InputError
from wsi.geometry import Box
from wsi.ink import InkOptions, InkRegions, ink_mask, ink_regions, regions_mask
from wsi.ink.strokes import PENS, STROKE_MPP, find_strokes
from wsi.phantom import Phantom, PhantomSpec
from wsi.slide import open_slide
from wsi.tissue import TissueOptions, survey

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Draw = Callable[[Picture], None]

INK_RGB = {"black": (28, 27, 33), "blue": (28, 48, 165), "green": (22, 118, 78), "red": (196, 26, 44)}
SLIDE_PX, SLIDE_MPP = 4096, 2.0
WIDTH_PX = 12  # about 260 µm
CENTRE, AXES = (190, 330), (95, 130)


@pytest.fixture(scope="module")
def section() -> tuple[Picture, Mask]:
    """A section without ink, 745 px wide at the strokes' resolution, and where its tissue is."""
    phantom = Phantom(PhantomSpec(10, SLIDE_PX, SLIDE_PX, mpp=SLIDE_MPP))
    # Drawn twice as large as it is: a phantom of 16 mm takes long, and a pen does not mind.
    side = round(2 * SLIDE_PX * SLIDE_MPP / STROKE_MPP)
    rgb = cv2.resize(phantom.render(Box(0, 0, SLIDE_PX, SLIDE_PX)), (side, side), interpolation=cv2.INTER_LINEAR)
    share = cv2.resize(phantom.tissue.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(rgb, np.uint8), np.asarray(share > 0.5)


def inked(rgb: Picture, pen: str, draw: Draw, opacity: float = 0.93) -> Picture:
    """The picture with what `draw` draws in ink, soft at its edge."""
    canvas = np.zeros(rgb.shape[:2], np.uint8)
    draw(canvas)
    cover = opacity * cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), 1.0)[..., None]
    return np.asarray(rgb * (1 - cover) + cover * np.array(INK_RGB[pen]), np.uint8)


def ellipse(
    start: float = 0, end: float = 360, shrink: float = 1.0, centre: tuple[int, int] = CENTRE, width: int = WIDTH_PX
) -> Draw:
    """An outline, or part of one, degrees clockwise from the right."""
    axes = (round(AXES[0] * shrink), round(AXES[1] * shrink))

    def draw(canvas: Picture) -> None:
        cv2.ellipse(canvas, centre, axes, 0, start, end, (1,), width)

    return draw


def within(shape: tuple[int, ...], shrink: float = 1.0) -> Mask:
    """What an ellipse encloses, without its ink."""
    canvas = np.zeros(shape[:2], np.uint8)
    cv2.ellipse(canvas, CENTRE, (round(AXES[0] * shrink), round(AXES[1] * shrink)), 0, 0, 360, (1,), -1)
    cv2.ellipse(canvas, CENTRE, (round(AXES[0] * shrink), round(AXES[1] * shrink)), 0, 0, 360, (0,), WIDTH_PX)
    return canvas > 0


def read(
    rgb: Picture, folder: Path, options: InkOptions | None = None, mpp: float | None = STROKE_MPP
) -> tuple[InkRegions, Mask]:
    path = folder / "slide.png"
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(rgb)))
    with open_slide(path, mpp) as slide:
        found = ink_regions(slide, options or InkOptions())
        return found, regions_mask(found.regions, slide.size)


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize("pen", PENS)
def test_an_outline_of_any_colour_gives_the_tissue_within(
    section: tuple[Picture, Mask], pen: str, tmp_path: Path
) -> None:
    rgb, tissue = section
    drawn = inked(rgb, pen, ellipse())
    found, mask = read(drawn, tmp_path)
    (region,) = found.regions
    assert region.name == f"{pen} pen"
    assert region.measurements["confidence"] > 0.99
    inside = within(rgb.shape)
    assert (mask & ~inside).sum() < 0.01 * mask.sum()
    # What is enclosed and tissue is there, but for a margin beside the ink; holes are filled.
    inner = cv2.erode(inside.astype(np.uint8), np.ones((11, 11), np.uint8)) > 0
    assert (mask & tissue & inner).sum() > 0.98 * (tissue & inner).sum()
    assert not (mask & find_strokes(drawn, faded=True).mask).any()
    assert region.measurements["area_mm2"] == pytest.approx(mask.sum() * (STROKE_MPP / 1000) ** 2, rel=0.02)


def test_all_that_is_enclosed_may_be_asked_for(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    rgb, _ = section
    drawn = inked(rgb, "black", ellipse())
    _, mask = read(drawn, tmp_path, InkOptions(area="all"))
    _, tissue_only = read(drawn, tmp_path)
    assert iou(mask, within(rgb.shape)) > 0.95
    assert (tissue_only & ~mask).sum() == 0


@pytest.mark.parametrize("gap_deg", [12, 25, 50])
def test_a_gap_is_bridged_and_lowers_the_confidence(
    section: tuple[Picture, Mask], gap_deg: int, tmp_path: Path
) -> None:
    rgb, _ = section
    _, whole = read(inked(rgb, "blue", ellipse()), tmp_path)
    found, mask = read(inked(rgb, "blue", ellipse(gap_deg, 360)), tmp_path)
    (region,) = found.regions
    assert iou(mask, whole) > 0.93
    # A gap of 50 of 360 degrees is some 12 % of the outline, at the flatter end of the ellipse more.
    assert 1 - 1.6 * gap_deg / 360 < region.measurements["confidence"] <= 1 - 0.3 * gap_deg / 360


def test_half_an_outline_encloses_nothing(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    found, _ = read(inked(section[0], "blue", ellipse(0, 180)), tmp_path)
    assert found.regions == ()
    assert found.notes == ("no outline found",)


def test_a_faded_stroke_over_tissue_still_closes_its_outline(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    rgb, _ = section
    _, whole = read(inked(rgb, "black", ellipse()), tmp_path)
    faded = inked(inked(rgb, "black", ellipse(60, 360)), "black", ellipse(0, 60), opacity=0.45)
    _, mask = read(faded, tmp_path)
    assert iou(mask, whole) > 0.95


def test_an_outline_may_leave_the_slide(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    rgb, _ = section
    _, whole = read(inked(rgb, "green", ellipse()), tmp_path)
    left = CENTRE[0] - round(0.6 * AXES[0])
    found, mask = read(inked(rgb, "green", ellipse())[:, left:], tmp_path)
    assert iou(mask, whole[:, left:]) > 0.93
    assert found.regions[0].measurements["confidence"] < 0.9


def test_nested_outlines_are_two_regions_that_do_not_overlap(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    rgb, _ = section
    outer = inked(rgb, "black", ellipse())
    found, _ = read(inked(outer, "blue", ellipse(shrink=0.5)), tmp_path)
    assert sorted(region.name for region in found.regions) == ["black pen", "blue pen"]
    first, second = (region.polygon for region in found.regions)
    assert first.intersection(second).area == 0


def test_a_doubled_stroke_is_one_outline(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    rgb, _ = section
    twice = inked(inked(rgb, "black", ellipse(width=8)), "black", ellipse(20, 340, shrink=1.16, width=8))
    found, _ = read(twice, tmp_path)
    assert len(found.regions) == 1


def test_writing_is_no_region(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    rgb, _ = section

    def write(canvas: Picture) -> None:
        cv2.putText(canvas, "CM 30 %", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.8, (1,), 8)

    found, _ = read(inked(rgb, "black", write), tmp_path)
    assert found.regions == ()
    assert found.notes == ("no outline found",)
    both, mask = read(inked(inked(rgb, "black", write), "black", ellipse()), tmp_path)
    assert len(both.regions) == 1
    assert iou(mask, read(inked(rgb, "black", ellipse()), tmp_path)[1]) > 0.97


def test_an_outline_around_glass_is_no_region(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    glass = np.full_like(section[0], 240)
    found, _ = read(inked(glass, "black", ellipse()), tmp_path)
    assert found.regions == ()


def test_a_slide_without_ink_says_so(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    found, mask = read(section[0], tmp_path)
    assert found == InkRegions((), ("no ink found",))
    assert not mask.any()


def test_without_mpp_a_whole_slide_is_assumed_and_said(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    drawn = inked(section[0], "black", ellipse())
    known, _ = read(drawn, tmp_path)
    unknown, _ = read(drawn, tmp_path, mpp=None)
    assert unknown.regions[0].polygon.equals(known.regions[0].polygon)
    assert "area_mm2" not in unknown.regions[0].measurements
    assert "mpp unknown" in unknown.notes[0]


def test_resolution_does_not_matter(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    drawn = inked(section[0], "blue", ellipse(20, 360))
    coarse, _ = read(drawn, tmp_path)
    finer = np.asarray(cv2.resize(drawn, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)
    fine, _ = read(finer, tmp_path, mpp=STROKE_MPP / 3)
    assert fine.regions[0].measurements["area_mm2"] == pytest.approx(
        coarse.regions[0].measurements["area_mm2"], rel=0.02
    )


def test_the_ink_of_a_phantom_is_found_and_its_tissue_is_not() -> None:
    side = 1024
    phantom = Phantom(PhantomSpec(2, SLIDE_PX, SLIDE_PX, mpp=SLIDE_MPP, pens=PENS))
    rgb = np.asarray(
        cv2.resize(phantom.render(Box(0, 0, SLIDE_PX, SLIDE_PX)), (side, side), interpolation=cv2.INTER_AREA)
    )
    truth = cv2.resize(phantom.ink.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) > 0.5
    found, edge = ink_mask(rgb, 8.0)
    assert not edge.any()
    assert (found & truth).sum() > 0.98 * truth.sum()
    # The soft edge: two px of the strokes' resolution.
    near = cv2.dilate(truth.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    assert (found & ~near).mean() < 0.01


def test_black_letters_and_lines_along_the_edge_are_neither_an_outline_nor_tissue(
    section: tuple[Picture, Mask], tmp_path: Path
) -> None:
    drawn = section[0].copy()
    drawn[200:240, :14], drawn[260:330, :10], drawn[:6] = 25, 25, 25
    surveys = []
    for picture in (section[0], drawn):
        assert read(picture, tmp_path)[0].regions == ()
        with open_slide(tmp_path / "slide.png", STROKE_MPP) as slide:
            surveys.append(survey(slide, TissueOptions(mask_mpp=STROKE_MPP, min_area_mm2=0.0)))
    clean, found = (each.tissue.mask for each in surveys)
    assert not found[200:330, :14].any()
    assert not found[:6].any()
    assert (found != clean)[20:, 30:].mean() < 0.001
    assert surveys[1].ink.mean() < 0.001


def test_the_command_writes_what_qupath_and_a_program_read(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    drawn = inked(section[0], "blue", ellipse())
    found, mask = read(drawn, tmp_path)
    out, png = tmp_path / "regions.geojson", tmp_path / "mask.png"
    words = ["ink", str(tmp_path / "slide.png"), "--out", str(out), "--mask", str(png), "--mpp", str(STROKE_MPP)]
    answer = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert json.loads(answer.stdout)["regions"][0]["name"] == "blue pen"
    assert read_geojson(out)[0].polygon.normalize().equals_exact(found.regions[0].polygon.normalize(), 0.01)
    assert json.loads(out.read_text())["features"][0]["properties"]["measurements"]["confidence"] > 0.99
    assert np.array_equal(imagecodecs.imread(png) == 255, mask)


@pytest.mark.parametrize("option", ["--out", "--mask"])
def test_the_picture_itself_is_never_written_over(section: tuple[Picture, Mask], option: str, tmp_path: Path) -> None:
    read(section[0], tmp_path)
    slide = tmp_path / "slide.png"
    others = {"--out": tmp_path / "a.geojson", "--mask": tmp_path / "a.png", option: slide}
    words = [str(word) for pair in others.items() for word in pair]
    with pytest.raises(InputError, match="is the slide itself"):
        CliRunner().invoke(app, ["ink", str(slide), *words], catch_exceptions=False)


@pytest.mark.parametrize("size", [(3, 3), (1, 40), (40, 1), (30, 30)])
@pytest.mark.parametrize("shade", [0, 255])
def test_tiny_and_empty_pictures_have_no_regions(size: tuple[int, int], shade: int, tmp_path: Path) -> None:
    found, _ = read(np.full((*size, 3), shade, np.uint8), tmp_path, mpp=None)
    assert found.regions == ()


def test_a_mask_is_drawn_at_4096_px_at_most() -> None:
    shape = regions_mask([], (10_000, 5_000)).shape
    assert shape == (2048, 4096)
    assert math.isclose(regions_mask([], (300, 200)).size, 300 * 200)


@pytest.mark.real
def test_outlines_of_pathologists_are_read(real_data: Path) -> None:
    """Every tenth slide of the half that nothing was tuned on; `make bench` reads them all (`ink.dice`)."""
    _, reported = halves(real_data / "pens")
    dices = [outlined(path).dice for path in reported[::10]]
    assert np.mean(dices) > 0.9
    assert sum(dice < 0.5 for dice in dices) <= 1


def test_polygons_are_simple_areas(section: tuple[Picture, Mask], tmp_path: Path) -> None:
    found, _ = read(inked(section[0], "blue", ellipse()), tmp_path)
    whole = box(0, 0, section[0].shape[1], section[0].shape[0])
    for region in found.regions:
        assert region.polygon.is_valid
        assert whole.covers(region.polygon)
        assert isinstance(region.polygon, Polygon) or region.polygon.geom_type == "MultiPolygon"
