"""A written pyramid: OpenSlide, tifffile and our reader see the same levels, and the file is whole or not there."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray

from wsi.convert import ConvertOptions, convert
from wsi.errors import SlideError
from wsi.ingest import ingest
from wsi.slide import open_slide
from wsi.slideinfo import SlideInfo
from wsi.writers.halving import level_sizes
from wsi.writers.ome import Facts
from wsi.writers.pyramid import PyramidOptions, write_pyramid

Pixels = NDArray[np.uint8]
# As far as anyone looks: a header that says it is one of RGB.
PROFILE = b"a header of it: RGB " + b"rest " * 40
LOSSLESS = PyramidOptions("deflate")


def picture(width: int, height: int) -> Pixels:
    """Smooth, and different in every channel and direction: swapped colours or axes do not go unseen."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / width, y * 255 / height, (x + y) % 64 + 20], axis=2).astype(np.uint8)


def bands(pixels: Pixels, height_px: int) -> Iterator[Pixels]:
    return (pixels[top : top + height_px] for top in range(0, len(pixels), height_px))


def write(path: Path, pixels: Pixels, options: PyramidOptions = LOSSLESS, height_px: int = 512) -> None:
    write_pyramid(path, bands(pixels, height_px), (pixels.shape[1], pixels.shape[0]), Facts((0.5, 0.51)), options)


SIZES = [(1500, 1100), (1001, 777), (513, 255), (257, 256), (256, 256), (3000, 40), (1, 1), (300, 1), (7, 900)]


