"""OME-Zarr: axes, depths, scales, absent chunks, limits, addresses. The reader's contract: test_wsi_readers.py."""

from __future__ import annotations

import functools
import http.server
import itertools
import json
import multiprocessing
import pickle
import shutil
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import typer.testing
import zarr
from ngff_images import halved, write_ngff
from numpy.typing import NDArray
from yaozarrs import validate_zarr_store

from pipelines.commands.app import app
from wsi.errors import InputError, MppError, SlideError
from wsi.fingerprint import fingerprint
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.readers.alpha import over_white
from wsi.readers.tiff import reader as tiff_reader
from wsi.readers.zarr import reader as zarr_reader
from wsi.slide import open_slide
from wsi.source import Url, source_of
from wsi.stream import read_tiles
from wsi.writers.ome import Facts
from wsi.writers.zarr import write_zarr_pyramid

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def rgb() -> Pixels:
    return np.random.default_rng(3).integers(1, 255, (300, 400, 3), np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.ome.zarr"


def whole(path: Path | str) -> Pixels:
    with open_slide(path) as slide:
        return slide.read(slide.bounds)


def edit(file: Path, change: Any) -> None:
    """Let `change` alter a JSON file's content."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_the_images_that_these_tests_write_are_valid(rgb: Pixels, path: Path, phantom_zarr: Path) -> None:
    """By yaozarrs. (An odd order of axes, which it refuses, is read all the same.)"""
    write_ngff(path, halved(rgb, 2), axes="tczyx", version="0.4")
    for image in (path, phantom_zarr):
        validate_zarr_store(str(image))


# Axes, channels, depth.


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["cyx", "yxc", "tczyx", "zyxc", "czyx", "ycx", "xyc", "cxy", "txzcy"])
def test_the_axes_may_come_in_any_order_and_number(rgb: Pixels, path: Path, axes: str, version: str) -> None:
    write_ngff(path, halved(rgb, 2), axes=axes, version=version, chunk_px=128)
    with open_slide(path) as slide:
        assert (slide.size, slide.mpp, slide.header.notes) == ((400, 300), (0.5, 0.5), ())
        assert np.array_equal(slide.read(slide.bounds), rgb)
        assert np.array_equal(slide.read(Box(100, 90, 200, 100)), rgb[90:190, 100:300])


@pytest.mark.parametrize("axes", ["yx", "xy", "tyx", "cyx", "zyxc"])
def test_one_channel_is_grey(rgb: Pixels, path: Path, axes: str) -> None:
    write_ngff(path, [rgb[..., :1]], axes=axes)
    assert np.array_equal(whole(path), np.repeat(rgb[..., :1], 3, axis=2))


@pytest.mark.parametrize("axes", ["cyx", "yxc"])
def test_a_fourth_channel_is_alpha_over_white_and_that_is_said(rgb: Pixels, path: Path, axes: str) -> None:
    rgba = np.dstack([rgb, rgb[..., 0]])
    write_ngff(path, [rgba], axes=axes)
    assert np.array_equal(whole(path), over_white(rgba))
    assert "RGBA" in open_slide(path).header.notes[0]


def test_of_several_depths_and_times_the_first_is_shown_and_that_is_said(rgb: Pixels, path: Path) -> None:
    write_ngff(path, [rgb], axes="tzyxc", sizes={"t": 2, "z": 5})
    assert np.array_equal(whole(path), rgb)
    assert open_slide(path).header.notes == (
        "2 pictures along axis t: the first is shown",
        "5 pictures along axis z: the first is shown",
    )


@pytest.mark.parametrize("channels", [2, 5, 40])
def test_channels_that_make_no_colour_picture_are_refused(path: Path, channels: int) -> None:
    write_ngff(path, [np.zeros((50, 60, channels), np.uint8)])
    with pytest.raises(SlideError, match=rf"a\.ome\.zarr: level '0' has {channels} channels; 1 \(grey\), 3 \(RGB\)"):
        open_slide(path)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint32, np.float32])
def test_pixels_of_another_type_are_refused_with_the_remedy(path: Path, dtype: type) -> None:
    write_ngff(path, [np.zeros((50, 60, 3), dtype)])
    with pytest.raises(SlideError, match=r"level '0' holds pixels of type \w+; write it as uint8 or uint16"):
        open_slide(path)


def test_sixteen_bits_are_scaled_to_eight_and_that_is_said(rgb: Pixels, path: Path) -> None:
    write_ngff(path, [rgb.astype(np.uint16) * 257])
    assert np.array_equal(whole(path), rgb)
    assert open_slide(path).header.notes == ("16 bits a channel: 0 to 65535 (the type's range) scaled to 0 to 255",)


def test_twelve_bits_in_sixteen_are_scaled_by_the_display_window(rgb: Pixels, path: Path) -> None:
    values = np.rint(rgb / 255 * 4095).astype(np.uint16)
    values[0, 0] = 9000  # above the window: as bright as can be
    omero = {"channels": [{"window": {"min": 0, "max": 4095, "start": 0, "end": 900}}] * 3}
    write_ngff(path, [values], omero=omero)
    found = whole(path)
    assert (found[0, 0] == 255).all()
    assert np.array_equal(found[1:], rgb[1:])
    assert "0 to 4095 (its display window)" in open_slide(path).header.notes[0]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_sixteen_bits_may_come_big_endian(rgb: Pixels, path: Path, version: str) -> None:
    # Arithmetic gives native numbers: turned round after it.
    write_ngff(path, [(rgb.astype(np.uint16) * 257).astype(">u2")], version=version, chunk_px=128)
    assert version == "0.5" or '"dtype":">u2"' in (path / "0" / ".zarray").read_text().replace(" ", "")
    assert np.array_equal(whole(path), rgb)
    remove_first_chunk(path)
    assert (whole(path)[:128, :128] == 255).all()


# Which channels are red, green and blue.


def omero(*channels: tuple[str | None, str]) -> dict[str, Any]:
    """Of (colour, label)."""
    listed = [{"color": colour} if colour is not None else {} for colour, _ in channels]
    return {"channels": [one | {"label": label} for one, (_, label) in zip(listed, channels, strict=True)]}


RED, GREEN, BLUE = ("FF0000", "1"), ("00ff00", "2"), ("0000FFFF", "3")


@pytest.mark.parametrize("axes", ["cyx", "yxc", "tczyx"])
@pytest.mark.parametrize(
    "channels",
    [
        (BLUE, GREEN, RED),
        (("FFFFFF", "Blue"), ("FFFFFF", "green"), ("FFFFFF", "Red ")),
        ((None, "b"), (None, "g"), (None, "r")),
    ],
)
def test_channels_in_another_order_are_put_into_that_of_rgb_and_that_is_said(
    rgb: Pixels, path: Path, axes: str, channels: Any
) -> None:
    write_ngff(path, halved(rgb[..., ::-1], 2), axes=axes, chunk_px=128, omero=omero(*channels))
    assert np.array_equal(whole(path), rgb)
    assert open_slide(path).header.notes == ("its channels come as blue, green, red: put in the order of RGB",)


def test_every_order_of_colours_is_undone_and_alpha_stays_last(rgb: Pixels, path: Path) -> None:
    colours = (RED, GREEN, BLUE)
    for order in itertools.permutations(range(3)):
        stored = np.dstack([rgb[..., order], rgb[..., 1]])
        channels = omero(*(colours[index] for index in order), (None, "alpha"))
        write_ngff(path, [stored], omero=channels)
        assert np.array_equal(whole(path), over_white(np.dstack([rgb, rgb[..., 1]]))), order
        shutil.rmtree(path)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("channels", "shown"),
    [
        ((BLUE, GREEN, ("FF00FF", "Cy5")), "0000FF, 00FF00, FF00FF"),
        ((BLUE, GREEN, GREEN), "0000FF, 00FF00, 00FF00"),
        ((("0000FF", "DAPI"), (None, ""), ("FFFFFF", "")), "0000FF, no colour, FFFFFF"),
        ((BLUE, GREEN, RED, ("FF00FF", "Cy5")), "0000FF, 00FF00, FF0000, FF00FF"),
    ],
)
def test_channels_of_other_colours_are_no_colour_picture(path: Path, channels: Any, shown: str, version: str) -> None:
    write_ngff(path, [np.zeros((50, 60, len(channels)), np.uint8)], version=version, omero=omero(*channels))
    message = refusal(path)
    assert f"its {len(channels)} channels are shown in {shown} and not in red, green and blue" in message
    assert "write one as RGB" in message


@pytest.mark.parametrize("colour", ["FFFFFF", "808080"])
def test_channels_that_are_all_shown_in_grey_are_taken_as_rgb_and_that_is_said(
    rgb: Pixels, path: Path, colour: str
) -> None:
    write_ngff(path, [rgb], omero=omero(*[(colour, "Channel")] * 3))
    assert np.array_equal(whole(path), rgb)
    said = f"its 3 channels are in no colours but {colour}, {colour}, {colour}: taken as RGB"
    assert open_slide(path).header.notes == (said,)


@pytest.mark.parametrize(
    "stated",
    [
        omero(RED, GREEN, BLUE),
        omero((None, ""), (None, ""), (None, "")),
        {},
        {"channels": [3, None, {"color": 7}]},
        "x",
    ],
)
def test_channels_in_the_order_of_rgb_or_of_no_colour_need_no_note(rgb: Pixels, path: Path, stated: Any) -> None:
    write_ngff(path, [rgb], omero=stated)
    assert np.array_equal(whole(path), rgb)
    assert open_slide(path).header.notes == ()


@pytest.mark.parametrize("space", [b"GRAY", b"CMYK"])
def test_a_colour_profile_that_is_not_for_rgb_is_left_out_and_that_is_said(
    rgb: Pixels, path: Path, space: bytes
) -> None:
    for kind in (space, b"RGB "):
        profile = b"size of it, cmm " + kind + b"more of it"
        write_zarr_pyramid(path, iter([rgb]), (400, 300), Facts((0.5, 0.5), icc_profile=profile))
        found = open_slide(path).header
        assert found.icc_profile == (profile if kind == b"RGB " else None)
        assert found.notes == (
            () if kind == b"RGB " else (f"its colour profile is for {space.decode()}, not for RGB: left out",)
        )


# mpp.


UNITS = {"micrometer": 0.5, "nanometer": 500, "millimeter": 5e-4, "centimeter": 5e-5, "meter": 5e-7, "µm": 0.5}
UNITS |= {"inch": 0.5 / 25_400, "angstrom": 5000}


@pytest.mark.parametrize(("unit", "mpp"), UNITS.items())
def test_a_scale_is_understood_in_every_unit_of_its_length(rgb: Pixels, path: Path, unit: str, mpp: float) -> None:
    write_ngff(path, [rgb], unit=unit, mpp=mpp)
    assert open_slide(path).mpp == pytest.approx((0.5, 0.5))


def test_the_scales_of_the_level_and_of_the_image_are_multiplied(rgb: Pixels, path: Path) -> None:
    write_ngff(path, halved(rgb, 2), axes="yxc", mpp=2)

    def add(content: Any) -> None:
        common = [{"type": "scale", "scale": [0.24, 0.25, 1.0]}]
        content["attributes"]["ome"]["multiscales"][0]["coordinateTransformations"] = common

    edit(path / "zarr.json", add)
    assert open_slide(path).mpp == pytest.approx((0.5, 0.48))  # x, y


@pytest.mark.parametrize("unit", [None, "pixel", "parsec"])
def test_without_a_unit_of_length_the_mpp_is_unknown_and_that_is_said(
    rgb: Pixels, path: Path, unit: str | None
) -> None:
    write_ngff(path, [rgb], unit=unit)
    with open_slide(path) as slide:
        assert slide.mpp is None
        assert slide.header.notes == ("no scale with a unit of length on x and y: mpp unknown",)
        with pytest.raises(MppError, match="--mpp"):
            slide.read(Box(0, 0, 9, 9), mpp=1)
    assert open_slide(path, 0.25).mpp == (0.25, 0.25)


@pytest.mark.parametrize(("mpp", "said"), [(100, "100"), (0.009, "0.009"), (1e-7, "1e-07")])
def test_a_scale_no_slide_has_is_not_believed(rgb: Pixels, path: Path, mpp: float, said: str) -> None:
    write_ngff(path, [rgb], mpp=mpp)
    assert open_slide(path).mpp is None
    assert f"{said} µm per px is not credible" in open_slide(path).header.notes[0]


@pytest.mark.parametrize("scale", [[1, 0.5], [1, 0, 0.5], ["a", "b", "c"], None, [1, -1, 1], [1, 1e999, 1]])
def test_a_damaged_scale_leaves_the_mpp_unknown(rgb: Pixels, path: Path, scale: Any) -> None:
    write_ngff(path, [rgb])

    def damage(content: Any) -> None:
        content["attributes"]["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] = scale

    edit(path / "zarr.json", damage)
    assert open_slide(path).mpp is None


# Levels.


def test_levels_listed_coarsest_first_are_sorted_and_that_is_said(rgb: Pixels, path: Path) -> None:
    write_ngff(path, halved(rgb, 3))
    edit(path / "zarr.json", lambda content: content["attributes"]["ome"]["multiscales"][0]["datasets"].reverse())
    with open_slide(path) as slide:
        assert [level.width for level in slide.header.levels] == [400, 200, 100]
        assert slide.mpp == (0.5, 0.5)
        assert slide.header.notes == ("levels are not listed finest first: sorted by size",)
        assert np.array_equal(slide.read(slide.bounds), rgb)


def test_a_level_of_another_shape_is_no_level_of_the_picture(rgb: Pixels, path: Path) -> None:
    write_ngff(path, [rgb, rgb[:, ::2], rgb[::2, ::2], rgb[::2, ::2]])
    assert [(level.width, level.height) for level in open_slide(path).header.levels] == [(400, 300), (200, 150)]


def test_the_first_image_of_a_bioformats2raw_folder_is_shown(rgb: Pixels, path: Path) -> None:
    root = zarr.open_group(path, mode="w", zarr_format=3)
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    root.create_group("OME").attrs["ome"] = {"version": "0.5", "series": ["1", "0"]}
    for name, pixels in (("0", rgb), ("1", rgb[::-1])):
        write_ngff(path, [pixels], group=name)
    assert np.array_equal(whole(path), rgb[::-1])
    shutil.rmtree(path / "OME")
    assert np.array_equal(whole(path), rgb)


# Absent chunks.


def remove_first_chunk(path: Path, level: str = "0") -> None:
    """The chunk (or, of channels apart, all chunks) at the top left."""
    found = [file for file in sorted((path / level).rglob("*")) if file.is_file() and file.parts[-2:] == ("0", "0")]
    assert found
    for file in found:
        file.unlink()


@pytest.mark.parametrize("channels_apart", [False, True])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_where_no_chunk_is_the_slide_is_white(
    rgb: Pixels, path: Path, version: str, channels_apart: bool, dtype: type
) -> None:
    pixels = rgb if dtype is np.uint8 else rgb.astype(np.uint16) * 257
    write_ngff(path, [pixels], version=version, chunk_px=128, channels_apart=channels_apart)
    remove_first_chunk(path)
    expected = rgb.copy()
    expected[:128, :128] = 255
    assert np.array_equal(whole(path), expected)
    with open_slide(path) as slide:
        assert np.array_equal(slide.read(Box(100, 90, 60, 70)), expected[90:160, 100:160])


def test_a_missing_shard_is_white(rgb: Pixels, path: Path) -> None:
    write_ngff(path, [rgb], chunk_px=64, shard_chunks=2)
    (path / "0/c/0/0/0").unlink()
    expected = rgb.copy()
    expected[:128, :128] = 255
    assert np.array_equal(whole(path), expected)


def test_a_channel_of_which_nothing_is_stored_is_zero_beside_others_that_are(path: Path) -> None:
    """Pure red: Zarr keeps no chunk of a channel that is 0 throughout. It is not to become white or magenta."""
    red = np.zeros((100, 100, 3), np.uint8)
    red[..., 0] = 200
    write_ngff(path, [red], channels_apart=True, chunk_px=70)
    assert np.array_equal(whole(path), red)


def test_a_fill_value_that_the_file_declares_is_kept(rgb: Pixels, path: Path) -> None:
    write_ngff(path, [rgb], chunk_px=128, fill_value=240)
    remove_first_chunk(path)
    assert (whole(path)[:128, :128] == 240).all()


# Reading.


def test_a_chunk_that_small_reads_share_is_decoded_once(rgb: Pixels, path: Path) -> None:
    write_ngff(path, [rgb], chunk_px=200)
    with open_slide(path) as slide:
        assert np.array_equal(slide.read(Box(10, 10, 20, 20)), rgb[10:30, 10:30])
        shutil.rmtree(path / "0" / "c")
        assert np.array_equal(slide.read(Box(150, 30, 50, 50)), rgb[30:80, 150:200])


def test_tiles_at_another_mpp_are_those_of_the_lossless_tiff(phantom_zarr_odd: Path, phantom_tiled: Path) -> None:
    found = []
    for path in (phantom_zarr_odd, phantom_tiled):
        with open_slide(path) as slide:
            grid = TileGrid.of(TileSpec(64, 0.7, 64), slide.size, slide.mpp, name="a")
            blocks = list(read_tiles(slide, grid, np.ones((grid.rows, grid.cols), bool)))
        found.append(np.concatenate([block.pixels for block in blocks]))
    assert np.array_equal(*found)


def test_the_same_after_a_fork_without_what_the_parent_had_decoded(phantom_zarr_sharded: Path) -> None:
    box = Box(37, 41, 700, 500)
    context = multiprocessing.get_context("fork")
    with open_slide(phantom_zarr_sharded) as slide:
        mine = slide.read(box)
        receive, send = context.Pipe(duplex=False)
        child = context.Process(target=lambda: send.send(slide.read(box).tobytes()), daemon=True)
        child.start()
        if not receive.poll(30):
            child.kill()
            pytest.fail("the child hangs")
        assert receive.recv() == mine.tobytes()
        assert np.array_equal(slide.read(box), mine)


def test_a_zip_file_is_read_like_a_folder(rgb: Pixels, path: Path) -> None:
    write_ngff(path, halved(rgb, 2))
    zipped = path.with_name("a.ome.zarr.zip")
    with zipfile.ZipFile(zipped, "w") as archive:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(path))
    assert np.array_equal(whole(zipped), rgb)
    with open_slide(zipped) as slide, pickle.loads(pickle.dumps(slide)) as again:
        assert np.array_equal(again.read(again.bounds), rgb)


def test_the_chunks_of_one_reader_are_not_the_tiles_of_another(
    phantom_zarr_04: Path, phantom_tiled: Path, phantom_pixels: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share one cache, and each reader counts its own files."""
    for module in (zarr_reader, tiff_reader):
        monkeypatch.setattr(module, "_serial", itertools.count(10**9))
    with open_slide(phantom_tiled) as tiff, open_slide(phantom_zarr_04) as ngff:
        for slide in (tiff, ngff, tiff):
            for y, x in itertools.product(range(5, 1050, 128), range(5, 1450, 128)):
                assert np.array_equal(slide.read(Box(x, y, 9, 9)), phantom_pixels[y : y + 9, x : x + 9])


# Damage and danger: one line that names the file.


def refusal(path: Path | str) -> str:
    with pytest.raises(SlideError) as caught:
        whole(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_chunk_cut_short_is_an_error(rgb: Pixels, path: Path) -> None:
    write_ngff(path, [rgb])
    chunk = path / "0/c/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-400])
    assert "cannot be decoded" in refusal(path)


def test_a_level_that_is_gone_is_an_error(rgb: Pixels, path: Path) -> None:
    write_ngff(path, halved(rgb, 2))
    shutil.rmtree(path / "1")
    refusal(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": [3, 10**9, 10**9]}, "outside the limits of 2,000,000 px a side"),
        ({"shape": [3, 0, 400]}, "outside the limits"),
        (
            {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 10**5, 10**5]}}},
            "outside the limits",
        ),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 1, 1]}}}, "outside the limits"),
        ({"shape": [3, 300]}, "a.ome.zarr"),
        ({"data_type": "float99"}, "a.ome.zarr"),
        ({"codecs": [{"name": "bytes"}, {"name": "no such codec"}]}, "a.ome.zarr"),
    ],
)
def test_sizes_out_of_all_proportion_and_damaged_metadata_are_refused(
    rgb: Pixels, path: Path, change: dict[str, Any], says: str
) -> None:
    write_ngff(path, [rgb])
    edit(path / "0/zarr.json", lambda content: content.update(change))
    assert says in refusal(path)


