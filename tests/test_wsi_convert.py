"""Converting: what is tiled is copied byte for byte, what is private is left out, and nothing half done is left behind.

Pixels are compared in OpenSlide, tifffile and our own reader with those of the source.
"""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
import yaozarrs
import zarr
from ngff_images import write_ngff
from numpy.typing import NDArray
from PIL import ImageCms

from wsi import convert as convert_module
from wsi.convert import ConvertOptions, convert, target_of
from wsi.errors import InputError, SlideError
from wsi.readers.base import Header
from wsi.readers.openslide import OpenSlideReader
from wsi.slide import Slide, open_slide
from wsi.writers.bigtiff import rational
from wsi.writers.halving import level_sizes
from wsi.writers.ome import Facts
from wsi.writers.pyramid import PyramidOptions, write_pyramid
from wsi.writers.zarr import write_zarr_pyramid

Pixels = NDArray[np.uint8]
APERIO = (
    "Aperio Image Library v11.2.1 \n800x600 (256x256) JPEG/RGB Q=70|AppMag = 40|MPP = 0.2520|Filename = Jane Doe"
    "|Title = Mrs Doe|User = jdoe|Date = 12/29/09|Time = 09:59:15|ScanScope ID = SS1|Barcode = 7|StripeWidth = 2040"
)
# Bytes 16 to 20 say what it is for.
PROFILE = b"a header of it: RGB " + b"and the rest " * 40
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def smooth(width: int, height: int) -> Pixels:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 / width, y * 255 / height, (x // 3 + y // 5) % 64 + 90], axis=2).astype(np.uint8)


def halved(pixels: Pixels) -> NDArray[np.float64]:
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    return pixels[: height * 2, : width * 2].reshape(height, 2, width, 2, 3).astype(float).mean(axis=(1, 3))


def converted(source: Path, out: Path, options: ConvertOptions | None = None) -> Path:
    with open_slide(source) as slide:
        convert(slide, out, options or ConvertOptions(target_of(out, None)))
    return out


def level_pages(path: Path) -> list[tifffile.TiffPage]:
    with tifffile.TiffFile(path) as tiff:
        return [level.keyframe for level in tiff.series[0].levels]


def raw_tiles(path: Path, level: int) -> list[bytes]:
    page = level_pages(path)[level]
    data = path.read_bytes()
    return [data[at : at + count] for at, count in zip(page.dataoffsets, page.databytecounts, strict=True)]


def seen(path: Path) -> dict[str, Pixels]:
    """Level 0 as three programs show it."""
    with openslide.OpenSlide(path) as theirs, open_slide(path) as slide:
        region = theirs.read_region((0, 0), 0, theirs.dimensions)
        found = {"openslide": np.asarray(region)[..., :3], "tesela": slide.read(slide.bounds)}
    with tifffile.TiffFile(path) as tiff:
        return found | {"tifffile": tiff.series[0].levels[0].asarray()}


def write_jpeg_with_tables(path: Path, pixels: Pixels) -> None:
    """As Aperio does: tables once in the page, RGB in JPEG without a marker that says so."""
    tiles, tables = [], b""
    for top in range(0, pixels.shape[0], 256):
        for left in range(0, pixels.shape[1], 256):
            tile = pixels[top : top + 256, left : left + 256]
            full = np.pad(tile, ((0, 256 - tile.shape[0]), (0, 256 - tile.shape[1]), (0, 0)))
            stream = bytes(imagecodecs.jpeg8_encode(full, level=90, colorspace="RGB", outcolorspace="RGB"))
            shared, own = split_tables(stream)
            tables = tables or shared
            assert shared == tables
            tiles.append(own)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            iter(tiles), shape=pixels.shape, dtype=np.uint8, tile=(256, 256), photometric="rgb", compression="jpeg",
            jpegtables=tables, compressionargs={"outcolorspace": "rgb"}, description=APERIO, metadata=None,
        )  # fmt: skip


