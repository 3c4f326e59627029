"""Reduced levels are held against level 0: one that shows something else is not used, and that is said."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from ngff_images import write_ngff
from numpy.typing import NDArray

from wsi.bands import Opened
from wsi.convert import convert
from wsi.errors import InputError
from wsi.geometry import Box
from wsi.ingest import ingest
from wsi.levels import unlike_the_finest
from wsi.phantom import Phantom, PhantomSpec
from wsi.readers.openslide import OpenSlideReader
from wsi.slide import Slide, open_slide
from wsi.slideinfo import SlideInfo
from wsi.tissue import TissueOptions, find_tissue

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]
JPEG: dict[str, Any] = {"compression": "jpeg", "compressionargs": {"level": 30}}


def by_area(pixels: Pixels) -> Pixels:
    size = pixels.shape[1] // 2, pixels.shape[0] // 2
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def by_picking(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[1::2, 1::2])


def sharpened(pixels: Pixels) -> Pixels:
    half = by_area(pixels).astype(np.float32)
    return np.clip(2.5 * half - 1.5 * cv2.GaussianBlur(half, (0, 0), 1.5), 0, 255).astype(np.uint8)


def pyramid(pixels: Pixels, halved: Change = by_area) -> list[Pixels]:
    levels = [pixels]
    while len(levels) < 4:
        levels.append(halved(levels[-1]))
    return levels


def write(path: Path, levels: list[Pixels], **options: Any) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate(levels):
            own = {"subfiletype": 1} if number else {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
            tiff.write(level, tile=(256, 256), photometric="rgb", metadata=None, **own, **options)
    return path


@pytest.fixture(scope="module")
def section(phantom_pixels: Pixels) -> Pixels:
    """(1088, 1472, 3): sides that halve evenly."""
    return np.ascontiguousarray(phantom_pixels[:1088, :1472])


@pytest.fixture(scope="module")
def other() -> Pixels:
    return Phantom(PhantomSpec(8, 1472, 1088, 0.5, pieces=1)).render(Box(0, 0, 1472, 1088))


def unused(path: Path) -> tuple[int, ...]:
    with open_slide(path) as slide:
        return slide.unused_levels


@pytest.mark.parametrize("halved", [by_area, by_picking, sharpened])
@pytest.mark.parametrize("options", [{}, JPEG], ids=["lossless", "jpeg 30"])
def test_levels_are_right_however_they_were_halved(
    section: Pixels, halved: Change, options: dict[str, Any], tmp_path: Path
) -> None:
    assert unused(write(tmp_path / "a.tif", pyramid(section, halved), **options)) == ()


WRONG: dict[str, Change] = {
    "black": np.zeros_like,
    "white": lambda level: np.full_like(level, 255),
    "grey": lambda level: np.full_like(level, round(level.mean())),
    "mirrored": lambda level: np.ascontiguousarray(level[:, ::-1]),
    "upside down": lambda level: np.ascontiguousarray(level[::-1]),
    "shifted by a tenth": lambda level: np.roll(level, level.shape[1] // 10, axis=1),
    "shifted by 8 px": lambda level: np.roll(level, (8, 8), axis=(0, 1)),
    "inverted": lambda level: 255 - level,
}


@pytest.mark.parametrize("kind", [*WRONG, "another slide"])
@pytest.mark.parametrize("which", [(1,), (3,), (1, 2, 3)], ids=str)
def test_a_level_that_shows_something_else_is_found(
    section: Pixels, other: Pixels, kind: str, which: tuple[int, ...], tmp_path: Path
) -> None:
    levels, others = pyramid(section), pyramid(other)
    for number in which:
        levels[number] = others[number] if kind == "another slide" else WRONG[kind](levels[number])
    assert unused(write(tmp_path / "a.tif", levels)) == which


def test_a_round_section_is_told_from_its_mirror_image(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 1, (1024, 1024)).astype(np.float32)
    texture = cv2.GaussianBlur(noise, (0, 0), 6)
    pixels = np.full((1024, 1024, 3), 243, np.uint8)
    disc = cv2.circle(np.zeros((1024, 1024), np.uint8), (512, 512), 400, 1, -1) > 0
    pixels[disc] = np.clip(texture[disc, None] / texture.std() * 25 + (190, 110, 160), 0, 255).astype(np.uint8)
    levels = pyramid(pixels)
    levels[1] = np.ascontiguousarray(levels[1][:, ::-1])
    assert unused(write(tmp_path / "a.tif", levels)) == (1,)


@pytest.fixture(scope="module")
def black(section: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Levels 1 and 3 are black, level 2 is right."""
    levels = pyramid(section)
    levels[1], levels[3] = np.zeros_like(levels[1]), np.zeros_like(levels[3])
    return write(tmp_path_factory.mktemp("black") / "a.tif", levels, **JPEG)


