"""Broken files: one clear line that names the file, as a WsiError. Never another exception, a hang or a crash."""

from __future__ import annotations

import json
import shutil
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi.errors import SlideError, WsiError
from wsi.geometry import Box
from wsi.ingest import ingest
from wsi.slide import open_slide


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A test of this file that is not done in a minute fails."""

    def late(*_: object) -> None:
        raise AssertionError("a damaged file held the reader for a minute")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A healthy 200 × 160 px tiled TIFF, deflate."""
    pixels = np.random.default_rng(1).integers(0, 256, (160, 200, 3), np.uint8)
    path = tmp_path / "small.tif"
    resolution = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(64, 64), photometric="rgb", compression="adobe_deflate", **resolution)
    return path


def use(path: Path) -> None:
    """What every stage does first."""
    with open_slide(path) as slide:
        slide.read(Box(0, 0, 64, 64))
        slide.thumbnail(64)
        slide.info()


def refusal(path: Path) -> str | None:
    """The message with which the file is refused, by a WsiError; None where it reads."""
    try:
        use(path)
    except WsiError as error:
        return str(error)
    return None


def refuses(path: Path) -> str:
    """The message with which the file is refused: one line, with its name."""
    message = refusal(path)
    assert message is not None
    assert path.name in message
    assert "\n" not in message
    return message


def retag(path: Path, name: str, value: object) -> None:
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.first.tags[name].overwrite(value)


def test_a_healthy_file_is_not_refused(small: Path) -> None:
    use(small)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refuses(tmp_path / "gone.svs")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").touch()
    assert "empty" in refuses(tmp_path / "empty.svs")


@pytest.mark.parametrize("name", ["notes.tif", "notes.svs", "notes.mrxs", "notes.dcm", "notes.txt"])
def test_a_text_with_the_name_of_a_slide(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("This is not a slide.\n" * 50)
    assert "not a slide" in refuses(tmp_path / name)


def test_a_folder_that_is_no_zarr(tmp_path: Path) -> None:
    (tmp_path / "slides.zarr").mkdir()
    refuses(tmp_path / "slides.zarr")


def test_the_header_of_a_tiff_alone(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    refuses(tmp_path / "a.tif")


def test_a_tiff_without_an_image(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 0))
    refuses(tmp_path / "a.tif")


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["phantom_tiled", "phantom_jpeg", "phantom_flat"])
def test_a_truncated_tiff(kind: str, share: float, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    whole = request.getfixturevalue(kind).read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: int(len(whole) * share)])
    assert "copy it again" in refuses(tmp_path / "cut.tif")


def test_a_tiff_without_its_last_byte(small: Path) -> None:
    small.write_bytes(small.read_bytes()[:-1])
    assert "truncated" in refuses(small)


@pytest.mark.parametrize("length", [5, 8, 9, 20, 100, 250, 400, 1000])
def test_a_small_tiff_cut_short(small: Path, length: int) -> None:
    small.write_bytes(small.read_bytes()[:length])
    refuses(small)


def test_a_directory_that_points_to_itself(small: Path) -> None:
    """It may be read, since its first picture is whole, but must come to an end."""
    with tifffile.TiffFile(small) as tiff:
        here = tiff.pages.first.offset
        end = here + 2 + 12 * len(tiff.pages.first.tags)
    raw = bytearray(small.read_bytes())
    raw[end : end + 4] = struct.pack("<I", here)
    small.write_bytes(raw)
    assert small.name in (refusal(small) or small.name)


def test_a_tiff_that_lists_no_tiles(small: Path) -> None:
    with tifffile.TiffFile(small) as tiff:
        place = tiff.pages.first.tags["TileOffsets"].offset
    raw = bytearray(small.read_bytes())
    raw[place : place + 2] = struct.pack("<H", 65_000)  # a private tag that nobody knows
    small.write_bytes(raw)
    refuses(small)


def test_fewer_tiles_than_the_size_needs(small: Path) -> None:
    retag(small, "ImageLength", 60_000)
    assert "tiles expected" in refuses(small)


@pytest.mark.parametrize("side", [1 << 20, (1 << 31) - 16, 1 << 31])
def test_an_absurd_tile_size_allocates_nothing(small: Path, side: int) -> None:
    retag(small, "TileWidth", side)
    retag(small, "TileLength", side)
    refuses(small)


def test_an_absurd_size_does_not_reach_openslide(small: Path) -> None:
    """It would abort the whole process. CMYK is what our own reader leaves to it."""
    retag(small, "PhotometricInterpretation", 5)
    retag(small, "ImageWidth", 1 << 31)
    retag(small, "ImageLength", 1 << 31)
    assert "over the limit" in refuses(small)


def test_an_absurd_slide_size(small: Path) -> None:
    retag(small, "ImageWidth", 4_000_000_000)
    refuses(small)