def split_tables(stream: bytes) -> tuple[bytes, bytes]:
    """(SOI, DQT and DHT segments, EOI) and the stream without them."""
    tables, own, at = b"\xff\xd8", b"\xff\xd8", 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:end]
        elif stream[at + 1] != 0xEE and not 0xE0 <= stream[at + 1] <= 0xEF:
            own += stream[at:end]
        at = end
    return tables + b"\xff\xd9", own + stream[at:]


JPEG = {"compression": "jpeg", "compressionargs": {"level": 90}}
KINDS: dict[str, dict[str, Any]] = {
    "JPEG 4:2:0": {**JPEG, "subsampling": (2, 2)},
    "JPEG 4:2:2": {**JPEG, "subsampling": (2, 1)},
    "JPEG 4:4:4": {**JPEG, "subsampling": (1, 1)},
    "JPEG RGB": {"compression": "jpeg", "compressionargs": {"level": 90, "outcolorspace": "rgb"}},
    "LZW": {"compression": "lzw"},
    "LZW, predictor, big-endian": {"compression": "lzw", "predictor": True, "byteorder": ">"},
    "deflate": {"compression": "deflate", "tile": (64, 240)},
    "deflate, predictor, BigTIFF": {"compression": "deflate", "predictor": True, "bigtiff": True},
    "none": {},
    "none, big-endian, narrow tiles": {"byteorder": ">", "tile": (128, 48)},
}


def write_one_level(path: Path, pixels: Pixels, kind: str) -> None:
    if kind == "JPEG, shared tables":
        return write_jpeg_with_tables(path, pixels)
    options = {"tile": (256, 256), "photometric": "rgb", "metadata": None} | KINDS[kind]
    about_file = {key: options.pop(key) for key in ("byteorder", "bigtiff") if key in options}
    with tifffile.TiffWriter(path, **about_file) as tiff:
        tiff.write(pixels, resolution=(20_000, 20_000), resolutionunit="CENTIMETER", iccprofile=PROFILE, **options)
    return None


# Copying


