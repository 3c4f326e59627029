"""One contract for every reader: the same tests run for each on each kind of file."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray

from wsi.errors import InputError, MppError, SlideError
from wsi.fingerprint import fingerprint
from wsi.geometry import Box
from wsi.phantom import Phantom
from wsi.phantom.files import write_flat, write_tiled
from wsi.readers import open_reader
from wsi.readers.openslide import OpenSlideReader
from wsi.slide import Slide, open_slide
from wsi.slideinfo import SlideInfo

Pixels = NDArray[np.uint8]
WIDTH, HEIGHT = 1500, 1100


@dataclass(frozen=True)
class Case:
    """A reader on a file. off: mean error allowed, in grey levels; 0 is equality."""

    slide: Slide
    open: Callable[[], Slide]
    reader: str
    level_sizes: tuple[tuple[int, int], ...]
    off: float


PYRAMID = ((1500, 1100), (750, 550), (375, 275), (187, 137))
CASES = {
    "tiff lossless": ("phantom_tiled", "tiff", PYRAMID, 0),
    # Quality 87, halved colour: 1.8 measured over the slide, 3.1 over its last level, 4.4 in the worst box of tissue.
    "tiff jpeg": ("phantom_jpeg", "tiff", PYRAMID, 5),
    "tiff flat": ("phantom_flat", "tiff", PYRAMID[:1], 0),
    "ome-zarr": ("phantom_zarr", "ome-zarr", PYRAMID[:3], 0),
    "ome-zarr 0.4": ("phantom_zarr_04", "ome-zarr", PYRAMID[:3], 0),
    "ome-zarr sharded": ("phantom_zarr_sharded", "ome-zarr", PYRAMID[:3], 0),
    "ome-zarr odd axes": ("phantom_zarr_odd", "ome-zarr", PYRAMID[:3], 0),
    "flat png": ("phantom_png", "picture", PYRAMID[:1], 0),
    "flat jpeg": ("phantom_jpg", "picture", PYRAMID[:1], 5),
    "openslide": ("phantom_tiled", "openslide", PYRAMID, 0),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    fixture, reader, sizes, off = CASES[request.param]
    path: Path = request.getfixturevalue(fixture)

    def opened() -> Slide:
        if reader != "openslide":
            return open_slide(path)
        found = OpenSlideReader.open(path)
        assert found is not None
        return Slide(path, found)

    with opened() as slide:
        yield Case(slide, opened, reader, sizes, off)


def random_boxes(count: int, seed: int, over_px: int = 0) -> list[Box]:
    """Boxes inside the phantom, or reaching up to `over_px` out of it."""
    rng = np.random.default_rng(seed)
    boxes = []
    for width, height in rng.integers(1, 400, (count, 2)).tolist():
        x = int(rng.integers(-over_px, WIDTH - width + over_px + 1))
        y = int(rng.integers(-over_px, HEIGHT - height + over_px + 1))
        boxes.append(Box(x, y, width, height))
    return boxes


def oracle(pixels: Pixels, box: Box) -> Pixels:
    """The box cut out of a slide with endless white around it."""
    out = np.full((box.height, box.width, 3), 255, np.uint8)
    rows, cols = np.arange(box.y, box.bottom), np.arange(box.x, box.right)
    in_rows, in_cols = (rows >= 0) & (rows < len(pixels)), (cols >= 0) & (cols < pixels.shape[1])
    out[np.ix_(in_rows, in_cols)] = pixels[np.ix_(rows[in_rows], cols[in_cols])]
    return out


def agree(found: Pixels, expected: Pixels, off: float) -> bool:
    if off == 0:
        return np.array_equal(found, expected)
    difference = np.abs(found.astype(int) - expected)
    return found.shape == expected.shape and bool(difference.mean() <= off)


def test_the_fastest_reader_that_understands_the_file_is_chosen(case: Case) -> None:
    chosen = open_reader(case.slide.path).name
    assert chosen == ("tiff" if case.reader == "openslide" else case.reader)
    assert case.slide.reader_name == case.reader


def test_levels_have_the_sizes_written_and_whole_downsamples(case: Case) -> None:
    levels = case.slide.header.levels
    assert tuple((level.width, level.height) for level in levels) == case.level_sizes
    assert [level.downsample for level in levels] == [2**i for i in range(len(levels))]
    assert case.slide.size == (WIDTH, HEIGHT)


def test_the_whole_slide_is_the_array_written(case: Case, phantom_pixels: Pixels) -> None:
    found = case.slide.read(case.slide.bounds)
    assert found.dtype == np.uint8
    assert agree(found, phantom_pixels, case.off)


def test_any_region_is_that_part_of_the_whole(case: Case) -> None:
    whole = case.slide.read(case.slide.bounds)
    for box in [*random_boxes(25, 1), Box(0, 0, 1, 1), Box(WIDTH - 1, HEIGHT - 1, 1, 1)]:
        assert np.array_equal(case.slide.read(box), oracle(whole, box)), box


def test_outside_the_slide_is_white(case: Case) -> None:
    whole = case.slide.read(case.slide.bounds)
    for box in [*random_boxes(15, 2, over_px=150), Box(-20, -30, WIDTH + 50, HEIGHT + 60)]:
        assert np.array_equal(case.slide.read(box), oracle(whole, box)), box
    for box in (Box(-300, 5, 300, 10), Box(WIDTH, 0, 10, 10), Box(0, HEIGHT, 9, 9), Box(10**7, -(10**7), 4, 4)):
        assert (case.slide.read(box) == 255).all(), box


def test_every_level_can_be_read_whole(case: Case) -> None:
    """And holds the level above it, halved by area: no level is swapped or shifted."""
    for level in case.slide.header.levels[1:]:
        size = (level.width, level.height)
        scale = int(level.downsample)
        box = Box(0, 0, size[0] * scale, size[1] * scale)
        # Each halving rounds: half a grey level a step.
        expected = cv2.resize(case.slide.read(box), size, interpolation=cv2.INTER_AREA)
        found = case.slide.read_to(box, size)
        assert found.shape == (size[1], size[0], 3)
        difference = np.abs(found.astype(int) - expected)
        assert difference.mean() <= max(case.off, 0.6)
        assert case.off or difference.max() <= 2


def test_half_the_mpp_is_the_mean_of_four_pixels(case: Case, phantom_pixels: Pixels) -> None:
    for box in random_boxes(10, 3):
        even = Box(box.x // 2 * 2, box.y // 2 * 2, box.width // 2 * 2 + 2, box.height // 2 * 2 + 2)
        cut = oracle(phantom_pixels, even).astype(float)
        if even.right > WIDTH or even.bottom > HEIGHT:
            continue
        expected = (cut[::2, ::2] + cut[1::2, ::2] + cut[::2, 1::2] + cut[1::2, 1::2]) / 4
        found = case.slide.read(even, mpp=1.0)
        assert found.shape == expected.shape
        difference = np.abs(found - expected)
        assert (difference.mean() if case.off else difference.max()) <= max(1, case.off)


@pytest.mark.parametrize("mpp", [0.7, 0.61, 1.3, 3.3])
def test_at_any_mpp_the_size_is_the_boxs_in_um_and_the_picture_the_area_mean(
    case: Case, phantom_pixels: Pixels, mpp: float
) -> None:
    box = Box(320, 240, 640, 480)
    found = case.slide.read(box, mpp)
    size = (round(640 * 0.5 / mpp), round(480 * 0.5 / mpp))
    assert found.shape == (size[1], size[0], 3)
    expected = cv2.resize(oracle(phantom_pixels, box), size, interpolation=cv2.INTER_AREA)
    difference = np.abs(found.astype(int) - expected)
    # From a reduced level, two output pixels that cut one of its pixels share its mean: 1.8 measured at 3.3.
    assert difference.mean() <= max(2.2 if mpp > 1 else 0.1, case.off)


def test_finer_than_the_slide_is_interpolated_to_the_right_size(case: Case) -> None:
    assert case.slide.read(Box(700, 500, 50, 40), mpp=0.25).shape == (80, 100, 3)


def test_a_thumbnail_keeps_the_slides_shape(case: Case) -> None:
    assert case.slide.thumbnail(300).shape == (220, 300, 3)
    assert case.slide.thumbnail(10**6).shape == (HEIGHT, WIDTH, 3)


def test_eight_threads_read_what_one_reads(case: Case) -> None:
    boxes = random_boxes(40, 4, over_px=50)
    alone = [case.slide.read(box) for box in boxes]
    with case.open() as fresh, ThreadPoolExecutor(8) as pool:
        together = list(pool.map(fresh.read, boxes))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_slide_pickles_as_its_path_and_mpp(case: Case) -> None:
    with pickle.loads(pickle.dumps(case.slide)) as again:
        assert (again.path, again.mpp) == (case.slide.path, case.slide.mpp)
        assert np.array_equal(again.read(Box(500, 300, 99, 88)), case.slide.read(Box(500, 300, 99, 88)))


def test_a_forked_process_reads_on(case: Case) -> None:
    """Also through the slide its parent had open and had read from, in threads that the child does not have."""
    box = Box(100, 100, 1000, 800)
    mine = case.slide.read(box)
    receive, send = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: send.send((case.slide.read(box).tobytes(), case.slide.thumbnail(200).shape)),
        daemon=True,
    )
    child.start()
    if not receive.poll(30):
        child.kill()
        pytest.fail("the child hangs")
    theirs, shape = receive.recv()
    child.join(10)
    assert child.exitcode == 0
    assert theirs == mine.tobytes()
    assert shape == (147, 200, 3)


def _read_all(slides: list[Slide], box: Box) -> list[bytes]:
    return [slide.read(box).tobytes() for slide in slides]


def test_a_spawned_process_reads_the_same(phantom_tiled: Path, phantom_flat: Path, phantom_zarr: Path) -> None:
    slides = [open_slide(path, 0.5) for path in (phantom_tiled, phantom_flat, phantom_zarr)]
    box = Box(300, 200, 500, 400)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(_read_all, (slides, box)).get(60) == _read_all(slides, box)


def test_two_hundred_opens_leave_no_descriptor_behind(case: Case) -> None:
    def held() -> int:
        gc.collect()
        return len(os.listdir("/dev/fd"))

    case.open().read(Box(0, 0, 8, 8))
    before = held()
    for number in range(200):
        slide = case.open()
        if number % 10 == 0:
            slide.read(Box(700, 500, 8, 8))
        if number % 2:
            slide.close()
        del slide
    assert held() <= before + 2


def test_the_mpp_of_the_file_is_found(case: Case) -> None:
    assert case.slide.mpp == pytest.approx((0.5, 0.5), rel=1e-6)
    assert case.slide.info().mpp_source == "file"


def test_info_says_what_ingest_found_and_comes_back_from_its_file(case: Case, tmp_path: Path) -> None:
    info = case.slide.info()
    assert (info.width, info.height, info.reader) == (WIDTH, HEIGHT, case.reader)
    assert info.random_access == ("flat" not in case.slide.name)
    assert info.fingerprint == fingerprint(case.slide.path)
    info.write(tmp_path / "slide.json")
    assert SlideInfo.load(tmp_path / "slide.json") == info
    with open_slide(tmp_path / "slide.json") as again:
        assert again.path == case.slide.path


# mpp: from the file, given, or unknown; never guessed.


def test_an_mpp_given_by_hand_wins_over_the_file(phantom_tiled: Path) -> None:
    with open_slide(phantom_tiled, 0.25) as slide:
        assert slide.mpp == (0.25, 0.25)
        assert slide.info().mpp_source == "given"
        assert slide.read(Box(0, 0, 100, 60), mpp=0.5).shape == (30, 50, 3)


def test_a_given_mpp_survives_slide_json_and_pickling(phantom_tiled: Path, tmp_path: Path) -> None:
    with open_slide(phantom_tiled, (0.25, 0.3)) as slide:
        slide.info().write(tmp_path / "slide.json")
        assert pickle.loads(pickle.dumps(slide)).mpp == (0.25, 0.3)
    assert open_slide(tmp_path / "slide.json").mpp == (0.25, 0.3)


@pytest.mark.parametrize("write", [write_tiled, write_flat])
def test_an_unknown_mpp_is_an_error_once_it_is_needed(
    write: Callable[..., None], phantom: Phantom, tmp_path: Path
) -> None:
    write(phantom, tmp_path / "a.tif", with_mpp=False)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp is None
        assert slide.info().mpp_source == "unknown"
        assert slide.read(Box(0, 0, 5, 5)).shape == (5, 5, 3)
        with pytest.raises(MppError, match=r"a\.tif: no mpp in the file; give it by hand \(--mpp"):
            slide.read(Box(0, 0, 5, 5), mpp=0.5)


@pytest.mark.parametrize("mpp", [0.0, -0.5, 5000.0, float("nan")])
def test_an_impossible_mpp_is_refused(phantom_tiled: Path, mpp: float) -> None:
    with pytest.raises(MppError, match="not possible"):
        open_slide(phantom_tiled, mpp)


def test_ninety_six_dots_per_inch_is_no_mpp_and_that_is_said(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((32, 32, 3), np.uint8), resolution=(96, 96), resolutionunit="INCH")
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp is None
        assert "96 dots per inch" in slide.info().notes[0]


def test_resolution_per_inch_and_per_centimetre_are_both_understood(tmp_path: Path) -> None:
    for unit, per_unit in (("INCH", 25_400 / 0.5), ("CENTIMETER", 10_000 / 0.5)):
        pixels = np.zeros((32, 32, 3), np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", pixels, resolution=(per_unit, per_unit / 1.04), resolutionunit=unit)
        assert open_slide(tmp_path / "a.tif").mpp == pytest.approx((0.5, 0.52), rel=1e-4)


@pytest.mark.parametrize(("unit", "factor"), [("µm", 1), ("nm", 1000), ("mm", 0.001)])
def test_ome_xml_gives_mpp_in_its_own_unit(tmp_path: Path, unit: str, factor: float) -> None:
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.5 * factor, "PhysicalSizeXUnit": unit}
    metadata |= {"PhysicalSizeY": 0.48 * factor, "PhysicalSizeYUnit": unit}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((32, 32, 3), np.uint8), ome=True, metadata=metadata)
    assert open_slide(tmp_path / "a.ome.tif").mpp == pytest.approx((0.5, 0.48))


def test_a_slide_json_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "slide.json").write_text('{"levels": []}')
    with pytest.raises(InputError, match=r"not a slide\.json"):
        open_slide(tmp_path / "slide.json")


# Pixel layouts that are no 8-bit RGB. Truth: what the same picture looks like on a screen.


@pytest.fixture(scope="module")
def grey() -> Pixels:
    return np.random.default_rng(6).integers(0, 256, (200, 300), np.uint8)


TILED = [None, (64, 64)]


@pytest.mark.parametrize("tile", TILED)
def test_grey_becomes_rgb(grey: Pixels, tile: tuple[int, int] | None, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="minisblack", tile=tile)
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(slide.bounds), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("tile", TILED)
def test_miniswhite_is_turned_round(grey: Pixels, tile: tuple[int, int] | None, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", 255 - grey, photometric="miniswhite", tile=tile)
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(slide.bounds)[..., 0], grey)


@pytest.mark.parametrize("tile", TILED)
def test_sixteen_bits_keep_their_upper_byte_and_say_so(
    grey: Pixels, tile: tuple[int, int] | None, tmp_path: Path
) -> None:
    rgb = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2)
    tifffile.imwrite(tmp_path / "a.tif", rgb.astype(np.uint16) * 257, photometric="rgb", tile=tile)
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(slide.bounds), rgb)
        assert "16 bits" in slide.info().notes[0]


@pytest.mark.parametrize("tile", TILED)
def test_transparent_pixels_lie_on_white(grey: Pixels, tile: tuple[int, int] | None, tmp_path: Path) -> None:
    rgba = np.stack([grey, grey[::-1], grey[:, ::-1], np.where(grey > 99, 255, 0)], axis=2).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"], tile=tile)
    with open_slide(tmp_path / "a.tif") as slide:
        found = slide.read(slide.bounds)
    assert np.array_equal(found[grey > 99], rgba[..., :3][grey > 99])
    assert (found[grey <= 99] == 255).all()


@pytest.mark.parametrize("tile", TILED)
def test_a_palette_is_looked_up(grey: Pixels, tile: tuple[int, int] | None, tmp_path: Path) -> None:
    palette = np.random.default_rng(7).integers(0, 256, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", grey, photometric="palette", colormap=palette * 257, tile=tile)
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(slide.bounds), palette.T[grey])


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (np.zeros((64, 64), np.float32), {}),
        (np.zeros((64, 64, 3), np.int16), {"photometric": "rgb"}),
        (np.zeros((64, 64, 3), np.uint8), {"photometric": "cielab"}),
    ],
)
def test_pixels_that_are_no_colour_picture_are_refused_with_the_remedy(
    pixels: NDArray[np.generic], options: dict[str, str], tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with pytest.raises(SlideError, match=r"a\.tif: .* not supported; convert it"):
        open_slide(tmp_path / "a.tif")


@pytest.mark.parametrize("length", [0, 99])
def test_a_sparse_tile_is_white(length: int, tmp_path: Path) -> None:
    """Scanners leave tiles of glass out of the file: offset 0, and mostly length 0."""
    path = tmp_path / "a.tif"
    pixels = np.full((128, 128, 3), 90, np.uint8)
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="adobe_deflate")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tags = tiff.pages.first.tags
        offsets, counts = list(tags["TileOffsets"].value), list(tags["TileByteCounts"].value)
        offsets[1], counts[1] = 0, length
        tags["TileOffsets"].overwrite(offsets)
        tags["TileByteCounts"].overwrite(counts)
    pixels[:64, 64:] = 255
    with open_slide(path) as slide:
        assert np.array_equal(slide.read(slide.bounds), pixels)


# Real slides.


def real_slides(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "slides").iterdir() if path.is_file())


@pytest.mark.real
def test_every_real_slide_opens_and_reads(real_data: Path) -> None:
    for path in real_slides(real_data):
        with open_slide(path) as slide:
            picture = slide.thumbnail(256)
            assert max(picture.shape[:2]) == 256, path.name
            assert 60 < picture.mean() < 252, path.name
            right, bottom = slide.size[0] - 20, slide.size[1] - 20
            assert (slide.read(Box(right, bottom, 40, 40))[20:] == 255).all(), path.name


@pytest.mark.real
def test_real_slides_read_as_openslide_reads_them(real_data: Path) -> None:
    compared = 0
    for path in real_slides(real_data):
        if openslide.OpenSlide.detect_format(path) is None:
            continue
        theirs = OpenSlideReader.open(path)
        assert theirs is not None
        with open_slide(path) as slide, Slide(path, theirs) as other:
            assert slide.size == other.size, path.name
            assert [level.downsample for level in slide.header.levels] == [
                level.downsample for level in other.header.levels
            ], path.name
            assert slide.mpp == (other.mpp and pytest.approx(other.mpp, rel=1e-3)), path.name
            rng = np.random.default_rng(8)
            for _ in range(6):
                x, y = int(rng.integers(0, slide.size[0] - 200)), int(rng.integers(0, slide.size[1] - 200))
                box = Box(x, y, 200, 200)
                assert np.abs(slide.read(box).astype(int) - other.read(box)).max() <= 2, (path.name, box)
        compared += 1
    assert compared >= 7


@pytest.mark.real
def test_a_real_slide_without_mpp_has_none(real_data: Path) -> None:
    assert open_slide(real_data / "slides/tcga-cr-7395-01a-01-ts1.svs").mpp is None
    # From the file's own text: MPP = 0.4990.
    assert open_slide(real_data / "slides/cmu-1-small-region.svs").mpp == (0.499, 0.499)


@pytest.mark.real
def test_label_and_macro_pictures_are_no_levels(real_data: Path) -> None:
    with open_slide(real_data / "slides/cmu-1-small-region.svs") as slide:
        assert [(level.width, level.height) for level in slide.header.levels] == [(2220, 2967)]


@pytest.mark.real
def test_openslide_hands_out_label_macro_thumbnail_and_text(real_data: Path) -> None:
    path = real_data / "slides/cmu-1-small-region.svs"
    reader = OpenSlideReader.open(path)
    assert reader is not None
    with Slide(path, reader):
        shapes = {name: picture.shape for name, picture in reader.associated().items()}
        assert shapes == {"label": (463, 387, 3), "macro": (431, 1280, 3), "thumbnail": (768, 574, 3)}
        assert reader.native(0) is None
        assert reader.header.description.startswith("Aperio Image Library")


@pytest.mark.real
def test_a_dicom_slide_survives_pickling_and_fork(real_data: Path) -> None:
    with open_slide(real_data / "slides/dicom-jpeg.dcm") as slide:
        assert slide.reader_name == "openslide"
        box = Box(100, 100, 300, 300)
        mine = slide.read(box)
        with pickle.loads(pickle.dumps(slide)) as again:
            assert np.array_equal(again.read(box), mine)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply_async(_read_all, ([slide], box)).get(30) == [mine.tobytes()]
