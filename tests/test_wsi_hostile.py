"""Files that no honest writer makes: each reads, or is refused in one line. Never a crash, a hang or wrong pixels.

OpenSlide's own test cases for generic TIFF are here by their names: sparse, truncated tile, no tiles, directory loop,
zero denominator in the resolution, partial LZW tile, empty file. What OpenSlide shows of them is what Tesela may show.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import imagecodecs
import numpy as np
import openslide
import pytest
from numpy.typing import NDArray

from tests.fuzzing import tiffbytes as t
from tests.fuzzing.probing import Prober, Verdict
from tests.fuzzing.tiffbytes import Page, Tag, rgb_page, write_tiff
from wsi.errors import WsiError
from wsi.geometry import Box
from wsi.readers.openslide import over_white
from wsi.slide import open_slide

Pixels = NDArray[np.uint8]
WIDTH, HEIGHT, TILE = 200, 160, 64
COLUMNS, ROWS = 4, 3
BOUNDS = Box(0, 0, WIDTH, HEIGHT)


def picture() -> Pixels:
    """(ROWS * TILE, COLUMNS * TILE, 3): noise, smoothed enough for JPEG to be close to it."""
    coarse = np.random.default_rng(1).integers(0, 256, (ROWS * TILE // 16, COLUMNS * TILE // 16, 3), np.uint8)
    return coarse.repeat(16, 0).repeat(16, 1)


def jpeg(tile: Pixels) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(tile, level=95, colorspace="RGB", outcolorspace="YCBCR", subsampling="444"))


CODECS: dict[str, tuple[int, Callable[[Pixels], bytes]]] = {
    "jpeg": (7, jpeg),
    "lzw": (5, lambda tile: bytes(imagecodecs.lzw_encode(tile.tobytes()))),
    "deflate": (8, lambda tile: bytes(imagecodecs.zlib_encode(tile.tobytes()))),
    "packbits": (32773, lambda tile: bytes(imagecodecs.packbits_encode(tile))),
    "zstd": (50000, lambda tile: bytes(imagecodecs.zstd_encode(tile.tobytes()))),
    "webp": (50001, lambda tile: bytes(imagecodecs.webp_encode(tile, lossless=True))),
    "jpeg 2000": (33005, lambda tile: bytes(imagecodecs.jpeg2k_encode(tile, level=0, codecformat="j2k"))),
    "jpeg xl": (50002, lambda tile: bytes(imagecodecs.jpegxl_encode(tile, lossless=True))),
    "none": (1, lambda tile: tile.tobytes()),
}
BY_OPENSLIDE = ("jpeg", "lzw", "deflate", "packbits", "zstd", "none")


def page(codec: str) -> Page:
    """A healthy page."""
    number, encode = CODECS[codec]
    whole = picture()
    cut = [
        np.ascontiguousarray(whole[row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE])
        for row in range(ROWS)
        for col in range(COLUMNS)
    ]
    size, tile = (WIDTH, HEIGHT), (TILE, TILE)
    made = rgb_page(size, tile, map(encode, cut), number, 6 if codec == "jpeg" else 2)
    return made.with_tags({t.SUBSAMPLING: Tag(t.SHORT, [1, 1])}) if codec == "jpeg" else made


def with_tile(original: Page, index: int, tile: bytes) -> Page:
    return replace(original, tiles=(*original.tiles[:index], tile, *original.tiles[index + 1 :]))


def with_tag(original: Page, code: int, kind: int, *values: int, claimed: int | None = None) -> Page:
    return original.with_tags({code: Tag(kind, values, claimed)})


@pytest.fixture(scope="module")
def prober(phantom_zarr: Path, phantom_jpeg: Path) -> Iterator[Prober]:
    with Prober((phantom_zarr, phantom_jpeg)) as started:
        yield started


@pytest.fixture
def place(tmp_path: Path) -> Callable[[bytes], Path]:
    def placed(raw: bytes) -> Path:
        path = tmp_path / "hostile.tif"
        path.write_bytes(raw)
        return path

    return placed


def by_openslide(path: Path) -> Pixels | None:
    """What OpenSlide shows of the slide over white; None where it refuses the file or the region."""
    try:
        with openslide.OpenSlide(path) as slide:
            return over_white(np.asarray(slide.read_region((0, 0), 0, (WIDTH, HEIGHT))))
    except openslide.OpenSlideError:
        return None


def read(path: Path, box: Box = BOUNDS) -> Pixels | None:
    """What Tesela shows; None where it refuses."""
    try:
        with open_slide(path) as slide:
            return slide.read(box)
    except WsiError as error:
        refusal = str(error)
    assert path.name in refusal
    assert "\n" not in refusal
    return None


def close_to(found: Pixels, expected: Pixels) -> bool:
    return bool(np.abs(found.astype(int) - expected).max() <= 2)


def expected(*white: int) -> Pixels:
    """The picture with some tiles white."""
    whole = picture()
    for index in white:
        row, col = divmod(index, COLUMNS)
        whole[row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE] = 255
    return whole[:HEIGHT, :WIDTH]


# --- OpenSlide's cases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", CODECS)
def test_healthy_files_of_this_suite_read_as_they_were_written(codec: str, place: Callable[[bytes], Path]) -> None:
    path = place(write_tiff([page(codec)]))
    found = read(path)
    assert found is not None
    assert close_to(found, expected())
    if codec in BY_OPENSLIDE:
        shown = by_openslide(path)
        assert shown is not None
        assert close_to(found, shown)


@pytest.mark.parametrize("missing", [(0,), (3, 5), tuple(range(12))])
@pytest.mark.parametrize("codec", CODECS)
def test_sparse_tiles_are_white(codec: str, missing: tuple[int, ...], place: Callable[[bytes], Path]) -> None:
    whole = page(codec)
    path = place(write_tiff([replace(whole, cells=tuple(None if i in missing else i for i in range(12)))]))
    found = read(path)
    assert found is not None
    assert close_to(found, expected(*missing))
    if codec in BY_OPENSLIDE:
        shown = by_openslide(path)
        assert shown is not None
        assert close_to(found, shown)


@pytest.mark.parametrize("codec", CODECS)
def test_a_tile_without_bytes_is_white(codec: str, place: Callable[[bytes], Path]) -> None:
    found = read(place(write_tiff([with_tile(page(codec), 5, b"")])))
    assert found is not None
    assert close_to(found, expected(5))


@pytest.mark.parametrize("codec", CODECS)
def test_a_tile_without_bytes_is_white_after_its_neighbour_was_read(codec: str, place: Callable[[bytes], Path]) -> None:
    """Both start at the same byte: a cache that knows tiles by their offset alone would show the neighbour."""
    with open_slide(place(write_tiff([with_tile(page(codec), 5, b"")]))) as slide:
        neighbour = Box(2 * TILE + 8, TILE + 8, 16, 16)
        assert close_to(slide.read(neighbour), expected()[TILE + 8 : TILE + 24, 2 * TILE + 8 : 2 * TILE + 24])
        assert (slide.read(Box(TILE + 8, TILE + 8, 16, 16)) == 255).all()


def test_planes_that_share_their_first_channel_are_kept_apart(place: Callable[[bytes], Path]) -> None:
    """Two tiles whose red is the same bytes, but not their green."""
    flat = [CODECS["lzw"][1](np.full((TILE, TILE), value, np.uint8)) for value in (10, 20, 200)]
    made = rgb_page((2 * TILE, TILE), (TILE, TILE), flat, 5)
    path = place(write_tiff([replace(with_tag(made, t.PLANAR, t.SHORT, 2), cells=(0, 0, 1, 2, 1, 1))]))
    with open_slide(path) as slide:
        assert (slide.read(Box(8, 8, 8, 8)) == (10, 20, 20)).all()
        assert (slide.read(Box(TILE + 8, 8, 8, 8)) == (10, 200, 20)).all()


def test_a_picture_in_one_raw_strip_that_is_missing_is_white(place: Callable[[bytes], Path]) -> None:
    """Not its second half alone, with the file's own header as pixels before it."""
    size = (1_000, 3_000)
    tags = {code: tag for code, tag in page("none").tags.items() if code not in (t.TILE_WIDTH, t.TILE_LENGTH)}
    sizes = {t.WIDTH: Tag(t.LONG, [size[0]]), t.LENGTH: Tag(t.LONG, [size[1]])}
    missing = {t.ROWS_PER_STRIP: Tag(t.LONG, [size[1]]), t.STRIP_OFFSETS: Tag(t.LONG, [0])}
    found = Page({**tags, **sizes, **missing}, (bytes(size[0] * size[1] * 3),), (0,))
    shown = read(place(write_tiff([found])), Box(0, 0, *size))
    assert shown is None or (shown == 255).all()