@pytest.mark.parametrize("kind", [*KINDS, "JPEG, shared tables"])
def test_a_tiled_level_is_copied_byte_for_byte_and_the_others_are_built(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_one_level(source, smooth(1000, 700), kind)
    with tifffile.TiffFile(source) as tiff:
        stored = tiff.asarray()
    out = converted(source, tmp_path / "b.ome.tif")
    assert raw_tiles(out, 0) == raw_tiles(source, 0)
    lossless = not kind.startswith("JPEG")
    # OpenSlide opens no big-endian file, and its JPEG decoder may round otherwise than tifffile's.
    expected = dict.fromkeys(("openslide", "tesela", "tifffile"), stored) if lossless else seen(source)
    for program, pixels in seen(out).items():
        assert np.array_equal(pixels, expected[program]), program
    with openslide.OpenSlide(out) as theirs, open_slide(out) as slide:
        sizes = [(level.width, level.height) for level in slide.header.levels]
        assert sizes == list(theirs.level_dimensions)
        assert sizes[:3] == [(1000, 700), (500, 350), (250, 175)]
        half = np.asarray(theirs.read_region((0, 0), 1, (500, 350)))[..., :3]
    difference = np.abs(half - halved(stored))
    assert difference.max() <= 0.5 if lossless else difference.mean() < 2
    assert len(raw_tiles(out, 1)[0]) < (150_000 if lossless else 30_000)


def test_a_pyramid_that_lacks_nothing_is_copied_without_decoding_a_tile(
    phantom_jpeg: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, open_slide(phantom_jpeg) as slide:
        patched.setattr(PyramidOptions, "encode", lambda *_: pytest.fail("encoded"))
        patched.setattr(Slide, "read_to", lambda *_: pytest.fail("decoded"))
        told: list[float] = []
        convert(slide, tmp_path / "a.ome.tif", ConvertOptions(), told.append)
    for level in range(len(level_pages(phantom_jpeg))):
        assert raw_tiles(tmp_path / "a.ome.tif", level) == raw_tiles(phantom_jpeg, level)
    assert told == sorted(told)
    assert told[-1] == 1


@pytest.mark.parametrize("rounded", [np.floor, np.ceil])
def test_levels_between_those_that_are_there_are_built(rounded: Callable[[float], float], tmp_path: Path) -> None:
    """As scanners write: 1, 4, 16. The level of 2 is built from 1, that of 8 from what it gave; 1, 4, 16 are copied."""
    pixels = smooth(2003, 1501)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for power in (0, 2, 4):
            width, height = int(rounded(2003 / 2**power)), int(rounded(1501 / 2**power))
            level = pixels[:: 2**power, :: 2**power][:height, :width]
            tiff.write(level, tile=(128, 128), photometric="rgb", compression="lzw", subfiletype=int(power > 0))
    out = converted(tmp_path / "a.tif", tmp_path / "b.ome.tif")
    for ours, theirs in ((0, 0), (2, 1), (4, 2)):
        with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
            page = tiff.pages[theirs].aspage()
            data = (tmp_path / "a.tif").read_bytes()
            tiles = [data[at : at + n] for at, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
        assert raw_tiles(out, ours) == tiles
    with tifffile.TiffFile(out) as tiff:
        found = [level.asarray() for level in tiff.series[0].levels]
    assert np.abs(found[1] - halved(found[0])).max() <= 0.5
    assert found[3].shape == (1501 // 8, 2003 // 8, 3)
    with openslide.OpenSlide(out) as theirs_open:
        assert theirs_open.level_dimensions == tuple((page.shape[1], page.shape[0]) for page in found)


@pytest.mark.parametrize("side", [2064, 4112])
def test_tiles_too_large_to_be_read_at_random_are_encoded_anew_in_small_ones(side: int, tmp_path: Path) -> None:
    pixels = smooth(600, 400)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(side, side), photometric="rgb", compression="deflate")
    out = converted(tmp_path / "a.tif", tmp_path / "b.ome.tif", ConvertOptions(codec="deflate"))
    assert [(page.tilewidth, page.tilelength) for page in level_pages(out)][:1] == [(256, 256)]
    with open_slide(out) as slide:
        assert slide.header.random_access
        assert np.array_equal(slide.read(slide.bounds), pixels)


def test_a_reduced_level_that_lacks_tiles_is_built_from_the_finer_one(tmp_path: Path) -> None:
    """Aperio leaves tiles out of reduced levels where the finest has them: copied, they would be white."""
    pixels = smooth(1024, 1024)
    levels = [pixels, *(halved(pixels)[:: 2**k, :: 2**k].astype(np.uint8) for k in range(2))]
    common: dict[str, Any] = {"photometric": "rgb", "compression": "deflate", "tile": (256, 256), "metadata": None}
    for index, level in enumerate(levels):
        tifffile.imwrite(tmp_path / f"{index}.tif", level, **common)
    tiles = [raw_tiles(tmp_path / f"{index}.tif", 0) for index in range(3)]
    tiles[1][3] = b""
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for index, level in enumerate(levels):
            tiff.write(
                iter(tiles[index]), shape=level.shape, dtype=np.uint8, subfiletype=int(index > 0), **common
            )  # fmt: skip
    out = converted(tmp_path / "a.tif", tmp_path / "b.ome.tif")
    assert [raw_tiles(out, index) == tiles[index] for index in range(3)] == [True, False, True]
    with tifffile.TiffFile(out) as tiff:
        assert np.abs(tiff.series[0].levels[1].asarray() - halved(pixels)).max() <= 0.5


@pytest.mark.parametrize("compression", ["jpeg", "lzw", "deflate"])
def test_tiles_that_the_source_lacks_are_white_in_every_program(compression: str, tmp_path: Path) -> None:
    pixels = smooth(512, 512)
    whole = tmp_path / "whole.tif"
    tifffile.imwrite(whole, pixels, tile=(256, 256), photometric="rgb", compression=compression)
    tiles = raw_tiles(whole, 0)
    tiles[1] = tiles[2] = b""
    tifffile.imwrite(
        tmp_path / "sparse.tif", iter(tiles), shape=(512, 512, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb",
        compression=compression, metadata=None,
    )  # fmt: skip
    out = converted(tmp_path / "sparse.tif", tmp_path / "b.ome.tif")
    for pixels in seen(out).values():
        assert (pixels[:256, 256:] == 255).all()
        assert (pixels[256:, :256] == 255).all()
        assert np.array_equal(pixels[:256, :256], seen(whole)["tesela"][:256, :256])
    page = level_pages(out)[0]
    assert page.dataoffsets[1] == page.dataoffsets[2]  # one white tile for both


@pytest.mark.parametrize(
    "options",
    [
        ConvertOptions(codec="deflate"),
        ConvertOptions(codec="lzw", tile_px=128),
        ConvertOptions(quality=70),
        ConvertOptions(tile_px=512),
    ],
)
def test_asking_for_something_else_encodes_anew(options: ConvertOptions, phantom_jpeg: Path, tmp_path: Path) -> None:
    out = converted(phantom_jpeg, tmp_path / "a.ome.tif", options)
    with open_slide(phantom_jpeg) as slide:
        before = slide.read(slide.bounds)
    page = level_pages(out)[0]
    assert page.tilewidth == (options.tile_px or 256)
    assert page.compression == {"deflate": 8, "lzw": 5, None: 7}[options.codec]
    assert raw_tiles(out, 0) != raw_tiles(phantom_jpeg, 0)
    difference = np.abs(seen(out)["openslide"].astype(int) - before)
    assert difference.max() == 0 if options.codec else 0 < difference.mean() < 4


def test_asking_for_what_the_source_has_still_copies(phantom_jpeg: Path, tmp_path: Path) -> None:
    out = converted(phantom_jpeg, tmp_path / "a.ome.tif", ConvertOptions(codec="jpeg", tile_px=256))
    assert raw_tiles(out, 0) == raw_tiles(phantom_jpeg, 0)


# Metadata


@pytest.fixture
def aperio(tmp_path: Path) -> Path:
    """An SVS with a label and a macro that name a patient."""
    path = tmp_path / "a.svs"
    with tifffile.TiffWriter(path) as tiff:
        common: dict[str, Any] = {"photometric": "rgb", "metadata": None}
        tiff.write(
            smooth(800, 600), tile=(256, 256), compression="jpeg", description=APERIO, iccprofile=PROFILE, **common
        )
        for name, kind in (("label", 1), ("macro", 9)):
            text = f"Aperio Image Library v11.2.1\n{name} 90x60"
            tiff.write(smooth(90, 60), compression="lzw", description=text, subfiletype=kind, **common)
    return path


@pytest.mark.parametrize("name", ["b.ome.tif", "b.ome.zarr"])
def test_mpp_power_and_profile_are_kept_and_nothing_private(name: str, aperio: Path, tmp_path: Path) -> None:
    out = converted(aperio, tmp_path / name)
    with open_slide(out) as slide:
        assert slide.mpp == (0.252, 0.252)
        assert slide.header.objective_power == 40
        assert slide.header.icc_profile == PROFILE
        assert slide.associated() == {}
    written = everything_in(out)
    for private in (b"Doe", b"doe", b"Barcode", b"12/29/09", b"09:59", b"SS1", b"macro", b"Title"):
        assert private not in written
    assert b"StripeWidth = 2040" in written


@pytest.mark.parametrize("name", ["b.ome.tif", "b.ome.zarr"])
def test_what_is_private_is_kept_where_someone_asks_for_it(name: str, aperio: Path, tmp_path: Path) -> None:
    options = ConvertOptions(target_of(Path(name), None), keep=frozenset({"label", "text"}))
    out = converted(aperio, tmp_path / name, options)
    with open_slide(out) as slide:
        kept = slide.associated()
        assert list(kept) == ["label"]
        assert np.array_equal(kept["label"], smooth(90, 60))
        assert len(slide.header.levels) == 3 if name.endswith("tif") else 2
    assert b"Jane Doe" in everything_in(out)


def test_kept_pictures_are_images_of_their_own_and_no_level(aperio: Path, tmp_path: Path) -> None:
    out = converted(aperio, tmp_path / "b.ome.tif", ConvertOptions(keep=frozenset({"label", "macro"})))
    with tifffile.TiffFile(out) as tiff:
        assert tiff.is_ome
        assert [series.name for series in tiff.series] == ["b", "label", "macro"]
        assert np.array_equal(tiff.series[2].asarray(), smooth(90, 60))
    with openslide.OpenSlide(out) as theirs:
        assert theirs.level_count == 3


def test_a_converted_file_converted_again_keeps_its_facts(aperio: Path, tmp_path: Path) -> None:
    first = converted(aperio, tmp_path / "1" / "b.ome.tif", ConvertOptions(keep=frozenset({"text"})))
    second = converted(first, tmp_path / "2" / "b.ome.tif")
    with open_slide(second) as slide:
        assert (slide.mpp, slide.header.objective_power) == ((0.252, 0.252), 40)
    with tifffile.TiffFile(second) as tiff:
        assert "<Description>StripeWidth = 2040</Description>" in str(tiff.ome_metadata)
    assert b"Doe" not in everything_in(second)


def test_an_mpp_given_by_hand_goes_into_the_file(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", smooth(300, 200), photometric="rgb")
    for name in ("b.ome.tif", "b.ome.zarr"):
        with open_slide(tmp_path / "a.tif", 0.31) as slide:
            convert(slide, tmp_path / name, ConvertOptions(target_of(Path(name), None)))
        assert open_slide(tmp_path / name).mpp == (0.31, 0.31)


@pytest.mark.parametrize("value", [5e-324, 1e-9, 3e-7, 0.25, 1e4 / 3, 2e9 + 0.3, 2**32 - 1, 1e11, 1e300])
def test_any_resolution_becomes_a_fraction_of_two_32_bit_numbers(value: float) -> None:
    found = rational(value)
    assert 0 < found.numerator < 2**32
    assert 0 < found.denominator < 2**32
    assert float(found) == pytest.approx(min(max(value, 2**-32), 2**32 - 1), rel=1e-2)


def opened_by_openslide(path: Path, description: str, profile: bytes) -> Header:
    tifffile.imwrite(
        path, smooth(300, 200), tile=(256, 256), photometric="rgb", compression="jpeg", description=description,
        iccprofile=profile, metadata=None,
    )  # fmt: skip
    found = OpenSlideReader.open(path)
    assert found is not None
    found.close()
    return found.header


@pytest.mark.parametrize("mpp", ["0.0000001", "0.009", "60"])
def test_an_mpp_no_slide_has_is_unknown_to_openslides_reader_too(mpp: str, tmp_path: Path) -> None:
    found = opened_by_openslide(tmp_path / "a.svs", APERIO.replace("0.2520", mpp), SRGB)
    assert found.mpp is None
    assert found.notes == (f"mpp {float(mpp):g} in the file is not credible; taken as unknown",)


def test_openslides_reader_leaves_out_a_profile_that_is_damaged_or_not_for_rgb(tmp_path: Path) -> None:
    assert opened_by_openslide(tmp_path / "a.svs", APERIO, SRGB).icc_profile is not None
    grey = SRGB[:16] + b"GRAY" + SRGB[20:]
    for profile, said in ((grey, "is for GRAY, not for RGB: left out"), (b"none " * 40, "is damaged")):
        found = opened_by_openslide(tmp_path / "a.svs", APERIO, profile)
        assert found.icc_profile is None
        assert said in found.notes[0]


def everything_in(path: Path) -> bytes:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    names = " ".join(str(file.relative_to(path.parent)) for file in files).encode()
    return names + b"".join(file.read_bytes() for file in files)


# OME-Zarr


def test_an_ome_zarr_holds_the_levels_of_the_tiff(phantom_flat: Path, phantom_pixels: Pixels, tmp_path: Path) -> None:
    converted(phantom_flat, tmp_path / "a.ome.tif", ConvertOptions(codec="lzw"))
    out = converted(phantom_flat, tmp_path / "a.ome.zarr", ConvertOptions("ome-zarr", tile_px=256))
    with open_slide(tmp_path / "a.ome.tif") as tiff, open_slide(out) as slide:
        assert slide.header.levels == tiff.header.levels
        assert slide.mpp == tiff.mpp
        assert slide.header.random_access
        assert np.array_equal(slide.read(slide.bounds), phantom_pixels)
        for level in slide.header.levels:
            size = (level.width, level.height)
            assert np.array_equal(slide.read_to(slide.bounds, size), tiff.read_to(slide.bounds, size))


def test_an_ome_zarr_is_valid_sharded_and_read_by_zarr_python(
    phantom_flat: Path, phantom_pixels: Pixels, tmp_path: Path
) -> None:
    out = converted(phantom_flat, tmp_path / "a.ome.zarr")
    group = yaozarrs.validate_zarr_store(str(out))
    image = group.ome_metadata()
    assert image is not None
    assert image.version == "0.5"
    assert [axis.unit for axis in image.multiscales[0].axes if axis.type == "space"] == ["micrometer"] * 2
    array = zarr.open_group(out, mode="r")["0"]
    assert isinstance(array, zarr.Array)
    assert array.shards == (3, 1536, 1536)
    assert array.chunks == (3, 512, 512)
    assert np.array_equal(np.moveaxis(np.asarray(array[:]), 0, 2), phantom_pixels)
    transformations = image.multiscales[0].datasets[2].coordinateTransformations
    # 4 px of level 0, at 0.5 µm, are one; the centre of the first lies 1.5 px further than that of level 0.
    assert transformations[0].scale == [1, 2, 2]
    assert transformations[1].translation == [0, 0.75, 0.75]


def test_many_chunks_lie_in_few_files_and_white_ones_nowhere(tmp_path: Path) -> None:
    """3,000 px square in chunks of 64: 2,209 of them at level 0, of which a ninth is not white."""
    pixels = np.full((3000, 3000, 3), 255, np.uint8)
    pixels[1000:2000, 1000:2000] = smooth(1000, 1000)
    write_zarr_pyramid(tmp_path / "a.ome.zarr", [pixels], (3000, 3000), Facts(), 64)
    assert sum(file.is_file() for file in tmp_path.rglob("*")) < 30
    assert not (tmp_path / "a.ome.zarr" / "0" / "c" / "0" / "0" / "0" / "0").exists()
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    for level in range(len(level_sizes(3000, 3000, 64))):
        array = group[str(level)]
        assert isinstance(array, zarr.Array)
        assert np.array_equal(np.moveaxis(np.asarray(array[:]), 0, 2), pixels)
        pixels = np.floor(halved(pixels) + 0.5).astype(np.uint8)
    yaozarrs.validate_zarr_store(str(tmp_path / "a.ome.zarr"))
    assert open_slide(tmp_path / "a.ome.zarr").mpp is None


# The same input gives the same bytes


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize("source", ["phantom_flat", "phantom_jpeg"])
def test_converting_twice_gives_the_same_bytes(
    name: str, source: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    slide = request.getfixturevalue(source)
    runs = [everything_in(converted(slide, tmp_path / str(number) / name)) for number in range(2)]
    assert hashlib.sha256(runs[0]).digest() == hashlib.sha256(runs[1]).digest()


# Nothing is left behind


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, SlideError, MemoryError])
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_conversion_that_ends_early_leaves_nothing(
    after: int, error: type[BaseException], name: str, phantom_flat: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    calls = 0

    def fail(*_: object) -> bytes:
        nonlocal calls
        calls += 1
        if calls > after:
            raise error("stop")
        return b"x"

    monkeypatch.setattr("wsi.writers.shards._chunk", fail)
    monkeypatch.setattr(PyramidOptions, "encode", fail)
    (tmp_path / "there").mkdir()
    for folder in ("", "there", "there/new/newer"):
        with open_slide(phantom_flat) as slide, pytest.raises(error):
            convert(slide, tmp_path / folder / name, ConvertOptions(target_of(Path(name), None)))
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


@pytest.mark.parametrize(
    ("source", "out", "says"),
    [
        ("a.zarr/0", "a.zarr", "lies inside, and would be deleted"),
        ("a.zarr/0", "b/../a.zarr", "lies inside, and would be deleted"),
        ("link/0", "a.zarr", "lies inside, and would be deleted"),
        ("a.zarr/0", "a.zarr/0/b.ome.tif", "lies inside the slide"),
        ("a.zarr", "a.zarr/0/b.zarr", "lies inside the slide"),
        ("a.zarr", "link", "is the slide itself"),
    ],
)
def test_nothing_is_written_over_into_or_around_the_slide(source: str, out: str, says: str, tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    write_ngff(tmp_path / "a.zarr", [smooth(300, 200)], group="0")
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a.zarr")
    before = everything_in(tmp_path / "a.zarr")
    with open_slide(tmp_path / source) as slide, pytest.raises(InputError, match=says):
        convert(slide, tmp_path / out, ConvertOptions("ome-tiff" if out.endswith("tif") else "ome-zarr"))
    assert everything_in(tmp_path / "a.zarr") == before


def test_a_damaged_tile_ends_a_copy_before_it_has_a_name(phantom_jpeg: Path, tmp_path: Path) -> None:
    with open_slide(phantom_jpeg) as slide:
        slide.close()
        with pytest.raises(OSError, match=r"descriptor|closed"):
            convert(slide, tmp_path / "a.ome.tif")
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import sys, time
from pathlib import Path
from pipelines import cli
from wsi import convert
read = convert._bands
def slowly(*args):
    for band in read(*args):
        print("read", flush=True)
        time.sleep({pause})
        yield band
convert._bands, convert._BAND_BYTES = slowly, 1
sys.argv = ["tesela", "convert", *sys.argv[1:]]
cli.main()
"""


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_cancelled_conversion_leaves_nothing(
    sent: signal.Signals, code: int, name: str, phantom_flat: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", SCRIPT.format(pause=0.5), str(phantom_flat), str(tmp_path / name)]
    # What runs in the background of a shell ignores SIGINT, and so would its children.
    as_in_front = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, preexec_fn=as_in_front, **pipes) as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.readline()
        assert list(tmp_path.iterdir()) != []
        running.send_signal(sent)
        assert running.wait(20) == code
    assert list(tmp_path.iterdir()) == []


def test_after_a_kill_the_next_run_removes_what_was_left(phantom_flat: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT.format(pause=5), str(phantom_flat), str(tmp_path / "a.ome.tif")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        time.sleep(0.2)
        running.kill()
    assert list(tmp_path.iterdir()) != []
    converted(phantom_flat, tmp_path / "a.ome.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.tif"]


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
def test_a_disk_that_is_full_midway_is_one_clear_line(name: str, phantom_flat: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the system refuses to write more, as it does there."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    command = [sys.executable, "-c", SCRIPT.format(pause=0), str(phantom_flat), str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{name}: cannot be written ({os.strerror(errno.EFBIG)}); converting flat.tif takes up to" in done.stderr
    assert "nothing was kept" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_disk_needed_depends_on_what_is_written(phantom_flat: Path, phantom_jpeg: Path) -> None:
    def needed(source: Path, options: ConvertOptions) -> int:
        with open_slide(source) as slide:
            return convert_module._needed_bytes(slide, options, convert_module._copy_plan(slide, options))

    jpeg, lossless = needed(phantom_flat, ConvertOptions(codec="jpeg")), needed(phantom_flat, ConvertOptions())
    assert jpeg < lossless <= needed(phantom_flat, ConvertOptions("ome-zarr"))
    assert needed(phantom_jpeg, ConvertOptions()) == phantom_jpeg.stat().st_size
    assert needed(phantom_jpeg, ConvertOptions(quality=95)) > jpeg


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
def test_memory_does_not_grow_with_the_slide(name: str, tmp_path: Path) -> None:
    band = np.random.default_rng(3).integers(0, 256, (256, 2048, 3), np.uint8)

    def peak(height: int) -> int:
        def bands() -> Iterator[Pixels]:
            for _ in range(height // 256):
                yield band

        tracemalloc.start()
        if name.endswith("zarr"):
            write_zarr_pyramid(tmp_path / name, bands(), (2048, height), Facts(), 256)
        else:
            write_pyramid(tmp_path / name, bands(), (2048, height))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(512)
    assert peak(8192) < 1.3 * peak(2048)


# What cannot be


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tile_px": 100}, r"tiles of 100 px; give a multiple of 16"),
        ({"tile_px": 0}, "multiple of 16"),
        ({"codec": "lzw", "quality": 80}, r"lossless: give one of them"),
        ({"quality": 0}, r"quality of 0; give 1 to 100, or a lossless codec"),
        ({"quality": 101}, "1 to 100"),
        ({"target": "ome-zarr", "codec": "jpeg"}, "always lossless"),
        ({"target": "ome-zarr", "quality": 90}, "always lossless"),
        ({"target": "ome-zarr", "tile_px": 32}, "64 px or more"),
        ({"keep": frozenset({"labels"})}, r"--keep labels; give label, macro, text"),
        ({"codec": "webp"}, "no codec 'webp'; give jpeg, deflate, lzw"),
        ({"target": "dzi"}, "--target dzi; give ome-tiff or ome-zarr"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        ConvertOptions(**options)


@pytest.mark.parametrize(
    ("name", "target"), [("a.ome.zarr", "ome-tiff"), ("a.ome.tif", "ome-zarr"), ("a.png", None), ("a", "ome-tiff")]
)
def test_a_name_that_says_something_else_is_refused(name: str, target: Any) -> None:
    with pytest.raises(InputError, match=rf"{name}: .* needs a name that ends in \."):
        target_of(Path(name), target)


def test_the_ending_tells_the_target() -> None:
    assert [target_of(Path(name), None) for name in ("a.TIF", "a.ome.tiff", "b.zarr")] == [
        "ome-tiff",
        "ome-tiff",
        "ome-zarr",
    ]


# Real slides


@pytest.mark.real
def test_the_colorectal_slide_is_copied(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "slides" / "colorectal-serrated-adenoma.tif"
    out = converted(source, tmp_path / "a.ome.tif")
    with tifffile.TiffFile(source) as tiff, tifffile.TiffFile(out) as ours, source.open("rb") as a, out.open("rb") as b:
        pages = [page.aspage() for page in tiff.pages if page.is_tiled]
        for page, level in zip(pages, ours.series[0].levels, strict=True):
            copy = level.keyframe
            for index in range(len(page.dataoffsets)):
                a.seek(page.dataoffsets[index])
                b.seek(copy.dataoffsets[index])
                assert a.read(page.databytecounts[index]) == b.read(copy.databytecounts[index])
    with openslide.OpenSlide(source) as theirs, openslide.OpenSlide(out) as ours_open:
        assert ours_open.level_dimensions == theirs.level_dimensions
        for level in range(ours_open.level_count):
            regions = [np.asarray(s.read_region((6000, 6000), level, (400, 400))) for s in (theirs, ours_open)]
            assert np.array_equal(*regions)


@pytest.mark.real
def test_an_svs_without_a_pyramid_keeps_its_level_and_gets_the_others(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "slides" / "cmu-1-small-region.svs"
    out = converted(source, tmp_path / "a.ome.tif")
    assert raw_tiles(out, 0) == raw_tiles(source, 0)
    with openslide.OpenSlide(source) as theirs, openslide.OpenSlide(out) as ours:
        regions = [np.asarray(s.read_region((0, 0), 0, theirs.dimensions)) for s in (theirs, ours)]
        assert np.array_equal(*regions)
        assert ours.level_dimensions[1:3] == ((1110, 1483), (555, 741))
    with open_slide(source) as before, open_slide(out) as after:
        assert after.mpp == before.mpp == (0.499, 0.499)
        assert after.header.objective_power == 20
        assert after.associated() == {}
    assert b"CPAPERIOCS" not in out.read_bytes()


@pytest.mark.real
@pytest.mark.parametrize("name", ["kidney-48-5.tif", "small-lzw-stripes.tif", "tcga-cr-7395-01a-01-ts1.svs"])
def test_what_cannot_be_copied_is_encoded(name: str, real_data: Path, tmp_path: Path) -> None:
    source = real_data / "slides" / name
    for out in (converted(source, tmp_path / "a.ome.tif", ConvertOptions(codec="lzw")),
                converted(source, tmp_path / "a.ome.zarr")):  # fmt: skip
        with open_slide(source) as before, open_slide(out) as after:
            assert np.array_equal(before.read(before.bounds), after.read(before.bounds))
            assert after.mpp == before.mpp
