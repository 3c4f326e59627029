"""Flat pictures: JPEG, PNG, JPEG 2000, JPEG XL, WebP, BMP. The reader's contract: test_wsi_readers.py."""

from __future__ import annotations

import io
import multiprocessing
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from wsi.errors import SlideError
from wsi.geometry import Box
from wsi.ingest import ingest
from wsi.readers import streamed
from wsi.readers.alpha import over_white
from wsi.readers.base import MAX_STRIP_PX
from wsi.readers.declared import declared_size, held_whole, jxl_depth, kind_of
from wsi.readers.picture import reader as picture
from wsi.readers.streamed import StreamedPicture
from wsi.slide import Slide, open_slide

Pixels = NDArray[np.uint8]


def smooth(height: int, width: int, seed: int = 5) -> Pixels:
    """Colours that change slowly, so that JPEG keeps them."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def rgb() -> Pixels:
    return smooth(240, 320)


def by_pillow(pixels: Pixels | Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(out, kind, **options)
    return out.getvalue()


ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "png": lambda pixels: by_pillow(pixels, "PNG"),
    "bmp": lambda pixels: by_pillow(pixels, "BMP", dpi=(0, 0)),
    "webp": lambda pixels: by_pillow(pixels, "WEBP", lossless=True),
    "jp2": lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="jp2"),
    "j2k": lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k"),
    "jxl": lambda pixels: imagecodecs.jpegxl_encode(pixels, lossless=True),
    "jxl in boxes": lambda pixels: imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=True),
    "jpeg": lambda pixels: by_pillow(pixels, "JPEG", quality=95, subsampling=0),
    "jpeg progressive": lambda pixels: by_pillow(pixels, "JPEG", quality=95, subsampling=0, progressive=True),
}


def written(folder: Path, data: bytes, name: str = "a.picture") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def whole(path: Path) -> Pixels:
    with open_slide(path) as slide:
        return slide.read(slide.bounds)


def refusal(path: Path) -> str:
    with pytest.raises(SlideError) as caught:
        whole(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# Sizes, from headers alone.


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (37, 53), (64, 64), (90, 160), (300, 400), (1, 5000), (768, 1024)])
def test_the_declared_size_is_the_pictures(kind: str, size: tuple[int, int]) -> None:
    data = ENCODERS[kind](np.full((*size, 3), 90, np.uint8))
    assert declared_size(data) == (size[1], size[0])
    assert kind_of(data) == {"j2k": "jp2"}.get(kind, kind.partition(" ")[0])


def test_the_declared_size_of_lossy_and_of_extended_webp() -> None:
    pixels = np.full((37, 53, 3), 90, np.uint8)
    assert declared_size(by_pillow(pixels, "WEBP", quality=50)) == (53, 37)
    assert declared_size(by_pillow(pixels, "WEBP", icc_profile=b"x" * 200)) == (53, 37)


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_header_cut_anywhere_declares_its_size_or_none(kind: str) -> None:
    data = ENCODERS[kind](np.full((37, 53, 3), 90, np.uint8))
    assert {declared_size(data[:length]) for length in range(len(data))} <= {None, (53, 37)}


def test_of_other_bytes_no_size_is_declared() -> None:
    rng = np.random.default_rng(0)
    for start in (
        b"",
        b"II*\0",
        b"BM",
        b"RIFF",
        b"\xff\xd8\xff",
        b"\xff\x0a",
        b"\xff\x4f\xff\x51",
        b"\x89PNG\r\n\x1a\n",
    ):
        for _ in range(200):
            declared_size(start + rng.bytes(60))
    assert declared_size(b"") is None
    assert declared_size(b"BM is how a text may begin, too; and go on") is None


def test_the_size_of_a_jpeg_2000_is_its_codestreams_and_not_its_boxes() -> None:
    data = bytearray(ENCODERS["jp2"](np.zeros((37, 53, 3), np.uint8)))
    at = data.index(b"ihdr")
    data[at + 4 : at + 12] = struct.pack(">II", 7, 7)
    assert declared_size(bytes(data)) == (53, 37)


def test_segments_before_the_size_are_passed_over() -> None:
    data = by_pillow(np.zeros((37, 53, 3), np.uint8), "JPEG")
    for before in (b"\xff\xe1\x00\x06\xff\xc0\x00\x00", b"\xff\xff\xff\xe1\x00\x02", b"\xff\xe1\x00\x02noise"):
        assert declared_size(data[:2] + before + data[2:]) == (53, 37)


def test_progressive_and_interlaced_pictures_are_known_by_their_headers() -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    assert not held_whole(ENCODERS["jpeg"](pixels))
    assert held_whole(ENCODERS["jpeg progressive"](pixels))
    assert not held_whole(ENCODERS["png"](pixels))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_the_depth_of_a_jpeg_xl_is_read(bits: int) -> None:
    pixels = np.full((20, 20, 3), 7, np.uint8 if bits == 8 else np.uint16)
    assert jxl_depth(imagecodecs.jpegxl_encode(pixels, lossless=True, bitspersample=bits)) == bits


# Pixels.


@pytest.mark.parametrize("name", ["a.png", "a.svs", "a.tif", "a"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_a_picture_is_known_by_what_it_holds_and_not_by_its_name(
    rgb: Pixels, kind: str, name: str, tmp_path: Path
) -> None:
    with open_slide(written(tmp_path, ENCODERS[kind](rgb), name)) as slide:
        assert (slide.reader_name, slide.size, slide.header.random_access) == ("picture", (320, 240), False)
        difference = np.abs(slide.read(slide.bounds).astype(int) - rgb)
        assert difference.max() <= (9 if "jpeg" in kind else 0)
        assert slide.mpp is None
        assert slide.header.notes == ()


@pytest.mark.parametrize("kind", [kind for kind in ENCODERS if kind != "webp"])
def test_grey_becomes_rgb(rgb: Pixels, kind: str, tmp_path: Path) -> None:
    grey = np.ascontiguousarray(rgb[..., 0])
    found = whole(written(tmp_path, ENCODERS[kind](grey))).astype(int)
    assert np.abs(found - grey[..., None]).max() <= (6 if "jpeg" in kind else 0)


@pytest.mark.parametrize("kind", ["png", "webp", "jp2", "jxl"])
def test_transparent_pixels_lie_on_white(rgb: Pixels, kind: str, tmp_path: Path) -> None:
    rgba = np.dstack([rgb, np.where(rgb[..., 1] > 99, 255, 0).astype(np.uint8)])
    found = whole(written(tmp_path, ENCODERS[kind](rgba)))
    assert np.array_equal(found, over_white(rgba))


def test_a_palette_is_looked_up_and_its_transparent_entries_are_white(rgb: Pixels, tmp_path: Path) -> None:
    palette = Image.fromarray(rgb).quantize(16)
    found = whole(written(tmp_path, by_pillow(palette, "PNG")))
    assert np.array_equal(found, np.asarray(palette.convert("RGB")))
    found = whole(written(tmp_path, by_pillow(palette, "PNG", transparency=3)))
    assert (found[np.asarray(palette) == 3] == 255).all()
    found = whole(written(tmp_path, by_pillow(palette, "BMP")))
    assert np.array_equal(found, np.asarray(palette.convert("RGB")))


def test_black_and_white_becomes_rgb(rgb: Pixels, tmp_path: Path) -> None:
    bits = rgb[..., 0] > 128
    for kind in ("PNG", "BMP"):
        found = whole(written(tmp_path, by_pillow(Image.fromarray(bits), kind)))
        assert np.array_equal(found, np.repeat(bits[..., None], 3, axis=2) * np.uint8(255))


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("kind", ["png", "jp2", "jxl"])
def test_more_than_eight_bits_are_scaled_and_that_is_said(rgb: Pixels, kind: str, bits: int, tmp_path: Path) -> None:
    deep = np.rint(rgb / 255 * ((1 << bits) - 1)).astype(np.uint16)
    if kind == "png":
        bits, data = 16, imagecodecs.png_encode(rgb.astype(np.uint16) * 257)
    elif kind == "jp2":
        data = imagecodecs.jpeg2k_encode(deep, level=0, bitspersample=bits)
    else:
        data = imagecodecs.jpegxl_encode(deep, lossless=True, bitspersample=bits)
    path = written(tmp_path, data)
    assert np.array_equal(whole(path), rgb)
    assert open_slide(path).header.notes == (f"{bits} bits a channel: 0 to {(1 << bits) - 1} scaled to 0 to 255",)


def test_a_cmyk_jpeg_is_turned_into_rgb_and_that_is_said(rgb: Pixels, tmp_path: Path) -> None:
    cmyk = np.dstack([255 - rgb, np.full(rgb.shape[:2], 40, np.uint8)])
    path = written(tmp_path, by_pillow(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=98))
    expected = (rgb.astype(int) * 215) // 255
    assert np.abs(whole(path) - expected).mean() < 1
    assert open_slide(path).header.notes == ("CMYK: turned into RGB by arithmetic, without its colour profile",)


# What the picture says of itself.


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_dots_per_inch_give_the_mpp_where_a_slide_can_have_it(rgb: Pixels, kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, by_pillow(rgb, kind, dpi=(50_800, 49_000)))
    assert open_slide(path).mpp == pytest.approx((0.5, 25_400 / 49_000), rel=1e-3)


@pytest.mark.parametrize("dpi", [72, 96, 300])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_programs_write_that_know_nothing_is_no_mpp_and_that_is_said(
    rgb: Pixels, kind: str, dpi: int, tmp_path: Path
) -> None:
    path = written(tmp_path, by_pillow(rgb, kind, dpi=(dpi, dpi)))
    assert open_slide(path).mpp is None
    assert f"{dpi} dots per inch" in open_slide(path).header.notes[0]


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_a_resolution_finer_than_light_is_no_mpp_and_that_is_said(rgb: Pixels, kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, by_pillow(rgb, kind, dpi=(50_000_000, 50_000_000)))
    assert open_slide(path).mpp is None
    assert open_slide(path).header.notes == (
        "the file says 5e+07 dots per inch, which no microscope resolves; mpp taken as unknown",
    )


def test_the_capture_resolution_of_a_jpeg_2000_gives_the_mpp(rgb: Pixels, tmp_path: Path) -> None:
    data = ENCODERS["jp2"](rgb)
    resc = struct.pack(">I4s4H2b", 18, b"resc", 25, 12, 2, 1, 6, 6)  # 2.08e6 px a metre down, 2e6 across
    box = struct.pack(">I4s", 8 + len(resc), b"res ") + resc
    at = data.index(b"jp2h") - 4
    length = struct.unpack(">I", data[at : at + 4])[0]
    header = struct.pack(">I", length + len(box)) + data[at + 4 : at + length] + box
    path = written(tmp_path, data[:at] + header + data[at + length :])
    assert open_slide(path).mpp == pytest.approx((0.5, 0.48))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_colour_profile_is_kept(rgb: Pixels, kind: str, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = written(tmp_path, by_pillow(rgb, kind, icc_profile=profile))
    assert open_slide(path).header.icc_profile == profile


def test_a_colour_profile_that_is_not_for_rgb_is_left_out_and_that_is_said(rgb: Pixels, tmp_path: Path) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"CMYK"
    cmyk = Image.fromarray(rgb).convert("CMYK")
    path = written(tmp_path, by_pillow(cmyk, "JPEG", icc_profile=bytes(profile)))
    assert open_slide(path).header.icc_profile is None
    assert "its colour profile is for CMYK, not for RGB: left out" in open_slide(path).header.notes


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pixels_stay_as_stored_and_the_orientation_is_said(rgb: Pixels, kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = written(tmp_path, by_pillow(rgb, kind, exif=exif))
    with open_slide(path) as slide:
        assert slide.size == (320, 240)
        assert "EXIF says to show it turned by 90° to the right: left as stored" in slide.header.notes[0]


def test_the_pictures_text_is_its_description(rgb: Pixels, tmp_path: Path) -> None:
    assert open_slide(written(tmp_path, by_pillow(rgb, "JPEG", comment="H&E"))).header.description == "H&E"
    exif = Image.Exif()
    exif[270] = "block 3"
    assert open_slide(written(tmp_path, by_pillow(rgb, "PNG", exif=exif))).header.description == "block 3"


def test_ingest_makes_a_pyramid_of_it(tmp_path: Path) -> None:
    path = written(tmp_path, by_pillow(smooth(700, 900), "PNG", dpi=(50_800, 50_800)))
    info = ingest(path, tmp_path / "out")
    assert (info.path, info.source) == (str(tmp_path / "out" / "slide.ome.tif"), str(path))
    with open_slide(tmp_path / "out" / "slide.json") as slide:
        assert slide.header.random_access
        assert slide.mpp == pytest.approx((0.5, 0.5), rel=1e-4)


# Damage: an error that names the file, never grey in its place.


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_picture_cut_short_is_an_error(rgb: Pixels, kind: str, share: float, tmp_path: Path) -> None:
    data = ENCODERS[kind](rgb)
    refusal(written(tmp_path, data[: int(len(data) * share)]))


def test_a_jpeg_without_its_last_byte_is_an_error(rgb: Pixels, tmp_path: Path) -> None:
    assert "copy it again" in refusal(written(tmp_path, ENCODERS["jpeg"](rgb)[:-1]))


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_first_bytes_alone_are_an_error(kind: str, tmp_path: Path) -> None:
    data = ENCODERS[kind](np.zeros((64, 64, 3), np.uint8))
    for length in (4, 12, 16, min(40, len(data) - 1)):
        refusal(written(tmp_path, data[:length]))


def test_the_thumbnail_beside_which_a_mirax_slide_is_missing_is_no_slide(rgb: Pixels, tmp_path: Path) -> None:
    assert "a MIRAX slide without its folder a" in refusal(written(tmp_path, ENCODERS["jpeg"](rgb), "a.mrxs"))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("jp2", "more than 4 channels"), ("jxl", "JPEG XL of floats")],
)
def test_pixels_that_are_no_colour_picture_are_refused(kind: str, reason: str, tmp_path: Path) -> None:
    many = np.zeros((64, 64, 6), np.uint8) if kind == "jp2" else np.zeros((64, 64, 3), np.float32)
    data = imagecodecs.jpeg2k_encode(many, level=0, planar=False) if kind == "jp2" else imagecodecs.jpegxl_encode(many)
    message = refusal(written(tmp_path, data))
    assert reason in message
    assert "convert it to 8-bit RGB TIFF first" in message


def enlarged(kind: str, width: int, height: int) -> bytes:
    """A small picture whose header declares another size."""
    data = bytearray(ENCODERS[kind](np.zeros((64, 64, 3), np.uint8)))
    if kind == "png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    if kind in ("jp2", "j2k"):
        at = data.index(b"\xff\x4f\xff\x51")
        data[at + 8 : at + 16] = struct.pack(">II", width, height)
        data[at + 24 : at + 32] = struct.pack(">II", width, height)
    if kind == "bmp":
        data[18:26] = struct.pack("<ii", width, height)
    if kind == "jpeg progressive":
        at = data.index(b"\xff\xc2")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("kind", "width", "height"),
    [
        ("png", 3_000_000, 2),
        ("jp2", 60_000, 60_000),
        ("j2k", 12_000, 12_000),
        ("bmp", 50_000, 50_000),
        ("jpeg progressive", 60_000, 60_000),
    ],
)
def test_a_small_file_that_declares_a_huge_picture_is_refused_before_anything_is_allocated(
    kind: str, width: int, height: int, tmp_path: Path
) -> None:
    path = written(tmp_path, enlarged(kind, width, height))
    tracemalloc.start()
    message = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"declares {width} × {height} px" in message
    assert peak < 1e6


# Pictures too large to hold.


@pytest.fixture(scope="module")
def tall() -> Pixels:
    return smooth(1000, 700, seed=8)


STREAMED: dict[str, Callable[[Pixels, Path], object]] = {
    "png": lambda pixels, path: path.write_bytes(by_pillow(pixels, "PNG")),
    "png 16 bits": lambda pixels, path: path.write_bytes(imagecodecs.png_encode(pixels.astype(np.uint16) * 257)),
    "deflate strip": lambda pixels, path: tifffile.imwrite(
        path, pixels, photometric="rgb", compression="adobe_deflate", rowsperstrip=len(pixels)
    ),
    "lzw strip": lambda pixels, path: tifffile.imwrite(
        path, pixels, photometric="rgb", compression="lzw", rowsperstrip=len(pixels)
    ),
    "grey strip, 16 bits": lambda pixels, path: tifffile.imwrite(
        path, pixels[..., 0].astype(np.uint16) * 257, compression="adobe_deflate", rowsperstrip=len(pixels)
    ),
}


@pytest.mark.parametrize("kind", STREAMED)
def test_rows_that_are_streamed_are_the_pictures(tall: Pixels, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.picture"
    STREAMED[kind](tall, path)
    expected = np.repeat(tall[..., :1], 3, axis=2) if "grey" in kind else tall
    picture = StreamedPicture(path, 700, 1000)
    for top in range(0, 1000, 150):  # downwards, as convert reads
        height = min(150, 1000 - top)
        assert np.array_equal(picture.rows(0, top, 700, height), expected[top : top + height])
    for x, y, width, height in [(300, 900, 200, 100), (5, 0, 1, 1), (0, 440, 700, 77), (699, 3, 1, 997)]:
        assert np.array_equal(picture.rows(x, y, width, height), expected[y : y + height, x : x + width])


def test_what_is_no_longer_held_is_decoded_again(tall: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "_KEPT_BYTES", 1)
    STREAMED["png"](tall, tmp_path / "a.png")
    picture = StreamedPicture(tmp_path / "a.png", 700, 1000)
    for top in (900, 0, 500, 499, 100, 990):
        assert np.array_equal(picture.rows(0, top, 700, 10), tall[top : top + 10])


def test_eight_threads_stream_what_one_does(tall: Pixels, tmp_path: Path) -> None:
    STREAMED["png"](tall, tmp_path / "a.png")
    picture = StreamedPicture(tmp_path / "a.png", 700, 1000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda top: picture.rows(0, top, 700, 50), range(0, 950, 50)))
    assert np.array_equal(np.concatenate(found), tall[:950])


@pytest.fixture
def streams_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "_HELD_PX", 0)


@pytest.mark.usefixtures("streams_everything")
@pytest.mark.parametrize("kind", ["png", "jpeg", "jpeg progressive"])
def test_a_picture_that_is_streamed_reads_as_one_that_is_held(
    tall: Pixels, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, ENCODERS[kind](tall))
    by_rows = whole(path)
    monkeypatch.setattr(picture, "_HELD_PX", 1 << 30)
    assert np.array_equal(by_rows, whole(path))


@pytest.mark.usefixtures("streams_everything")
def test_a_cmyk_jpeg_that_is_streamed_reads_as_one_that_is_held(
    tall: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, by_pillow(Image.fromarray(tall).convert("CMYK"), "JPEG", quality=95))
    by_rows = whole(path)
    monkeypatch.setattr(picture, "_HELD_PX", 1 << 30)
    assert np.array_equal(by_rows, whole(path))


@pytest.mark.usefixtures("streams_everything")
@pytest.mark.parametrize("kind", ["png", "jpeg", "jpeg progressive"])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_streamed_picture_cut_short_is_an_error(tall: Pixels, kind: str, share: float, tmp_path: Path) -> None:
    data = ENCODERS[kind](tall)
    path = written(tmp_path, data[: int(len(data) * share)])
    assert "copy it again" in refusal(path)
    with open_slide(path) as slide:
        for _ in range(2):  # nor is it forgotten
            with pytest.raises(SlideError):
                slide.read(Box(0, 0, 700, 1000))


def test_a_jpeg_with_data_missing_inside_is_an_error(tall: Pixels, tmp_path: Path) -> None:
    """Half of it, and the mark that ends a picture: libjpeg fills the rest with grey."""
    data = ENCODERS["jpeg"](tall)
    assert "copy it again" in refusal(written(tmp_path, data[: len(data) // 2] + b"\xff\xd9"))


def test_a_strip_cut_short_is_an_error(tall: Pixels, tmp_path: Path) -> None:
    STREAMED["deflate strip"](tall, tmp_path / "a.tif")
    path = written(tmp_path, (tmp_path / "a.tif").read_bytes()[:-5000], "b.tif")
    with pytest.raises(SlideError, match=r"b\.tif"):
        StreamedPicture(path, 700, 1000).rows(0, 0, 700, 1000)


def test_a_picture_of_another_size_than_its_header_said_is_an_error(tall: Pixels, tmp_path: Path) -> None:
    STREAMED["png"](tall, tmp_path / "a.png")
    with pytest.raises(SlideError, match=r"a\.png: 700 × 1000 px .* its header says 900 × 1000"):
        StreamedPicture(tmp_path / "a.png", 900, 1000).rows(0, 0, 9, 9)


def _send_all(slide: Slide, send: Connection) -> None:
    send.send(slide.read(slide.bounds).tobytes())


@pytest.mark.usefixtures("streams_everything")
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_forked_process_streams_on(tall: Pixels, kind: str, tmp_path: Path) -> None:
    """Also where libvips had threads of its own in the parent, and while another thread of the parent decodes."""
    path = written(tmp_path, ENCODERS[kind](tall))
    pyvips.Image.new_from_file(str(path)).shrink(2, 2).numpy()
    other = StreamedPicture(path, 700, 1000)
    context = multiprocessing.get_context("fork")
    with open_slide(path) as slide, ThreadPoolExecutor(1) as pool:
        mine = slide.read(Box(0, 0, 700, 1000))
        slide.read(Box(0, 0, 700, 100))
        for _ in range(5):
            busy = pool.submit(lambda: [other.rows(0, top, 700, 9) for top in (900, 0, 900, 0)])
            receive, send = context.Pipe(duplex=False)
            child = context.Process(target=_send_all, args=(slide, send), daemon=True)
            child.start()
            if not receive.poll(30):
                child.kill()
                pytest.fail("the child hangs")
            assert receive.recv() == mine.tobytes()
            assert np.array_equal(slide.read(Box(0, 100, 700, 900)), mine[100:])
            busy.result()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_picture(tmp_path: Path) -> None:
    """A JPEG of 600 Mpx, 1.8 GB of RGB. The pages of the file itself, which libvips maps, count as well."""
    import subprocess
    import sys

    path = tmp_path / "large.jpg"
    band = pyvips.Image.new_from_array(smooth(500, 30_000)).cast("uchar").copy(interpretation="srgb")
    band.replicate(1, 40).jpegsave(str(path), Q=80)
    script = (
        "import sys; from wsi.slide import open_slide; from wsi.geometry import Box\n"
        "from wsi.memory import peak_rss_bytes\n"
        "with open_slide(sys.argv[1]) as slide:\n"
        "    before = peak_rss_bytes()\n"
        "    for top in range(0, 20_000, 500): slide.read(Box(0, top, 30_000, 500))\n"
        "    print((peak_rss_bytes() - before) / 2**20)\n"
    )
    grown_mb = float(subprocess.run([sys.executable, "-c", script, path], capture_output=True, check=True).stdout)
    assert grown_mb < 500


@pytest.mark.real
def test_real_photographs_read_as_pillow_reads_them(real_data: Path) -> None:
    pictures = [*sorted((real_data / "pens").rglob("*.jpg"))[:25], *sorted((real_data / "pens").rglob("*.png"))[:25]]
    assert len(pictures) == 50
    for path in [*pictures, *sorted((real_data / "tiles/nct-crc").rglob("*.[jp][pn]g"))]:
        expected = np.asarray(Image.open(path).convert("RGB"))
        assert np.array_equal(whole(path), expected), path.name


def test_the_limit_on_pictures_held_whole_is_that_of_strips() -> None:
    assert picture._LIMIT_PX["jp2"] == MAX_STRIP_PX // 4