@pytest.mark.parametrize("size", SIZES)
def test_three_programs_see_the_same_levels(size: tuple[int, int], tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", picture(*size))
    expected = level_sizes(*size, 256)
    with openslide.OpenSlide(tmp_path / "a.ome.tif") as theirs:
        assert list(theirs.level_dimensions) == expected
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.is_ome
        assert [(level.shape[1], level.shape[0]) for level in tiff.series[0].levels] == expected
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.reader_name == "tiff"
        assert [(level.width, level.height) for level in slide.header.levels] == expected


@pytest.mark.parametrize("size", SIZES)
def test_three_programs_read_the_pixels_that_were_written(size: tuple[int, int], tmp_path: Path) -> None:
    pixels = picture(*size)
    write(tmp_path / "a.ome.tif", pixels)
    with openslide.OpenSlide(tmp_path / "a.ome.tif") as theirs:
        assert np.array_equal(np.asarray(theirs.read_region((0, 0), 0, size))[..., :3], pixels)
    assert np.array_equal(tifffile.imread(tmp_path / "a.ome.tif"), pixels)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert np.array_equal(slide.read(slide.bounds), pixels)


def test_jpeg_keeps_its_colours_in_all_three(tmp_path: Path) -> None:
    """RGB handed over as YCbCr would come out magenta: each half must stay what it is, within JPEG's error."""
    pixels = np.full((300, 600, 3), (200, 60, 120), np.uint8)
    pixels[:, 300:] = (30, 90, 160)
    write(tmp_path / "a.ome.tif", pixels, PyramidOptions(quality=90))
    with openslide.OpenSlide(tmp_path / "a.ome.tif") as theirs, open_slide(tmp_path / "a.ome.tif") as slide:
        found = [
            np.asarray(theirs.read_region((0, 0), 0, (600, 300)))[..., :3],
            tifffile.imread(tmp_path / "a.ome.tif"),
            slide.read(slide.bounds),
        ]
    for image in found:
        # 600 px lie in tiles of 256: the border at 300 is inside a tile, and halved colour blurs it by a few px.
        difference = np.abs(image.astype(int) - pixels)
        assert np.delete(difference, np.s_[290:310], axis=1).max() <= 4


def test_every_level_is_the_finer_one_halved_by_area(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (777, 1001, 3), np.uint8)
    write(tmp_path / "a.ome.tif", pixels)
    finer = pixels.astype(float)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        for level in tiff.series[0].levels[1:]:
            found = level.asarray()
            height, width = found.shape[:2]
            even = finer[: height * 2, : width * 2]
            mean = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
            assert np.abs(found - mean).max() <= 0.5
            finer = found.astype(float)


def test_three_programs_agree_on_the_mpp(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", picture(600, 500))
    with openslide.OpenSlide(tmp_path / "a.ome.tif") as theirs:
        assert float(theirs.properties[openslide.PROPERTY_NAME_MPP_X]) == pytest.approx(0.5)
        assert float(theirs.properties[openslide.PROPERTY_NAME_MPP_Y]) == pytest.approx(0.51)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert 'PhysicalSizeX="0.5"' in (tiff.ome_metadata or "")
        assert 'PhysicalSizeY="0.51"' in (tiff.ome_metadata or "")
    assert open_slide(tmp_path / "a.ome.tif").mpp == pytest.approx((0.5, 0.51))


def test_an_unknown_mpp_stays_unknown(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.ome.tif", [picture(300, 300)], (300, 300))
    assert open_slide(tmp_path / "a.ome.tif").mpp is None
    with openslide.OpenSlide(tmp_path / "a.ome.tif") as theirs:
        assert openslide.PROPERTY_NAME_MPP_X not in theirs.properties


def test_the_icc_profile_is_kept(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "a.ome.tif", [picture(300, 300)], (300, 300), Facts(icc_profile=PROFILE))
    assert open_slide(tmp_path / "a.ome.tif").header.icc_profile == PROFILE


@pytest.mark.parametrize("options", [LOSSLESS, PyramidOptions()])
def test_how_the_rows_are_handed_over_does_not_matter(options: PyramidOptions, tmp_path: Path) -> None:
    """One band, one row at a time, odd heights: the same bytes; so too in a second run."""
    pixels = picture(700, 530)
    for number, height_px in enumerate((530, 1, 37, 256, 257, 530)):
        write(tmp_path / str(number) / "a.ome.tif", pixels, options, height_px)
    # The file's identity holds its folder's and its own name, so those are the same here.
    for number in range(6):
        (tmp_path / f"{number}").rename(tmp_path / "run")
        write(tmp_path / "run" / "a.ome.tif", pixels, options, (530, 1, 37, 256, 257, 530)[number])
        (tmp_path / "run").rename(tmp_path / f"{number}")
    written = {(tmp_path / str(number) / "a.ome.tif").read_bytes() for number in range(6)}
    assert len(written) == 1


@pytest.mark.parametrize("rows", [0, 100, 255, 256, 529, 531, 600, 768, 1200])
def test_too_few_or_too_many_rows_are_an_error_and_leave_no_file(rows: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"rows .* 530"):
        write_pyramid(tmp_path / "a.ome.tif", bands(picture(300, rows), 128), (300, 530))
    assert list(tmp_path.iterdir()) == []


def test_bands_of_another_width_are_an_error_and_leave_no_file(tmp_path: Path) -> None:
    for width in (299, 301):
        with pytest.raises(ValueError, match="300"):
            write_pyramid(tmp_path / "a.ome.tif", [picture(width, 530)], (300, 530))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("good", [0, 1, 3])
def test_a_reader_that_fails_on_the_way_leaves_nothing(good: int, tmp_path: Path) -> None:
    def failing() -> Iterator[Pixels]:
        yield from [picture(600, 256)] * good
        raise SlideError("a.svs: tile 7 cannot be decoded")

    with pytest.raises(SlideError, match="tile 7"):
        write_pyramid(tmp_path / "a.ome.tif", failing(), (600, 1024))
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    write(tmp_path / "a.ome.tif", picture(300, 300))
    before = (tmp_path / "a.ome.tif").read_bytes()
    with pytest.raises(ValueError, match="rows"):
        write_pyramid(tmp_path / "a.ome.tif", [], (300, 530))
    assert (tmp_path / "a.ome.tif").read_bytes() == before


def test_a_flat_slide_converted_holds_the_same_pixels(
    phantom_flat: Path, phantom_pixels: Pixels, tmp_path: Path
) -> None:
    told: list[float] = []
    with open_slide(phantom_flat) as slide:
        convert(slide, tmp_path / "a.ome.tif", ConvertOptions(codec="deflate"), told.append)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert np.array_equal(slide.read(slide.bounds), phantom_pixels)
        assert slide.mpp == pytest.approx((0.5, 0.5))
        assert len(slide.header.levels) == 4
    assert told == sorted(told)
    assert told[-1] == 1


def test_ingest_converts_only_what_cannot_be_read_at_random(
    phantom_flat: Path, phantom_jpeg: Path, tmp_path: Path
) -> None:
    flat, tiled = ingest(phantom_flat, tmp_path / "flat"), ingest(phantom_jpeg, tmp_path / "tiled")
    assert (flat.path, flat.source) == (str(tmp_path / "flat" / "slide.ome.tif"), str(phantom_flat))
    assert (tiled.path, tiled.source) == (str(phantom_jpeg), str(phantom_jpeg))
    assert [path.name for path in (tmp_path / "tiled").iterdir()] == ["slide.json"]
    assert SlideInfo.load(tmp_path / "flat" / "slide.json") == flat


def test_a_full_disk_is_told_before_a_byte_is_written(
    phantom_flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with open_slide(phantom_flat) as slide, pytest.raises(SlideError, match=r"GB needed .* 0\.0 GB free; make room"):
        convert(slide, tmp_path / "a.ome.tif")
    assert list(tmp_path.iterdir()) == []