def test_a_shard_of_a_billion_chunks_is_refused(rgb: Pixels, path: Path) -> None:
    write_ngff(path, [rgb], chunk_px=64, shard_chunks=2)

    def grow(content: Any) -> None:
        content["shape"] = [3, 2_000_000, 2_000_000]
        content["chunk_grid"]["configuration"]["chunk_shape"] = [3, 2**21, 2**21]

    edit(path / "0/zarr.json", grow)
    assert "a shard" in refusal(path)


def test_more_levels_than_a_pyramid_can_have_are_refused(rgb: Pixels, path: Path) -> None:
    write_ngff(path, [rgb])

    def multiply(content: Any) -> None:
        content["attributes"]["ome"]["multiscales"][0]["datasets"] *= 1000

    edit(path / "zarr.json", multiply)
    assert "lists 1000 levels, 1 to 64 are read" in refusal(path)


@pytest.mark.parametrize(
    ("ome", "says"),
    [
        ({}, "without OME 'multiscales'"),
        ({"multiscales": []}, "without OME 'multiscales'"),
        ({"version": "0.5", "plate": {}}, "a plate of many images"),
        ({"version": "0.6", "multiscales": [{}]}, "OME-Zarr 0.6"),
        ({"multiscales": [{"version": "0.2", "datasets": [{"path": "0"}]}]}, "OME-Zarr 0.2"),
        ({"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "0"}]}]}, "axes are not described"),
        ({"multiscales": [{"axes": [{"name": "y"}, {"name": "q"}]}]}, "x and y are needed"),
        ({"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{}]}]}, "not a readable OME-Zarr"),
        ({"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}]}, "no array of axes"),
        ({"multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "../0"}]}]}, "a.ome.zarr"),
    ],
)
def test_a_group_that_is_no_such_image_says_why(rgb: Pixels, path: Path, ome: dict[str, Any], says: str) -> None:
    write_ngff(path, [rgb])
    edit(path / "zarr.json", lambda content: content.update(attributes={"ome": ome}))
    assert says in refusal(path)


class _Bomb:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.flag,)


@pytest.mark.parametrize("change", [{"compressor": {"id": "pickle"}}, {"filters": [{"id": "pickle"}]}])
def test_pickled_chunks_are_never_unpickled(rgb: Pixels, path: Path, change: dict[str, Any], tmp_path: Path) -> None:
    """numcodecs has a codec that runs whatever the file tells it to; Zarr keeps it from arrays of numbers."""
    write_ngff(path, [rgb], version="0.4", chunk_px=400)
    (path / "0/0/0/0").write_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
    edit(path / "0/.zarray", lambda content: content.update({"compressor": None, **change}))
    refusal(path)
    assert not (tmp_path / "ran").exists()


# Addresses.


@pytest.fixture
def in_memory(rgb: Pixels) -> Iterator[str]:
    address = "memory://slides/a.ome.zarr"
    write_ngff(zarr.storage.FsspecStore.from_url(address), halved(rgb, 2), chunk_px=128)
    yield address
    fsspec.filesystem("memory").rm("/slides", recursive=True)


@pytest.fixture
def served(rgb: Pixels, path: Path) -> Iterator[str]:
    write_ngff(path, halved(rgb, 2), chunk_px=128)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def list_directory(self, *_: object) -> None:
            """Like most servers and buckets."""
            self.send_error(403)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=path.parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/a.ome.zarr"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("where", ["in_memory", "served"])
def test_an_address_is_read_like_a_folder(where: str, rgb: Pixels, request: pytest.FixtureRequest) -> None:
    address: str = request.getfixturevalue(where)
    with open_slide(address) as slide:
        assert (str(slide.path), slide.name, slide.mpp) == (address, "a.ome.zarr", (0.5, 0.5))
        assert np.array_equal(slide.read(slide.bounds), rgb)
        assert slide.thumbnail(200).shape == (150, 200, 3)
        with pickle.loads(pickle.dumps(slide)) as again:
            assert np.array_equal(again.read(Box(5, 6, 70, 80)), rgb[6:86, 5:75])


@pytest.mark.parametrize("where", ["in_memory", "served"])
def test_a_slide_json_may_point_to_an_address(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    address: str = request.getfixturevalue(where)
    with open_slide(address, 0.25) as slide:
        info = slide.info()
        info.write(tmp_path / "slide.json")
        assert (info.path, info.source, info.fingerprint) == (address, address, fingerprint(Url(address)))
    with open_slide(tmp_path / "slide.json") as again:
        assert (again.path, again.mpp) == (Url(address), (0.25, 0.25))


def test_the_fingerprint_of_an_address_follows_the_metadata(rgb: Pixels, in_memory: str) -> None:
    before = fingerprint(Url(in_memory))
    assert before == fingerprint(Url(in_memory))
    fsspec.filesystem("memory").rm("/slides", recursive=True)
    write_ngff(zarr.storage.FsspecStore.from_url(in_memory), halved(rgb[:200], 2), chunk_px=128)
    assert fingerprint(Url(in_memory)) != before


def test_a_forked_process_reads_an_address_on(served: str) -> None:
    box = Box(3, 4, 300, 200)
    context = multiprocessing.get_context("fork")
    with open_slide(served) as slide:
        mine = slide.read(box)
        receive, send = context.Pipe(duplex=False)
        child = context.Process(target=lambda: send.send(slide.read(box).tobytes()), daemon=True)
        child.start()
        if not receive.poll(30):
            child.kill()
            pytest.fail("the child hangs")
        assert receive.recv() == mine.tobytes()
        assert np.array_equal(slide.read(box), mine)


def test_the_command_line_takes_an_address(served: str, tmp_path: Path) -> None:
    run = typer.testing.CliRunner()
    shown = run.invoke(app, ["inspect", served, "--json"])
    assert json.loads(shown.stdout)["path"] == served
    assert run.invoke(app, ["ingest", served, "--out", str(tmp_path)]).exit_code == 0
    for slide in (served, str(tmp_path / "slide.json")):
        args = ["tiles", slide, "--out", str(tmp_path / "tiles.parquet"), "--mpp", "0.5", "--min-tissue", "0"]
        assert run.invoke(app, args).exit_code == 0
        assert len(pq.read_table(tmp_path / "tiles.parquet")) == 4 * 3


def test_a_file_address_is_a_path(rgb: Pixels, path: Path, phantom_tiled: Path) -> None:
    write_ngff(path, [rgb])
    assert np.array_equal(whole(f"file://{path}"), rgb)
    with open_slide(phantom_tiled.as_uri()) as slide:
        assert (slide.path, slide.reader_name) == (phantom_tiled, "tiff")
    with pytest.raises(InputError, match="three slashes"):
        source_of("file://server/share/a.zarr")


def test_what_is_not_there_is_said_with_the_address(served: str) -> None:
    assert "no Zarr group there" in refusal(served.replace("a.ome.zarr", "b.ome.zarr"))
    assert "no Zarr group there" in refusal("memory://nowhere/a.ome.zarr")
    refusal("http://127.0.0.1:1/a.ome.zarr")


def test_an_unknown_kind_of_address_is_refused() -> None:
    assert "nothing is known to read ipxs:// addresses" in refusal("ipxs://a/b.zarr")


def test_a_missing_driver_is_one_line_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"Install something to access {name}")

    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    assert "pip install 'tesela[remote]'" in refusal("s3://bucket/a.ome.zarr")
    assert "pip install 'tesela[remote]'" in refusal("https://host/a.ome.zarr")
    assert "pip install 'gcsfs'" in refusal("gs://bucket/a.ome.zarr")


def test_an_address_keeps_its_names() -> None:
    url = source_of("s3://bucket/of/A%201.ome.zarr")
    assert isinstance(url, Url)
    assert (url.scheme, url.name, url.stem) == ("s3", "A 1.ome.zarr", "A 1.ome")
    assert str(url) == "s3://bucket/of/A%201.ome.zarr"
    assert source_of("C:/slides/a.svs") == Path("C:/slides/a.svs")
