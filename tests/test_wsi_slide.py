"""What `Slide` builds on any reader: regions too large to hold, and colours by profile."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms
from scipy.interpolate import interp1d

import wsi.slide
from wsi.errors import SlideError
from wsi.geometry import Box
from wsi.ingest import ingest
from wsi.shrink import shrunk
from wsi.slide import Slide, open_slide

Pixels = NDArray[np.uint8]


# Any region.


@pytest.fixture(scope="module")
def opened(phantom_tiled: Path) -> Iterator[Slide]:
    with open_slide(phantom_tiled) as slide:
        yield slide


places = st.integers(-400, 1900)
sides = st.integers(1, 700)


MARGIN_PX = 1200


@pytest.fixture(scope="module")
def wide(phantom_pixels: Pixels) -> Pixels:
    """The slide with white around it."""
    around = ((MARGIN_PX, MARGIN_PX), (MARGIN_PX, MARGIN_PX), (0, 0))
    return np.pad(phantom_pixels, around, constant_values=255)


def cut(wide: Pixels, box: Box) -> Pixels:
    return wide[box.y + MARGIN_PX : box.bottom + MARGIN_PX, box.x + MARGIN_PX : box.right + MARGIN_PX]


@given(x=places, y=st.integers(-400, 1500), width=sides, height=sides)
def test_any_box_is_cut_out_of_the_slide_with_white_around_it(
    opened: Slide, wide: Pixels, x: int, y: int, width: int, height: int
) -> None:
    box = Box(x, y, width, height)
    assert np.array_equal(opened.read(box), cut(wide, box))


@given(x=places, y=st.integers(-400, 1500), width=sides, height=sides, mpp=st.floats(0.5, 0.99))
def test_any_box_at_any_mpp_short_of_the_next_level_is_the_area_mean(
    opened: Slide, wide: Pixels, x: int, y: int, width: int, height: int, mpp: float
) -> None:
    box = Box(x, y, width, height)
    size = (max(1, round(width * 0.5 / mpp)), max(1, round(height * 0.5 / mpp)))
    expected = cv2.resize(cut(wide, box), size, interpolation=cv2.INTER_AREA)
    assert np.array_equal(opened.read(box, mpp), expected)


# Regions too large to hold.


@given(width=st.integers(1, 90), height=st.integers(1, 90), across=st.floats(0.01, 1), down=st.floats(0.01, 1))
def test_shrinking_by_blocks_gives_the_area_mean_of_every_pixel(
    width: int, height: int, across: float, down: float
) -> None:
    """Against a sum over the exact rectangle that each pixel covers."""
    pixels = np.random.default_rng(width).integers(0, 256, (height + 5, width + 3, 3), np.uint8)
    size = (max(1, round(width * across)), max(1, round(height * down)))

    def read(x: int, y: int, wide: int, high: int) -> Pixels:
        assert 3 <= x < x + wide <= 3 + width
        assert 5 <= y < y + high <= 5 + height
        return pixels[y : y + high, x : x + wide]

    found = shrunk(read, 3, 5, width, height, size)
    assert found.shape == (size[1], size[0], 3)
    sums = np.pad(pixels[5:, 3:].astype(float).cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    ys, xs = np.linspace(0, height, size[1] + 1), np.linspace(0, width, size[0] + 1)
    at_ys = interp1d(np.arange(height + 1), sums, axis=0)(ys)
    at = interp1d(np.arange(width + 1), at_ys, axis=1)(xs)
    means = np.diff(np.diff(at, axis=0), axis=1) * (size[0] * size[1] / (width * height))
    difference = np.abs(found - means)
    if min(width // size[0], height // size[1]) < 4:  # every cell is one pixel: nothing is shared
        assert difference.max() <= 0.51
    else:
        assert difference.mean() <= 8


def test_blocks_and_the_whole_give_the_same_thumbnail(
    phantom_flat: Path, phantom_pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,500 px to 100 are 15 whole ones; to 128 they are not, and every pixel still has its place."""
    monkeypatch.setattr(wsi.slide, "LARGEST_READ_PX", 1000)
    with open_slide(phantom_flat) as slide:
        for longest, worst in ((100, 24), (150, 2), (128, 24)):
            size = (longest, round(1100 * longest / 1500))
            expected = cv2.resize(phantom_pixels, size, interpolation=cv2.INTER_AREA)
            difference = np.abs(slide.thumbnail(longest).astype(int) - expected)
            assert difference.max() <= worst
            assert difference.mean() < 1


# Colours.