@pytest.mark.parametrize("codec", CODECS)
def test_a_tile_that_ends_beyond_the_file_is_refused(codec: str, place: Callable[[bytes], Path]) -> None:
    whole = page(codec)
    length = len(write_tiff([whole]))
    starts = [8 + sum(map(len, whole.tiles[:i])) for i in range(len(whole.tiles))]
    for start in (length - 10, length, length + 10_000):
        path = place(write_tiff([with_tag(whole, t.TILE_OFFSETS, t.LONG, *starts[:-1], start)]))
        assert read(path) is None
        if codec in BY_OPENSLIDE:
            assert by_openslide(path) is None


@pytest.mark.parametrize("share", [0.999, 0.9, 0.6, 0.3, 0.01])
@pytest.mark.parametrize("codec", CODECS)
def test_a_tile_cut_short_inside_is_never_shown_wrong(codec: str, share: float, place: Callable[[bytes], Path]) -> None:
    """Partial LZW and JPEG tiles among them. A decoder may give up only once every pixel is out."""
    whole = page(codec)
    cut = whole.tiles[5][: min(len(whole.tiles[5]) - 1, int(len(whole.tiles[5]) * share))]
    found = read(place(write_tiff([with_tile(whole, 5, cut)])))
    assert found is None or close_to(found, expected())


