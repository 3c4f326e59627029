"""Slides of 10¹⁰ px, ten thousand opens, worker processes: memory and descriptors stay bounded."""

from __future__ import annotations

import math
import multiprocessing
import subprocess
import sys
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.fuzzing import tiffbytes as t
from tests.fuzzing.tiffbytes import Page, Tag, rgb_page, write_tiff
from wsi.geometry import Box
from wsi.slide import Slide, open_slide

SIDE, TILE, PATTERN = 100_000, 512, 4
MPP = 0.25
LIMIT_MB = 400


def shared_page(side: int, tiles: tuple[bytes, ...], mpp: float) -> Page:
    """A square page whose tiles all point at a few streams: a square pattern of tiles, again and again."""
    made = rgb_page((side, side), (TILE, TILE), tiles[:1], 7, 6)
    period, columns = math.isqrt(len(tiles)), -(-side // TILE)
    rows, cols = np.divmod(np.arange(len(made.cells)), columns)
    cells = rows % period * period + cols % period
    resolution = Tag(t.RATIONAL, [round(1e7 / mpp), 1_000])
    tags = {t.X_RESOLUTION: resolution, t.Y_RESOLUTION: resolution, t.RESOLUTION_UNIT: Tag(t.SHORT, [3])}
    return Page({**made.tags, **tags}, tiles, tuple(cells.tolist()))


def streams(level: int = 0) -> tuple[bytes, ...]:
    """The pattern of a level as JPEG tiles, smooth as tissue is; of level 0, sixteen of about 20 KB each.

    Each level's pattern is that of level 0, shrunk: a reduced level that showed something else would not be used.
    """
    side = PATTERN * TILE
    coarse = np.random.default_rng(1).integers(90, 240, (side // 8, side // 8, 3), np.uint8)
    pattern = coarse.repeat(8, 0).repeat(8, 1)
    shrunk = cv2.resize(pattern, (side >> level, side >> level), interpolation=cv2.INTER_AREA)
    period = max(1, PATTERN >> level)
    copies = period * TILE // len(shrunk)
    whole = np.tile(shrunk, (copies, copies, 1))
    options = {"level": 80, "colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": "420"}
    starts = range(0, period * TILE, TILE)
    tiles = (np.ascontiguousarray(whole[y : y + TILE, x : x + TILE]) for y in starts for x in starts)
    return tuple(bytes(imagecodecs.jpeg8_encode(tile, **options)) for tile in tiles)


@pytest.fixture(scope="module")
def giants(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By kind: one level alone, and a pyramid."""
    folder = tmp_path_factory.mktemp("giants")
    pages = [shared_page(SIDE >> level, streams(level), MPP * 2**level) for level in range(9)]
    pages[1:] = [page.with_tags({254: Tag(t.LONG, [1])}) for page in pages[1:]]
    paths = {"single level": folder / "single.tif", "pyramid": folder / "pyramid.tif"}
    paths["single level"].write_bytes(write_tiff(pages[:1], big=True))
    paths["pyramid"].write_bytes(write_tiff(pages, big=True))
    return paths


# Runs alone in its process, so that the peak is its own.
READ_AT_RANDOM = """
import sys
import numpy as np
from wsi.geometry import Box
from wsi.memory import peak_rss_bytes
from wsi.slide import open_slide

path, finest_mpp, coarsest_mpp, longest_px, reads = sys.argv[1], *map(float, sys.argv[2:])
rng = np.random.default_rng(1)
with open_slide(path) as slide:
    assert slide.size == (100_000, 100_000), slide.size
    thumbnail = slide.thumbnail(int(longest_px))
    assert max(thumbnail.shape) == longest_px
    assert 90 < thumbnail.mean() < 240
    for number in range(int(reads)):
        side, x, y = rng.integers(256, 1025), *rng.integers(0, 99_000, 2)
        mpp = None if number % 2 else float(np.exp(rng.uniform(np.log(finest_mpp), np.log(coarsest_mpp))))
        scale = 1 if mpp is None else mpp / 0.25
        box = Box(int(x), int(y), round(side * scale), round(side * scale))
        pixels = slide.read(box, mpp)
        assert abs(max(pixels.shape) - side) <= 1, (pixels.shape, side)
print(peak_rss_bytes() / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("reads", [60, pytest.param(1_000, marks=pytest.mark.acceptance)])
@pytest.mark.parametrize(("kind", "coarsest_mpp"), [("single level", 1.0), ("pyramid", 16.0)])
def test_a_slide_of_ten_gigapixels_takes_under_400_mb(
    giants: dict[str, Path], kind: str, coarsest_mpp: float, reads: int
) -> None:
    """Open, thumbnail, random reads of 256 to 1,024 px, half of them at a coarser mpp: caches fill within sixty."""
    path = giants[kind]
    with open_slide(path) as slide:
        assert slide.unused_levels == ()
    assert path.stat().st_size < 6e6
    command = [sys.executable, "-c", READ_AT_RANDOM, str(path), str(MPP), str(coarsest_mpp), "1024", str(reads)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < LIMIT_MB


def test_a_giant_reads_as_its_tiles_say(giants: dict[str, Path]) -> None:
    """At the far corner, beyond what 32-bit arithmetic holds."""
    page = shared_page(SIDE, streams(), MPP)
    last = (SIDE - 1) // TILE
    columns = last + 1
    tile = imagecodecs.jpeg8_decode(page.tiles[page.cells[last * columns + last] or 0])
    visible = SIDE - last * TILE
    with open_slide(giants["single level"]) as slide:
        found = slide.read(Box(last * TILE, last * TILE, TILE, TILE))
    assert np.abs(found[:visible, :visible].astype(int) - tile[:visible, :visible]).max() <= 2
    assert (found[visible:] == 255).all()


# --- Many opens -------------------------------------------------------------------------------------------------------


def write_vms(folder: Path, pixels: NDArray[np.uint8]) -> Path:
    """A Hamamatsu VMS slide: text, and JPEG files with restart markers. Only OpenSlide opens it.

    pixels: sides a multiple of 256, so that restarts of 64 px lie evenly in the map, too.
    """
    options = {"quality": 95, "subsampling": 0, "restart_marker_blocks": 8}
    for name, step in (("image", 1), ("map", 4), ("macro", 8)):
        Image.fromarray(pixels[::step, ::step]).save(folder / f"{name}.jpg", **options)
    counts = ["NoLayers=1", "NoJpegColumns=1", "NoJpegRows=1", "SourceLens=20"]
    sizes = [f"PhysicalWidth={pixels.shape[1] * 500}", f"PhysicalHeight={pixels.shape[0] * 500}"]
    files = ["ImageFile=image.jpg", "MapFile=map.jpg", "MacroImage=macro.jpg"]
    path = folder / "slide.vms"
    path.write_text("\n".join(["[Virtual Microscope Specimen]", *counts, *sizes, *files, ""]))
    return path


@pytest.fixture(scope="module")
def vms(tmp_path_factory: pytest.TempPathFactory, phantom_pixels: NDArray[np.uint8]) -> Path:
    return write_vms(tmp_path_factory.mktemp("vms"), phantom_pixels[:1024, :1024])


@pytest.fixture(scope="module")
def small_slides(tmp_path_factory: pytest.TempPathFactory, vms: Path, phantom_zarr: Path) -> dict[str, Path]:
    """By the reader that opens it."""
    path = tmp_path_factory.mktemp("small") / "small.tif"
    path.write_bytes(write_tiff([rgb_page((TILE, TILE), (TILE, TILE), streams()[:1], 7, 6)]))
    return {"tiff": path, "openslide": vms, "ome-zarr": phantom_zarr}


def test_what_only_openslide_opens_reads_as_it_was_written(vms: Path, phantom_pixels: NDArray[np.uint8]) -> None:
    with open_slide(vms) as slide:
        assert slide.reader_name == "openslide"
        assert slide.size == (1024, 1024)
        assert slide.mpp == (0.5, 0.5)
        off = np.abs(slide.read(Box(100, 200, 700, 600)).astype(int) - phantom_pixels[200:800, 100:800])
        assert off.mean() < 2


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(
    ("reader", "opens"),
    [
        ("tiff", 500),
        ("openslide", 500),
        ("ome-zarr", 100),
        pytest.param("tiff", 10_000, marks=pytest.mark.acceptance),
        pytest.param("openslide", 10_000, marks=pytest.mark.acceptance),
        pytest.param("ome-zarr", 1000, marks=pytest.mark.acceptance),
    ],
)
def test_opening_again_and_again_leaks_neither_descriptors_nor_memory(
    reader: str, opens: int, closed: bool, small_slides: dict[str, Path]
) -> None:
    """Slides that nobody closes too: a notebook never does."""
    process = psutil.Process()

    def use() -> None:
        slide = open_slide(small_slides[reader])
        slide.read(Box(0, 0, 8, 8))
        assert slide.reader_name == reader
        if closed:
            slide.close()

    # The caches fill first: they are bounded, but larger than what a leak would be.
    for _ in range(max(50, opens // 10)):
        use()
    descriptors, held = process.num_fds(), process.memory_info().rss
    for _ in range(opens):
        use()
    assert process.num_fds() <= descriptors + 2
    assert process.memory_info().rss - held < 150e6


# --- Workers ----------------------------------------------------------------------------------------------------------

REGIONS = 500


def regions() -> list[tuple[Box, float | None]]:
    """Boxes on and around the phantom of 1500 × 1100 px at 0.5 mpp, half of them at another mpp."""
    rng = np.random.default_rng(5)
    drawn = rng.integers((-100, -100, 1, 1), (1500, 1100, 200, 200), (REGIONS, 4)).tolist()
    return [(Box(*box), float(rng.uniform(0.5, 6)) if i % 2 else None) for i, box in enumerate(drawn)]


_slide: Slide | None = None


def take(slide: Slide) -> None:
    """The pool's initialiser: a slide comes by pickle (spawn) or by the parent's memory (fork)."""
    global _slide
    _slide = slide


def read_in_worker(region: tuple[Box, float | None]) -> tuple[tuple[int, ...], bytes]:
    assert _slide is not None
    pixels = _slide.read(*region)
    return pixels.shape, pixels.tobytes()


# Each kind is read in a forked worker; begun anew, what differs is how slides are pickled, whatever they are.
@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("phantom_tiled", "fork"),
        ("phantom_jpeg", "fork"),
        ("phantom_zarr", "fork"),
        ("vms", "fork"),
        ("phantom_jpeg", "spawn"),
        pytest.param("phantom_tiled", "spawn", marks=pytest.mark.acceptance),
        pytest.param("phantom_zarr", "spawn", marks=pytest.mark.acceptance),
        pytest.param("vms", "spawn", marks=pytest.mark.acceptance),
    ],
)
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_workers_read_what_their_parent_reads(kind: str, start: str, request: pytest.FixtureRequest) -> None:
    """500 regions in 2 workers, from a slide that the parent has used already."""
    with open_slide(request.getfixturevalue(kind)) as slide:
        own = [slide.read(*region) for region in regions()]
        with multiprocessing.get_context(start).Pool(2, take, (slide,)) as pool:
            theirs = pool.map(read_in_worker, regions(), chunksize=25)
        assert all(found == (pixels.shape, pixels.tobytes()) for found, pixels in zip(theirs, own, strict=True))
        # The parent goes on as if nothing had been.
        assert np.array_equal(slide.read(*regions()[0]), own[0])