def profile_of(gamma: float) -> bytes:
    """An RGB profile of sRGB's primaries with another gamma, made by the profile connection of a grey curve."""
    curve = bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # sRGB's own parametric curves replaced: 'para' of type 3 becomes type 0, a plain power.
    value = int(gamma * 65536).to_bytes(4, "big")
    changed = curve
    at = changed.find(b"para")
    while at >= 0:
        changed = changed[: at + 8] + b"\0\0\0\0" + value + changed[at + 16 :]
        at = changed.find(b"para", at + 4)
    return changed


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide whose profile says that its grey of 128 is lighter than sRGB's."""
    path = tmp_path_factory.mktemp("icc") / "a.tif"
    pixels = np.full((300, 400, 3), 128, np.uint8)
    pixels[:, 200:] = (200, 100, 150)
    tifffile.imwrite(
        path,
        pixels,
        tile=(64, 64),
        photometric="rgb",
        iccprofile=profile_of(1.5),
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    return path


def by_pillow(pixels: Pixels, profile: bytes) -> Pixels:
    picture = ImageCms.profileToProfile(
        Image.fromarray(pixels), ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    )
    assert picture is not None
    return np.asarray(picture)


def test_pixels_are_as_stored_unless_the_profile_is_asked_for(dark: Path) -> None:
    with open_slide(dark) as stored, open_slide(dark, icc="srgb") as shown:
        box = Box(150, 100, 100, 50)
        plain, colours = stored.read(box), shown.read(box)
        assert tuple(plain[0, 0]) == (128, 128, 128)
        # 128 at gamma 1.5 is 0.356 of full light, which sRGB writes as 161.
        assert np.abs(colours[0, 0].astype(int) - 161).max() <= 2
        assert np.abs(colours.astype(int) - by_pillow(plain, profile_of(1.5))).max() <= 1
        assert (stored.info().icc, shown.info().icc) == ("as-is", "srgb")
        assert stored.info().has_icc_profile


def test_outside_the_slide_is_white_with_a_profile_too(dark: Path) -> None:
    with open_slide(dark, icc="srgb") as slide:
        assert (slide.read(Box(-20, -20, 20, 400)) == 255).all()


def test_the_choice_travels_with_the_slide_and_with_its_slide_json(dark: Path, tmp_path: Path) -> None:
    ingest(dark, tmp_path / "out", icc="srgb")
    with open_slide(tmp_path / "out" / "slide.json") as slide, open_slide(dark, icc="srgb") as direct:
        assert slide.icc == "srgb"
        assert np.array_equal(slide.read(slide.bounds), direct.read(direct.bounds))
        assert np.array_equal(pickle.loads(pickle.dumps(slide)).read(slide.bounds), direct.read(direct.bounds))


def test_a_converted_slide_keeps_its_pixels_and_profile_and_is_shown_through_it(dark: Path, tmp_path: Path) -> None:
    """Applied when reading, and only once: a profile applied when converting too would change colours twice."""
    flat = tmp_path / "flat.tif"
    tifffile.imwrite(
        flat,
        tifffile.imread(dark),
        photometric="rgb",
        compression="lzw",
        iccprofile=profile_of(1.5),
        resolution=(20000, 20000),
        resolutionunit="CENTIMETER",
    )
    info = ingest(flat, tmp_path / "out", icc="srgb")
    assert info.path.endswith("slide.ome.tif")
    with open_slide(tmp_path / "out" / "slide.json") as slide, open_slide(dark, icc="srgb") as direct:
        middle = Box(60, 60, 60, 60)
        assert np.abs(slide.read(middle).astype(int) - direct.read(middle)).max() <= 3


def test_without_a_profile_colours_stay_and_that_is_said(phantom_tiled: Path) -> None:
    with open_slide(phantom_tiled, icc="srgb") as slide, open_slide(phantom_tiled) as plain:
        assert np.array_equal(slide.read(Box(500, 400, 99, 99)), plain.read(Box(500, 400, 99, 99)))
        assert "no ICC profile" in slide.info().notes[-1]


def test_a_damaged_profile_is_an_error_only_where_it_is_to_be_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.zeros((64, 64, 3), np.uint8), photometric="rgb", iccprofile=b"a header of it: RGB " + b"rest " * 40
    )
    with open_slide(path) as slide:
        slide.read(slide.bounds)
    with pytest.raises(SlideError, match=r"a\.tif: its ICC profile cannot be applied .* `icc: as-is`"):
        open_slide(path, icc="srgb")