@pytest.mark.parametrize("codec", ["lzw", "deflate", "packbits", "zstd", "none"])
def test_a_tile_that_decodes_to_too_little_is_refused(codec: str, place: Callable[[bytes], Path]) -> None:
    """A partial tile: whole as a stream, but with too few rows."""
    short = CODECS[codec][1](np.zeros((TILE // 2, TILE, 3), np.uint8))
    assert read(place(write_tiff([with_tile(page(codec), 5, short)]))) is None


@pytest.mark.parametrize("side", [TILE // 2, TILE - 8, TILE + 8, TILE * 2])
@pytest.mark.parametrize("codec", ["jpeg", "jpeg 2000", "webp", "jpeg xl"])
def test_a_tile_of_another_size_than_declared_is_never_shown_wrong(
    codec: str, side: int, place: Callable[[bytes], Path]
) -> None:
    """A larger one may be cropped where its own top-left is the tile."""
    large = np.zeros((side, side, 3), np.uint8)
    inner = picture()[TILE : 2 * TILE, TILE : 2 * TILE][:side, :side]
    large[: len(inner), : len(inner)] = inner
    found = read(place(write_tiff([with_tile(page(codec), 5, CODECS[codec][1](large))])))
    if side < TILE:
        assert found is None
    else:
        assert found is None or np.abs(found.astype(int) - expected()).mean() < 1


@pytest.mark.parametrize("drop", [(t.TILE_OFFSETS,), (t.TILE_COUNTS,), (t.TILE_OFFSETS, t.TILE_COUNTS)])
@pytest.mark.parametrize("codec", CODECS)
def test_no_tiles_are_refused(codec: str, drop: tuple[int, ...], place: Callable[[bytes], Path]) -> None:
    """The arrays are there, but empty."""
    path = place(write_tiff([page(codec).with_tags({code: Tag(t.LONG, []) for code in drop})]))
    assert read(path) is None
    assert by_openslide(path) is None


def renumbered(raw: bytes, code: int) -> bytes:
    """The file with a tag that nobody knows instead of `code`."""
    at = raw.rindex(struct.pack("<HH", code, t.LONG))
    return raw[:at] + struct.pack("<H", 65_000) + raw[at + 2 :]


@pytest.mark.parametrize("code", [t.TILE_OFFSETS, t.WIDTH, t.LENGTH])
def test_a_page_without_a_tag_that_it_needs_is_refused(code: int, place: Callable[[bytes], Path]) -> None:
    path = place(renumbered(write_tiff([page("lzw")]), code))
    assert read(path) is None
    assert by_openslide(path) is None


def reduced() -> Page:
    tile = CODECS["lzw"][1](np.full((TILE, TILE, 3), 90, np.uint8))
    return rgb_page((WIDTH // 2, HEIGHT // 2), (TILE, TILE), [tile], 5).with_tags({254: Tag(t.LONG, [1])})


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    "following", [{0: 0}, {1: 0}, {1: 1}, {2: 1}, {2: 0}], ids=["self", "first", "self 1", "back", "all"]
)
def test_a_directory_loop_ends(following: dict[int, int], big: bool, place: Callable[[bytes], Path]) -> None:
    """OpenSlide refuses the file; its first picture is whole, so that it may be read."""
    pages = [page("lzw"), reduced(), reduced()][: max(following) + 1]
    found = read(place(write_tiff(pages, big=big, following=following)))
    assert found is None or close_to(found, expected())


@pytest.mark.parametrize("to", [0, 1])
def test_a_loop_of_sub_directories_ends(to: int, place: Callable[[bytes], Path], prober: Prober) -> None:
    looped = reduced().with_tags({t.SUB_IFDS: Tag(t.LONG, lambda pages: pages[to])})
    first = page("lzw").with_tags({t.SUB_IFDS: Tag(t.LONG, lambda pages: pages[1])})
    path = place(write_tiff([first, looped], following={0: 0}))
    assert prober.probe(path).outcome != "violation"
    found = read(path)
    assert found is None or close_to(found, expected())


@pytest.mark.parametrize("resolution", [(20_000, 0), (0, 0), (0, 1), (2**32 - 1, 0)])
@pytest.mark.parametrize("unit", [2, 3])
def test_a_zero_denominator_in_the_resolution_is_an_unknown_mpp(
    resolution: tuple[int, int], unit: int, place: Callable[[bytes], Path]
) -> None:
    tags = {t.X_RESOLUTION: Tag(t.RATIONAL, resolution), t.Y_RESOLUTION: Tag(t.RATIONAL, resolution)}
    path = place(write_tiff([page("jpeg").with_tags({**tags, t.RESOLUTION_UNIT: Tag(t.SHORT, [unit])})]))
    with open_slide(path) as slide:
        assert slide.mpp is None
    assert read(path) is not None


def test_an_empty_file_is_refused(place: Callable[[bytes], Path]) -> None:
    path = place(b"")
    with pytest.raises(WsiError, match=r"hostile\.tif: the file is empty"):
        open_slide(path)


# --- Headers that lie: read or refused within 5 s and 1 GiB -----------------------------------------------------------

BIG_BYTES = 2**32 - 1
SVS_TEXT = b"Aperio Image Library v11\r\n200x160 (64x64) JPEG/RGB Q=90|AppMag = %s|MPP = %s\0"


def svs(power: bytes, mpp: bytes) -> bytes:
    return write_tiff([page("jpeg").with_tags({t.DESCRIPTION: Tag(t.ASCII, SVS_TEXT % (power, mpp))})])


def bomb(codec: str, side: int = 8_192) -> bytes:
    """A file whose tile of 256 px decodes to `side` px a side."""
    return _bomb_tiff(codec, CODECS[codec][1](np.zeros((side, side, 3), np.uint8)))


def _bomb_tiff(codec: str, stream: bytes) -> bytes:
    return write_tiff([rgb_page((256, 256), (256, 256), [stream], CODECS[codec][0], 6 if codec == "jpeg" else 2)])


def claimed_jpeg(width: int, height: int) -> bytes:
    """A JPEG stream that states a size it does not have."""
    stream = bytearray(jpeg(np.zeros((256, 256, 3), np.uint8)))
    at = stream.index(b"\xff\xc0")
    stream[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(stream)


def claimed_j2k(side: int) -> bytes:
    """A JPEG 2000 stream of one tile that states a size it does not have."""
    stream = bytearray(CODECS["jpeg 2000"][1](np.zeros((256, 256, 3), np.uint8)))
    at = stream.index(b"\xff\x51") + 6
    stream[at : at + 8] = struct.pack(">II", side, side)
    stream[at + 16 : at + 24] = struct.pack(">II", side, side)
    return bytes(stream)


def pages_of(count: int, *, big: bool = False) -> bytes:
    shared = CODECS["lzw"][1](np.zeros((TILE, TILE, 3), np.uint8))
    pages = [rgb_page((max(1, 4096 >> min(i, 13)),) * 2, (TILE, TILE), [shared], 5) for i in range(count)]
    return write_tiff([p if i == 0 else replace(p, tiles=p.tiles[:1]) for i, p in enumerate(pages)], big=big)


def sized(width: int, height: int, tile: tuple[int, int]) -> bytes:
    """A size that the grid of tiles does not bear out."""
    resized = {t.WIDTH: Tag(t.LONG, [width]), t.LENGTH: Tag(t.LONG, [height])}
    tiled = {t.TILE_WIDTH: Tag(t.LONG, [tile[0]]), t.TILE_LENGTH: Tag(t.LONG, [tile[1]])}
    return write_tiff([page("lzw").with_tags({**resized, **tiled})])


def vendor(tags: dict[int, Tag]) -> bytes:
    """A slide of one tile of 2¹⁷ px a side, as a vendor's whose files are left to OpenSlide."""
    side = {code: Tag(t.LONG, [2**17]) for code in (t.WIDTH, t.LENGTH, t.TILE_WIDTH, t.TILE_LENGTH)}
    return write_tiff([replace(page("lzw").with_tags({**side, **tags}), cells=(0,))])


def stripped(rows: int, length: int, codec: str = "deflate", stream: bytes = b"") -> bytes:
    """One strip that is said to hold `length` rows of 30,000 px."""
    tags = {
        **{code: tag for code, tag in page(codec).tags.items() if code not in (t.TILE_WIDTH, t.TILE_LENGTH)},
        t.WIDTH: Tag(t.LONG, [30_000]),
        t.LENGTH: Tag(t.LONG, [length]),
        t.ROWS_PER_STRIP: Tag(t.LONG, [rows]),
    }
    return write_tiff([Page(tags, (stream or page(codec).tiles[0],), (0,) * -(-length // rows))])


def tagged(code: int, kind: int, *values: int, claimed: int | None = None, codec: str = "lzw") -> bytes:
    return write_tiff([with_tag(page(codec), code, kind, *values, claimed=claimed)])


def big_tagged(code: int, kind: int, *values: int, claimed: int | None = None) -> bytes:
    return write_tiff([with_tag(page("lzw"), code, kind, *values, claimed=claimed)], big=True)


# Must be refused: nothing in them can be shown.
REFUSED: dict[str, Callable[[], bytes]] = {
    "a tile of 16 Gpx": lambda: sized(2**17, 2**17, (2**17, 2**17)),
    "a tile of 2³¹ px a side": lambda: sized(2**31, 2**31, (2**31, 2**31)),
    "a tile of 1 × 2³² - 1 px": lambda: sized(200, 2**32 - 1, (64, 2**32 - 16)),
    "a slide of 2³² - 1 px a side": lambda: sized(BIG_BYTES, BIG_BYTES, (64, 64)),
    "a slide of 10⁶ px a side with twelve tiles": lambda: sized(1_000_000, 1_000_000, (64, 64)),
    "a zero width": lambda: tagged(t.WIDTH, t.LONG, 0),
    "a zero height": lambda: tagged(t.LENGTH, t.LONG, 0),
    "zero tile width": lambda: tagged(t.TILE_WIDTH, t.LONG, 0),
    "zero tile height": lambda: tagged(t.TILE_LENGTH, t.LONG, 0),
    "a width of text, 2³² - 1 times over": lambda: write_tiff(
        [page("lzw").with_tags({t.WIDTH: Tag(t.ASCII, b"200\0"), t.LENGTH: Tag(t.LONG, [BIG_BYTES])})]
    ),
    "no samples": lambda: tagged(t.SAMPLES, t.SHORT, 0),
    "65,535 samples": lambda: tagged(t.SAMPLES, t.SHORT, 65_535),
    "2 samples": lambda: tagged(t.SAMPLES, t.SHORT, 2),
    "0 bits": lambda: tagged(t.BITS, t.SHORT, 0, 0, 0),
    "64 bits": lambda: tagged(t.BITS, t.SHORT, 64, 64, 64),
    "65,535 bits": lambda: tagged(t.BITS, t.SHORT, 65_535, 65_535, 65_535),
    "bits that differ": lambda: tagged(t.BITS, t.SHORT, 8, 16, 8),
    "an unknown compression": lambda: tagged(t.COMPRESSION, t.SHORT, 4_242),
    "fax compression": lambda: tagged(t.COMPRESSION, t.SHORT, 4),
    "an unknown photometric": lambda: tagged(t.PHOTOMETRIC, t.SHORT, 4_242),
    "an unknown planar configuration": lambda: tagged(t.PLANAR, t.SHORT, 77),
    "an unknown predictor": lambda: tagged(t.PREDICTOR, t.SHORT, 99),
    "a palette without colours": lambda: write_tiff(
        [
            with_tag(
                with_tag(with_tag(page("lzw"), t.PHOTOMETRIC, t.SHORT, 3), t.SAMPLES, t.SHORT, 1), t.BITS, t.SHORT, 8
            )
        ]
    ),
    "tables that are no JPEG": lambda: write_tiff(
        [with_tile(page("jpeg"), 0, b"\xff\xd8\xff\xd9").with_tags({t.JPEG_TABLES: Tag(t.UNDEFINED, b"garbage" * 9)})]
    ),
    "offsets as text": lambda: tagged(t.TILE_OFFSETS, t.ASCII, claimed=12),
    "2³² - 1 offsets": lambda: tagged(t.TILE_OFFSETS, t.LONG, 8, 8, 8, claimed=BIG_BYTES),
    "2⁴⁰ offsets": lambda: big_tagged(t.TILE_OFFSETS, t.LONG8, 16, 16, 16, claimed=2**40),
    "2⁶⁰ offsets": lambda: big_tagged(t.TILE_OFFSETS, t.LONG8, 16, 16, 16, claimed=2**60),
    "2⁶⁴ - 1 counts": lambda: big_tagged(t.TILE_COUNTS, t.LONG8, 16, 16, 16, claimed=2**64 - 1),
    "tiles of 4 GB": lambda: tagged(t.TILE_COUNTS, t.LONG, *[BIG_BYTES] * 12),
    "tiles of 2⁶³ bytes": lambda: big_tagged(t.TILE_COUNTS, t.LONG8, *[2**63] * 12),
    "tiles at 2⁶³": lambda: big_tagged(t.TILE_OFFSETS, t.LONG8, *[2**63] * 12),
    "tiles at 2⁶⁴ - 1, where the end wraps": lambda: big_tagged(t.TILE_OFFSETS, t.LONG8, *[2**64 - 1] * 12),
    "tiles at 2⁶² of 2⁶² bytes, whose end is negative": lambda: write_tiff(
        [
            with_tag(
                with_tag(page("lzw"), t.TILE_OFFSETS, t.LONG8, *[2**62] * 12), t.TILE_COUNTS, t.LONG8, *[2**62] * 12
            )
        ],
        big=True,
    ),
    "a tile of 16 Gpx that calls itself Leica's": lambda: vendor({t.DESCRIPTION: Tag(t.ASCII, b"<scn></scn>\0")}),
    "a tile of 16 Gpx that calls itself Ventana's": lambda: vendor(
        {t.XMP: Tag(t.BYTE, b"<iScan></iScan>"), t.DESCRIPTION: Tag(t.ASCII, b"level=0 mag=40 quality=95\0")}
    ),
    "a tile of 16 Gpx that calls itself Trestle's": lambda: vendor({t.SOFTWARE: Tag(t.ASCII, b"MedScan 1\0")}),
    "a tile of 16 Gpx that calls itself Hamamatsu's": lambda: vendor({65_420: Tag(t.LONG, [1])}),
    "a strip of 3 Gpx in a few bytes": lambda: stripped(100_000, 100_000),
    "a strip of 360 Mpx in a few bytes": lambda: stripped(12_000, 12_000),
    "an LZW strip of 360 Mpx in a few bytes": lambda: stripped(12_000, 12_000, "lzw"),
    "a JPEG strip of 360 Mpx in a few bytes": lambda: stripped(12_000, 12_000, "jpeg"),
    "a zstd strip of 360 Mpx in a few bytes": lambda: stripped(12_000, 12_000, "zstd"),
    "a raw strip of 360 Mpx in a few bytes": lambda: stripped(12_000, 12_000, "none"),
    "a JPEG of 65,500 px in a tile of 256": lambda: _bomb_tiff("jpeg", claimed_jpeg(65_500, 65_500)),
    "a JPEG of 16,384 px in a tile of 256": lambda: _bomb_tiff("jpeg", claimed_jpeg(16_384, 16_384)),
    "a JPEG 2000 of 2³⁰ px in a tile of 256": lambda: _bomb_tiff("jpeg 2000", claimed_j2k(2**30)),
    "a JPEG 2000 of 32,768 px in a tile of 256": lambda: _bomb_tiff("jpeg 2000", claimed_j2k(2**15)),
}
# May be read or refused, but in time and in memory.
EITHER: dict[str, Callable[[], bytes]] = {
    "a zstd bomb": lambda: bomb("zstd"),
    "an LZW bomb": lambda: bomb("lzw"),
    "a deflate bomb": lambda: bomb("deflate"),
    "5,000 pages": lambda: pages_of(5_000),
    "2,000 pages, BigTIFF": lambda: pages_of(2_000, big=True),
    "offsets as bytes": lambda: tagged(t.TILE_OFFSETS, t.BYTE, *[8] * 12),
    "width as text": lambda: write_tiff([page("lzw").with_tags({t.WIDTH: Tag(t.ASCII, b"200\0")})]),
    "width as a double": lambda: write_tiff(
        [page("lzw").with_tags({t.WIDTH: Tag(t.DOUBLE, struct.pack("<d", 200.5))})]
    ),
    "two widths": lambda: tagged(t.WIDTH, t.LONG, 200, 200),
    "a type that does not exist": lambda: write_tiff([page("lzw").with_tags({t.PLANAR: Tag(99, b"\1\0", 1)})]),
    "2³¹ bits": lambda: tagged(t.BITS, t.SHORT, 8, 8, 8, claimed=2**31),
    "a description of 4 GB": lambda: tagged(t.DESCRIPTION, t.ASCII, claimed=BIG_BYTES),
    "a description of 2⁶³ bytes": lambda: big_tagged(t.DESCRIPTION, t.ASCII, claimed=2**63),
    "2³² - 1 sub-directories": lambda: tagged(t.SUB_IFDS, t.LONG, 8, 8, claimed=BIG_BYTES),
    "tables that are no JPEG beside whole tiles": lambda: write_tiff(
        [page("jpeg").with_tags({t.JPEG_TABLES: Tag(t.UNDEFINED, b"garbage" * 9)})]
    ),
    "an ICC profile of numbers": lambda: tagged(t.ICC, t.SHORT, 1, 2, 3),
    "an ICC profile of 4 GB": lambda: tagged(t.ICC, t.UNDEFINED, 8, claimed=BIG_BYTES),
    "an ICC profile as text": lambda: write_tiff([page("lzw").with_tags({t.ICC: Tag(t.ASCII, b"sRGB, honestly\0")})]),
    "a resolution of text": lambda: write_tiff([page("lzw").with_tags({t.X_RESOLUTION: Tag(t.ASCII, b"fine\0")})]),
    "three resolutions": lambda: tagged(t.X_RESOLUTION, t.RATIONAL, 1, 1, 1, 1, 1, 1),
    "subsampling of 0": lambda: tagged(t.SUBSAMPLING, t.SHORT, 0, 0, codec="jpeg"),
    "OME-XML that is none": lambda: write_tiff(
        [page("lzw").with_tags({t.DESCRIPTION: Tag(t.ASCII, b"<?xml version='1.0'?><OME><Image><Pix\0")})]
    ),
}


def probed(make: Callable[[], bytes], place: Callable[[bytes], Path], prober: Prober) -> Verdict:
    verdict = prober.probe(place(make()))
    assert verdict.outcome != "violation", verdict.detail
    return verdict


@pytest.mark.parametrize("name", REFUSED)
def test_a_header_that_cannot_be_true_is_refused(name: str, place: Callable[[bytes], Path], prober: Prober) -> None:
    assert probed(REFUSED[name], place, prober).outcome == "refused"


@pytest.mark.parametrize("name", EITHER)
def test_a_header_that_is_odd_is_read_or_refused(name: str, place: Callable[[bytes], Path], prober: Prober) -> None:
    probed(EITHER[name], place, prober)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 6, 7, 8, 10, 12, 16, 20])
@pytest.mark.parametrize("big", [False, True])
def test_a_file_that_ends_within_its_first_bytes_is_refused(
    cut: int, big: bool, place: Callable[[bytes], Path], prober: Prober
) -> None:
    whole = write_tiff([page("lzw")], big=big)
    assert probed(lambda: whole[:cut], place, prober).outcome == "refused"


@pytest.mark.parametrize("mpp", [b"nan", b"-0.5", b"0", b"inf", b"1e999", b"", b"0,499", b"half", b"0.4.9", b"1e-400"])
def test_an_mpp_that_is_no_number_above_zero_is_unknown(
    mpp: bytes, place: Callable[[bytes], Path], prober: Prober
) -> None:
    path = place(svs(b"20", mpp))
    assert prober.probe(path).outcome == "read"
    with open_slide(path) as slide:
        assert slide.mpp is None


@pytest.mark.parametrize("power", [b"nan", b"-20", b"0", b"inf", b"", b"twenty"])
def test_an_objective_power_that_is_no_number_above_zero_is_unknown(
    power: bytes, place: Callable[[bytes], Path]
) -> None:
    with open_slide(place(svs(power, b"0.499"))) as slide:
        assert slide.mpp == (0.499, 0.499)
        assert slide.header.objective_power is None


def test_a_pipe_with_the_name_of_a_slide_is_refused(tmp_path: Path, prober: Prober) -> None:
    """Opening it would wait for ever for somebody to write."""
    os.mkfifo(tmp_path / "hostile.tif")
    assert prober.probe(tmp_path / "hostile.tif").outcome == "refused"


@pytest.mark.real
@pytest.mark.parametrize("name", ["dicom-raw.dcm", "dicom-jpeg.dcm", "dicom-jpeg2000.dcm"])
def test_a_dicom_frame_of_65535_px_a_side_is_refused(
    name: str, real_data: Path, tmp_path: Path, prober: Prober
) -> None:
    """OpenSlide would abort the process where 17 GB cannot be had, and take them where they can."""
    raw = bytearray((real_data / "slides" / name).read_bytes())
    for element in (0x10, 0x11):  # Rows, Columns
        at = raw.index(struct.pack("<HH", 0x28, element) + b"US") + 8
        raw[at : at + 2] = b"\xff\xff"
    (tmp_path / name).write_bytes(raw)
    verdict = prober.probe(tmp_path / name)
    assert verdict.outcome == "refused", verdict.detail


@pytest.mark.real
def test_a_refusal_by_openslide_is_one_line(real_data: Path, tmp_path: Path, prober: Prober) -> None:
    """Its messages quote what is in the file, line feeds too."""
    raw = bytearray((real_data / "slides" / "dicom-raw.dcm").read_bytes())
    at = raw.index(struct.pack("<HH", 0x28, 0x10) + b"US")
    raw[at : at + 6] = b"\n" * 6
    (tmp_path / "hostile.dcm").write_bytes(raw)
    verdict = prober.probe(tmp_path / "hostile.dcm")
    assert verdict.outcome == "refused", verdict.detail


# --- Flat pictures and OME-Zarr ---------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    """A PNG that states a size it does not have."""
    raw = bytearray(imagecodecs.png_encode(np.zeros((64, 64, 3), np.uint8)))
    raw[16:24] = struct.pack(">II", width, height)
    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    return bytes(raw)


FLAT: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a PNG of 2³¹ px a side": ("hostile.png", lambda: png(2**31 - 1, 2**31 - 1)),
    "a PNG of 30,000 px a side in a few bytes": ("hostile.png", lambda: png(30_000, 30_000)),
    "a PNG of no width": ("hostile.png", lambda: png(0, 64)),
    "a PNG cut short": ("hostile.png", lambda: png(64, 64)[:-30]),
    "a JPEG of 65,500 px a side in a few bytes": ("hostile.jpg", lambda: claimed_jpeg(65_500, 65_500)),
    "a JPEG of 30,000 px a side in a few bytes": ("hostile.jpg", lambda: claimed_jpeg(30_000, 30_000)),
    "a JPEG of no height": ("hostile.jpg", lambda: claimed_jpeg(64, 0)),
    "a JPEG cut short": ("hostile.jpg", lambda: jpeg(picture())[:-300]),
    "a JPEG 2000 of 2³⁰ px a side": ("hostile.j2k", lambda: claimed_j2k(2**30)),
    "a JPEG 2000 of 32,768 px a side in a few bytes": ("hostile.j2k", lambda: claimed_j2k(2**15)),
    "a JPEG 2000 cut short": ("hostile.j2k", lambda: CODECS["jpeg 2000"][1](picture())[:-300]),
}


@pytest.mark.parametrize("name", FLAT)
def test_a_flat_picture_that_cannot_be_true_is_refused(name: str, tmp_path: Path, prober: Prober) -> None:
    file, make = FLAT[name]
    (tmp_path / file).write_bytes(make())
    verdict = prober.probe(tmp_path / file)
    assert verdict.outcome == "refused", verdict.detail


ZARR: dict[str, dict[str, Any]] = {
    "a level of 10¹⁸ px": {"shape": [3, 10**9, 10**9]},
    "a chunk of 10¹² px": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 10**6, 10**6]}}},
    "a chunk of 20,000 px a side": {
        "shape": [3, 20_000, 20_000],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 20_000, 20_000]}},
    },
    "an empty chunk": {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 0, 0]}}},
    "a negative size": {"shape": [3, -5, 100]},
    "no size": {"shape": [3, 0, 0]},
    "one axis too many": {"shape": [1, 3, 100, 100]},
    "2²⁰ channels": {"shape": [2**20, 1100, 1500]},
    "a type that does not exist": {"data_type": "uint7"},
    "a codec that does not exist": {"codecs": [{"name": "bytes"}, {"name": "shrinker"}]},
    "no codec": {"codecs": []},
}