def test_what_is_read_comes_from_the_levels_that_are_right(black: Path, section: Pixels) -> None:
    with open_slide(black) as slide:
        assert [level.downsample for level in slide.header.levels] == [1, 4]
        assert slide.header.notes == (
            "level 1 (736 × 544 px) does not show what level 0 shows: not used",
            "level 3 (184 × 136 px) does not show what level 0 shows: not used",
        )
        for downsample in (1, 2, 4, 8, 16):
            size = 1472 // downsample, 1088 // downsample
            found, expected = slide.read_to(slide.bounds, size), cv2.resize(section, size, interpolation=cv2.INTER_AREA)
            assert np.abs(found.astype(int) - expected).mean() < 6
        tiles = slide.native(1)
        assert tiles is not None
        assert (tiles.columns, tiles.rows) == (2, 2)


def test_tissue_is_found_where_a_level_is_black(black: Path, section: Pixels, tmp_path: Path) -> None:
    right = write(tmp_path / "right.tif", pyramid(section), **JPEG)
    with open_slide(black) as slide, open_slide(right) as same:
        found, expected = (find_tissue(each, TissueOptions())[0].area_mm2((0.5, 0.5)) for each in (slide, same))
    assert found == pytest.approx(expected, rel=0.03)


def test_the_finding_travels_with_slide_json_pickling_and_workers(black: Path, tmp_path: Path) -> None:
    info = ingest(black, tmp_path)
    assert info.unused_levels == (1, 3)
    assert len(info.levels) == 2
    assert SlideInfo.load(tmp_path / "slide.json") == info
    with open_slide(tmp_path / "slide.json") as slide:
        assert slide._unused_levels == (1, 3), "not looked at again"
        assert Opened.of(slide).unused_levels == (1, 3)
        assert pickle.loads(pickle.dumps(slide))._unused_levels == (1, 3)
        assert slide.info().notes == info.notes


def test_a_wrong_level_is_not_copied_into_a_converted_file(black: Path, section: Pixels, tmp_path: Path) -> None:
    with open_slide(black) as slide:
        convert(slide, tmp_path / "b.ome.tif")
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as tiff:
        for level, expected in zip(tiff.series[0].levels, pyramid(section), strict=False):
            assert np.abs(level.asarray().astype(int) - expected).mean() < 6


def test_zarr_and_openslide_are_looked_at_too(black: Path, section: Pixels, tmp_path: Path) -> None:
    levels = pyramid(section)
    levels[2] = np.ascontiguousarray(levels[2][:, ::-1])
    write_ngff(tmp_path / "a.ome.zarr", levels)
    assert unused(tmp_path / "a.ome.zarr") == (2,)
    reader = OpenSlideReader.open(black)
    assert reader is not None
    with Slide(black, reader) as slide:
        assert slide.unused_levels == (1, 3)


def test_nothing_is_looked_at_until_a_reduced_level_is_needed(black: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi.slide.unlike_the_finest", lambda reader: pytest.fail(f"looked at {reader.name}"))
    with open_slide(black) as slide:
        assert slide.size == (1472, 1088)
        assert slide.mpp == pytest.approx((0.5, 0.5))
        slide.read(Box(300, 300, 64, 64), 0.75)


def test_a_blank_slide_has_nothing_to_be_wrong_but_its_colour(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(244, 1, (1024, 1024, 3))
    levels = pyramid(np.clip(noise, 0, 255).astype(np.uint8))
    assert unused(write(tmp_path / "a.tif", levels)) == ()
    levels[2][:] = 0
    assert unused(write(tmp_path / "b.tif", levels)) == (2,)


@pytest.mark.real
def test_no_level_of_a_real_slide_is_dropped(real_data: Path) -> None:
    for path in sorted((real_data / "slides").iterdir()):
        with open_slide(path) as slide:
            assert unlike_the_finest(slide._reader) == (), path.name


# The format of slide.json.


def test_a_slide_json_of_before_levels_were_looked_at_is_read(black: Path, tmp_path: Path) -> None:
    ingest(black, tmp_path)
    raw = json.loads((tmp_path / "slide.json").read_text())
    assert raw.pop("format") == 2
    del raw["unused_levels"]
    (tmp_path / "slide.json").write_text(json.dumps(raw))
    with open_slide(tmp_path / "slide.json") as slide:
        assert slide.unused_levels == (1, 3)


@pytest.mark.parametrize("written", [3, 99])
def test_a_slide_json_of_a_newer_format_is_one_clear_line(written: int, black: Path, tmp_path: Path) -> None:
    ingest(black, tmp_path)
    raw = json.loads((tmp_path / "slide.json").read_text())
    (tmp_path / "slide.json").write_text(json.dumps({**raw, "format": written, "unheard_of": 1}))
    with pytest.raises(InputError, match=rf"slide\.json: of format {written}, written by a newer Tesela"):
        open_slide(tmp_path / "slide.json")