@pytest.mark.parametrize("side", ["TileWidth", "TileLength", "ImageWidth", "ImageLength", "SamplesPerPixel"])
def test_a_size_of_zero(small: Path, side: str) -> None:
    retag(small, side, 0)
    refuses(small)


@pytest.mark.parametrize("resolution", [(0, 0), (20_000, 0), (0, 1)])
def test_a_resolution_over_zero_is_an_unknown_mpp(small: Path, resolution: tuple[int, int]) -> None:
    retag(small, "XResolution", resolution)
    with open_slide(small) as slide:
        assert slide.mpp is None
    with pytest.raises(WsiError, match=r"small\.tif: no mpp"):
        ingest(small, small.parent / "out")


def test_pixels_that_do_not_decode_name_their_tile(small: Path) -> None:
    with tifffile.TiffFile(small) as tiff:
        offset, count = tiff.pages.first.dataoffsets[0], tiff.pages.first.databytecounts[0]
    raw = bytearray(small.read_bytes())
    raw[offset : offset + count] = b"\xff" * count
    small.write_bytes(raw)
    assert "tile 0 of level 0" in refuses(small)


def test_a_damaged_tile_does_not_pass_ingest(small: Path, tmp_path: Path) -> None:
    """The first step fails, not one an hour later, and leaves no slide.json that says all is well."""
    test_pixels_that_do_not_decode_name_their_tile(small)
    with pytest.raises(SlideError, match="tile 0"):
        ingest(small, tmp_path / "out")
    assert not (tmp_path / "out" / "slide.json").exists()


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"ome": {}},
        {"ome": "yes"},
        {"ome": {"multiscales": []}},
        {"ome": {"multiscales": [{}]}},
        {"ome": {"multiscales": [{"axes": [], "datasets": []}]}},
        {"ome": {"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}]}},
        {"ome": {"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "gone"}]}]}},
    ],
)
def test_a_zarr_with_damaged_metadata(phantom_zarr: Path, tmp_path: Path, attributes: dict[str, object]) -> None:
    path = tmp_path / "a.ome.zarr"
    shutil.copytree(phantom_zarr, path)
    metadata = json.loads((path / "zarr.json").read_text())
    (path / "zarr.json").write_text(json.dumps({**metadata, "attributes": attributes}))
    refuses(path)


def test_a_zarr_whose_metadata_are_no_json(phantom_zarr: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    shutil.copytree(phantom_zarr, path)
    (path / "zarr.json").write_text("{")
    refuses(path)


def test_a_zarr_with_a_damaged_chunk(phantom_zarr: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    shutil.copytree(phantom_zarr, path)
    for chunk in (path / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"\xff" * 100)
    with pytest.raises(WsiError, match=r"a\.ome\.zarr"), open_slide(path) as slide:
        slide.read(Box(0, 0, 64, 64))


def test_a_byte_changed_anywhere_in_the_header_never_crashes(small: Path, tmp_path: Path) -> None:
    """300 seeded mutations: each gives a slide that reads, or a WsiError."""
    raw = small.read_bytes()
    with tifffile.TiffFile(small) as tiff:
        header = [*range(8), *range(tiff.pages.first.offset, min(tiff.pages.first.dataoffsets))]
    rng = np.random.default_rng(2)
    refused = 0
    for number in range(300):
        mutant = bytearray(raw)
        for place in rng.choice(header, rng.integers(1, 4)):
            mutant[place] = rng.integers(0, 256)
        path = tmp_path / f"mutant-{number}.tif"
        path.write_bytes(mutant)
        message = refusal(path)
        refused += message is not None
        assert path.name in (message or path.name)
        path.unlink()
    # A header that could be changed at will without a word would not be read at all.
    assert 50 < refused < 300


def test_a_byte_changed_in_the_header_of_a_pyramid_never_crashes(phantom_tiled: Path, tmp_path: Path) -> None:
    raw = bytearray(phantom_tiled.read_bytes())
    with tifffile.TiffFile(phantom_tiled) as tiff:
        pages = [tiff.pages.first, *(tiff.pages.first.pages or ())]
        header = [*range(16)]
        for page in pages:
            header += range(page.offset, page.offset + 8 + 20 * len(page.tags) + 8)
    rng = np.random.default_rng(3)
    path = tmp_path / "mutant.tif"
    path.write_bytes(raw)
    for _ in range(100):
        places = [int(place) for place in rng.choice(header, 2)]
        with path.open("r+b") as stream:
            for place in places:
                stream.seek(place)
                stream.write(bytes([rng.integers(0, 256)]))
        assert path.name in (refusal(path) or path.name)
        with path.open("r+b") as stream:
            for place in places:
                stream.seek(place)
                stream.write(raw[place : place + 1])