@pytest.mark.parametrize("name", ZARR)
def test_a_zarr_array_that_cannot_be_true_is_read_or_refused(
    name: str, phantom_zarr: Path, tmp_path: Path, prober: Prober
) -> None:
    path = tmp_path / "hostile.ome.zarr"
    shutil.copytree(phantom_zarr, path)
    metadata = json.loads((path / "0" / "zarr.json").read_text())
    (path / "0" / "zarr.json").write_text(json.dumps({**metadata, **ZARR[name]}))
    verdict = prober.probe(path)
    assert verdict.outcome != "violation", verdict.detail


def test_a_zarr_chunk_that_decodes_to_two_gigabytes_is_refused(
    phantom_zarr: Path, tmp_path: Path, prober: Prober
) -> None:
    path = tmp_path / "hostile.ome.zarr"
    shutil.copytree(phantom_zarr, path)
    stated = bytes.fromhex("28b52ffd") + b"\xe0" + struct.pack("<Q", 2 << 30)
    # Blocks of one repeated byte, 128 KiB each, the last of which is marked so.
    block = (1 << 1) | ((128 << 10) << 3)
    blocks = b"".join(struct.pack("<I", block | (i == 16_383))[:3] + b"\0" for i in range(16_384))
    for chunk in (path / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(stated + blocks)
    verdict = prober.probe(path)
    assert verdict.outcome == "refused", verdict.detail


def test_a_chunk_inside_a_shard_that_declares_gigabytes_is_refused(
    phantom_zarr: Path, tmp_path: Path, prober: Prober
) -> None:
    """The first chunk's frame says that it holds 3 GB; a header of the same length as the one it replaces."""
    path = tmp_path / "hostile.ome.zarr"
    shutil.copytree(phantom_zarr, path)
    for shard in (path / "0" / "c").rglob("*"):
        if shard.is_file():
            data = bytearray(shard.read_bytes())
            assert data[:4] == bytes.fromhex("28b52ffd")
            assert data[4] >> 6 == 2, "a frame that states its size in four bytes"
            start = 5 if data[4] & 0x20 else 6
            data[start : start + 4] = struct.pack("<I", 3 << 30)
            shard.write_bytes(data)
    verdict = prober.probe(path)
    assert verdict.outcome == "refused", verdict.detail
    assert "declares 3,221,225,472 bytes" in verdict.detail


def test_a_shard_whose_index_points_beyond_its_end_is_refused(
    phantom_zarr: Path, tmp_path: Path, prober: Prober
) -> None:
    path = tmp_path / "hostile.ome.zarr"
    shutil.copytree(phantom_zarr, path)
    for shard in (path / "0" / "c").rglob("*"):
        if shard.is_file():
            data = shard.read_bytes()
            chunks = 3 * 3  # of 512 px, in 1,500 × 1,100
            index = np.frombuffer(data[-4 - 16 * chunks : -4], "<u8").copy()
            index[1::2] = 1 << 40
            stated = index.tobytes()
            checksum = google_crc32c.value(stated).to_bytes(4, "little")
            shard.write_bytes(data[: -4 - 16 * chunks] + stated + checksum)
    verdict = prober.probe(path)
    assert verdict.outcome == "refused", verdict.detail
    assert "beyond the file's end" in verdict.detail


# --- Chance -----------------------------------------------------------------------------------------------------------


def test_four_hundred_mutated_files_are_read_or_refused() -> None:
    """The short version of `make fuzz`."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", "--files", "400"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr


FAULTS = {
    "an exception of another kind": ("raise KeyError('x')", "KeyError instead of a WsiError"),
    "a message without the file": ("raise SlideError('no')", "does not name the file"),
    "a message of two lines": ("raise SlideError(f'{path.name}:\\nbad')", "more than one line"),
    "an array of 2 GiB": ("bytearray(2 << 30)", "MemoryError"),
    "a failed allocation made a refusal": (
        "\n    try: bytearray(2 << 30)\n    except MemoryError as e: raise SlideError(path.name) from e",
        "tried to allocate",
    ),
    "a crash": ("os.kill(os.getpid(), 11)", f"killed by signal {int(signal.SIGSEGV)}"),
    "a hang": ("time.sleep(60)", "no answer in"),
}


def test_the_prober_notices_every_fault_and_goes_on(tmp_path: Path) -> None:
    """A harness that sees nothing finds nothing."""
    cases = "".join(f"  if path.name == {name!r}:\n    {body}\n" for name, (body, _) in FAULTS.items())
    program = (
        "import os, time\nfrom wsi.errors import SlideError\nimport tests.fuzzing.child as child\n"
        f"def inspect(path, as_json):\n{cases}  raise SlideError(path.name)\n"
        "child.inspect, child.LIMIT_S = inspect, 1\nchild.main()\n"
    )
    with Prober(command=("-c", program)) as prober:
        for name, (_, noticed) in FAULTS.items():
            verdict = prober.probe(tmp_path / name)
            assert (verdict.outcome, noticed in verdict.detail) == ("violation", True), (name, verdict)
            assert prober.probe(tmp_path / "next").outcome == "refused"
