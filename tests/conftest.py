"""Slides that all tests share: one small phantom, written once in every format, and the real slides."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from coloured_tiles import write_folders
from hypothesis import settings
from ngff_images import halved, write_ngff
from numpy.typing import NDArray
from PIL import Image

from wsi.geometry import Box
from wsi.phantom import Phantom, PhantomSpec
from wsi.phantom.files import write_flat, write_tiled, write_zarr

# The same examples in every run, and no clock: a busy machine is no failure.
settings.register_profile("tesela", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("tesela")
# A store of runs takes seconds to make; tests/test_tracking.py has one.
os.environ["TESELA_TRACKING"] = "off"
# Not the models of who runs the tests.
os.environ["TESELA_MODELS"] = "/nonexistent/models"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: where tests run in several processes, none is left waiting for one long file."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured: `record_property("told", …)`, also where they ran in other processes."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            if name == "told" and report.when == "call":
                terminalreporter.write_line(str(value))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real slides. Without it a test skips and says so; in CI that is a failure."""
    folder = os.environ.get("TESELA_TEST_DATA")
    if folder:
        return Path(folder)
    if os.environ.get("CI") == "true":
        pytest.fail("TESELA_TEST_DATA is not set: CI must run on the real slides")
    pytest.skip("TESELA_TEST_DATA is not set: no real slides to test on")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small networks only wait for one another's threads, all the more beside other test processes."""
    import torch  # takes seconds, and few tests need it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of coloured tiles."""
    return write_folders(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="session")
def phantom() -> Phantom:
    """One piece of tissue with all eight classes; sides are no multiple of any native tile."""
    return Phantom(PhantomSpec(5, 1500, 1100, 0.5, pieces=1))


@pytest.fixture(scope="session")
def phantom_pixels(phantom: Phantom) -> NDArray[np.uint8]:
    """(1100, 1500, 3) RGB: what every lossless file of the phantom holds."""
    pixels = phantom.render(Box(0, 0, phantom.spec.width, phantom.spec.height))
    pixels.setflags(write=False)
    return pixels


@pytest.fixture(scope="session")
def phantom_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the phantom's files lie."""
    return tmp_path_factory.mktemp("phantom")


@pytest.fixture(scope="session")
def phantom_tiled(phantom: Phantom, phantom_dir: Path) -> Path:
    """A lossless tiled pyramid."""
    path = phantom_dir / "tiled.ome.tif"
    write_tiled(phantom, path, quality=0)
    return path


@pytest.fixture(scope="session")
def phantom_jpeg(phantom: Phantom, phantom_dir: Path) -> Path:
    """A tiled pyramid in JPEG, as scanners write."""
    path = phantom_dir / "jpeg.ome.tif"
    write_tiled(phantom, path)
    return path


@pytest.fixture(scope="session")
def phantom_flat(phantom: Phantom, phantom_dir: Path) -> Path:
    """Striped LZW without a pyramid."""
    path = phantom_dir / "flat.tif"
    write_flat(phantom, path)
    return path


@pytest.fixture(scope="session")
def phantom_zarr(phantom: Phantom, phantom_dir: Path) -> Path:
    """An OME-Zarr 0.5 folder."""
    path = phantom_dir / "phantom.ome.zarr"
    write_zarr(phantom, path)
    return path


@pytest.fixture(scope="session")
def phantom_zarr_04(phantom_pixels: NDArray[np.uint8], phantom_dir: Path) -> Path:
    """OME-Zarr 0.4 as bioformats2raw writes it: axes tczyx, a chunk to each channel, the image in the group "0"."""
    path = phantom_dir / "phantom-04.zarr"
    zarr.open_group(path, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    write_ngff(path, halved(phantom_pixels, 3), axes="tczyx", version="0.4", channels_apart=True, group="0")
    return path


@pytest.fixture(scope="session")
def phantom_zarr_sharded(phantom_pixels: NDArray[np.uint8], phantom_dir: Path) -> Path:
    """OME-Zarr 0.5, sharded, RGB interleaved."""
    path = phantom_dir / "phantom-sharded.ome.zarr"
    write_ngff(path, halved(phantom_pixels, 3), axes="yxc", chunk_px=128, shard_chunks=4)
    return path


@pytest.fixture(scope="session")
def phantom_zarr_odd(phantom_pixels: NDArray[np.uint8], phantom_dir: Path) -> Path:
    """OME-Zarr 0.5 whose axes are x, c, y, with chunks that do not divide the tiles."""
    path = phantom_dir / "phantom-odd.ome.zarr"
    write_ngff(path, halved(phantom_pixels, 3), axes="xcy", chunk_px=230)
    return path


@pytest.fixture(scope="session")
def phantom_png(phantom_pixels: NDArray[np.uint8], phantom_dir: Path) -> Path:
    """A PNG of 50,800 dots per inch: 0.5 mpp."""
    path = phantom_dir / "flat.png"
    Image.fromarray(phantom_pixels).save(path, dpi=(50_800, 50_800), compress_level=1)
    return path


@pytest.fixture(scope="session")
def phantom_jpg(phantom_pixels: NDArray[np.uint8], phantom_dir: Path) -> Path:
    """A JPEG of 50,800 dots per inch."""
    path = phantom_dir / "flat.jpg"
    Image.fromarray(phantom_pixels).save(path, dpi=(50_800, 50_800), quality=87)
    return path


@pytest.fixture(scope="session")
def finished_slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.tif and other.tif, of the same size, and in the folders a and other what the stages leave behind of each."""
    from finished_slides import make_slide  # it imports all stages, and few tests need them

    root = tmp_path_factory.mktemp("finished")
    for seed, name in ((81, "a"), (82, "other")):
        path = root / f"{name}.tif"
        write_tiled(Phantom(PhantomSpec(seed, 448, 384, 1.0, pieces=1, classes=("LYM", "STR"))), path)
        make_slide(root / name, path)
    return root
