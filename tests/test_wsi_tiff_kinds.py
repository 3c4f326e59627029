"""TIFF in every kind that slides come in, against the array that was written or against OpenSlide."""

from __future__ import annotations

import itertools
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray

from wsi.convert import convert
from wsi.errors import SlideError
from wsi.geometry import Box
from wsi.readers.tiff import decode as tiff_decode
from wsi.readers.tiff.pages import check_chain
from wsi.readers.tiff.ycbcr import YCbCr
from wsi.slide import open_slide

Pixels = NDArray[np.uint8]
SIDE = 64


@pytest.fixture(scope="module")
def tissue(phantom_pixels: Pixels) -> Pixels:
    """(200, 300, 3) RGB of tissue; no side is a multiple of a tile's."""
    return np.ascontiguousarray(phantom_pixels[420:620, 560:860])


@pytest.fixture(scope="module")
def smooth() -> Pixels:
    """(200, 300, 3) RGB that JPEG keeps nearly as it is, different in every channel and direction."""
    y, x = np.mgrid[0:200, 0:300]
    return np.stack([x * 255 / 300, y * 255 / 200, 255 - (x + y) * 255 / 500], axis=2).astype(np.uint8)


def read(path: Path) -> Pixels:
    with open_slide(path) as slide:
        assert slide.reader_name == "tiff"
        return slide.read(slide.bounds)


def read_by_openslide(path: Path) -> Pixels:
    """Over white, as Tesela shows transparent pixels."""
    with openslide.OpenSlide(path) as slide:
        rgba = np.asarray(slide.read_region((0, 0), 0, slide.dimensions)).astype(float)
    alpha = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def off(found: Pixels, expected: NDArray[Any]) -> int:
    """The largest difference, in grey levels."""
    assert found.shape == expected.shape
    return int(np.abs(found.astype(int) - expected).max())


LAYOUTS = {"tiled": {"tile": (SIDE, SIDE)}, "striped": {"rowsperstrip": 48}, "one strip": {"rowsperstrip": 200}}
LOSSLESS = {
    "none": {},
    "lzw": {"compression": "lzw"},
    "lzw with predictor": {"compression": "lzw", "predictor": True},
    "deflate": {"compression": "adobe_deflate"},
    "deflate with predictor": {"compression": "adobe_deflate", "predictor": True},
    "old deflate": {"compression": "deflate"},
    "zstd": {"compression": "zstd"},
    "lzma": {"compression": "lzma"},
    "packbits": {"compression": "packbits"},
    "png": {"compression": "png"},
    "jpeg 2000": {"compression": "jpeg2000", "compressionargs": {"level": 0}},
    "jpeg xl": {"compression": "jpegxl", "compressionargs": {"lossless": True}},
    "webp": {"compression": "webp", "compressionargs": {"lossless": True}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("codec", LOSSLESS)
def test_a_lossless_codec_gives_the_pixels_written(tissue: Pixels, codec: str, layout: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", tissue, photometric="rgb", **LOSSLESS[codec], **LAYOUTS[layout])
    assert np.array_equal(read(tmp_path / "a.tif"), tissue)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("byteorder", "big"), list(itertools.product("<>", (False, True))))
def test_both_byte_orders_and_both_sizes_of_file(
    tissue: Pixels, byteorder: str, big: bool, layout: str, tmp_path: Path
) -> None:
    for number, pixels in enumerate((tissue, tissue.astype(np.uint16) * 257)):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, pixels, photometric="rgb", byteorder=byteorder, bigtiff=big, **LAYOUTS[layout])
        assert np.array_equal(read(path), tissue)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("codec", ["none", "lzw with predictor", "jpeg 2000", "zstd"])
def test_channels_stored_apart(tissue: Pixels, codec: str, layout: str, tmp_path: Path) -> None:
    planes = np.ascontiguousarray(np.moveaxis(tissue, -1, 0))
    options = {**LOSSLESS[codec], **LAYOUTS[layout]}
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", **options)
    assert np.array_equal(read(tmp_path / "a.tif"), tissue)


def test_channels_stored_apart_in_jpeg(smooth: Pixels, tmp_path: Path) -> None:
    planes = np.ascontiguousarray(np.moveaxis(smooth, -1, 0))
    tifffile.imwrite(
        tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate", compression="jpeg", tile=(SIDE, SIDE)
    )
    assert off(read(tmp_path / "a.tif"), smooth) <= 3


# Alpha and channels beyond the colours.


@pytest.fixture(scope="module")
def rgba(tissue: Pixels) -> Pixels:
    alpha = np.tile(np.arange(300) * 255 // 299, (200, 1)).astype(np.uint8)
    return np.dstack([tissue, alpha])


def laid_over_white(rgba: Pixels) -> NDArray[np.floating[Any]]:
    alpha = rgba[..., 3:] / 255
    return np.asarray(rgba[..., :3] * alpha + 255 * (1 - alpha))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_straight_and_premultiplied_alpha_give_the_same_picture_over_white(
    rgba: Pixels, layout: str, planar: str, tmp_path: Path
) -> None:
    premultiplied = rgba.copy()
    premultiplied[..., :3] = np.rint(rgba[..., :3] * (rgba[..., 3:] / 255))
    for kind, pixels in (("unassalpha", rgba), ("assocalpha", premultiplied)):
        path = tmp_path / f"{kind}.tif"
        stored = pixels if planar == "contig" else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        options = {"photometric": "rgb", "extrasamples": [kind], "planarconfig": planar, **LAYOUTS[layout]}
        tifffile.imwrite(path, stored, **options)
        assert off(read(path), laid_over_white(rgba)) <= 1
        if layout == "tiled" and planar == "contig":
            assert off(read_by_openslide(path), read(path)) <= 2


def test_a_fourth_channel_of_unstated_meaning_is_ignored_and_that_is_said(rgba: Pixels, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unspecified"], tile=(SIDE, SIDE))
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(slide.bounds), rgba[..., :3])
        assert "unstated meaning" in slide.info().notes[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_grey_with_alpha(tissue: Pixels, rgba: Pixels, layout: str, tmp_path: Path) -> None:
    grey = np.ascontiguousarray(rgba[..., [0, 3]])
    options = {"photometric": "minisblack", "extrasamples": ["unassalpha"], "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", grey, **options, **LAYOUTS[layout])
    expected = laid_over_white(np.dstack([np.repeat(tissue[..., :1], 3, axis=2), grey[..., 1]]))
    assert off(read(tmp_path / "a.tif"), expected) <= 1


# Depth.


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("bits", [1, 2, 4, 6])
def test_fewer_bits_than_eight_are_spread_to_full_contrast(bits: int, layout: str, tmp_path: Path) -> None:
    levels = np.random.default_rng(bits).integers(0, 1 << bits, (200, 304), np.uint8)
    stored = levels.astype(bool) if bits == 1 else levels
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", bitspersample=bits, **LAYOUTS[layout])
    assert off(read(tmp_path / "a.tif")[..., 0], levels * (255 / ((1 << bits) - 1))) <= 1


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_bits_than_eight_are_scaled_and_that_is_said(
    tissue: Pixels, layout: str, bits: int, tmp_path: Path
) -> None:
    largest = (1 << bits) - 1
    deep = np.rint(tissue * (largest / 255)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", deep[:, :296], photometric="rgb", bitspersample=bits, **LAYOUTS[layout])
    with open_slide(tmp_path / "a.tif") as slide:
        assert off(slide.read(slide.bounds), tissue[:, :296]) == 0
        assert slide.info().notes == (f"{bits} bits a channel: 0 to {largest} scaled to 0 to 255",)


def test_twelve_bits_in_sixteen_are_believed_where_the_file_states_its_largest_value(
    tissue: Pixels, tmp_path: Path
) -> None:
    deep = np.rint(tissue * (4095 / 255)).astype(np.uint16)
    largest = [(281, 3, 3, (4095, 4095, 4095), True)]
    tifffile.imwrite(tmp_path / "a.tif", deep, photometric="rgb", tile=(SIDE, SIDE), extratags=largest)
    assert off(read(tmp_path / "a.tif"), tissue) == 0


def test_jpeg_2000_of_sixteen_bits(tissue: Pixels, tmp_path: Path) -> None:
    options: dict[str, Any] = {"compression": "jpeg2000", "compressionargs": {"level": 0}, "tile": (SIDE, SIDE)}
    tifffile.imwrite(tmp_path / "a.tif", tissue.astype(np.uint16) * 257, photometric="rgb", **options)
    assert np.array_equal(read(tmp_path / "a.tif"), tissue)


# Photometric interpretations.


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wide", [True, False])
def test_a_palette_of_sixteen_bits_or_wrongly_of_eight(tissue: Pixels, layout: str, wide: bool, tmp_path: Path) -> None:
    palette = np.random.default_rng(7).integers(0, 256, (3, 256), np.uint16)
    options = {"photometric": "palette", "colormap": palette * (257 if wide else 1), **LAYOUTS[layout]}
    tifffile.imwrite(tmp_path / "a.tif", tissue[..., 0], **options)
    assert np.array_equal(read(tmp_path / "a.tif"), palette.T[tissue[..., 0]])
    if layout == "tiled":
        assert off(read_by_openslide(tmp_path / "a.tif"), read(tmp_path / "a.tif")) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_cmyk_is_turned_into_rgb_and_that_is_said(tissue: Pixels, planar: str, layout: str, tmp_path: Path) -> None:
    black = 255 - tissue.max(axis=2).astype(int)
    with np.errstate(divide="ignore", invalid="ignore"):
        inks = np.nan_to_num((255 - tissue.astype(float) - black[..., None]) * 255 / (255 - black[..., None]))
    cmyk = np.dstack([np.rint(inks), black]).astype(np.uint8)
    stored = cmyk if planar == "contig" else np.ascontiguousarray(np.moveaxis(cmyk, -1, 0))
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="separated", planarconfig=planar, **LAYOUTS[layout])
    with open_slide(tmp_path / "a.tif") as slide:
        assert off(slide.read(slide.bounds), tissue) <= 2
        assert "CMYK" in slide.info().notes[0]
    if layout == "tiled" and planar == "contig":
        assert off(read_by_openslide(tmp_path / "a.tif"), read(tmp_path / "a.tif")) <= 2


def packed_ycbcr(rgb: Pixels, across: int, down: int) -> tuple[bytes, Pixels]:
    """Data units of a picture whose sides are whole units, and its YCbCr with the colour of each unit's first pixel."""
    weights = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    ycbcr = np.clip(np.rint(rgb @ weights.T + [0, 128, 128]), 0, 255).astype(np.uint8)
    units = (len(rgb) // down, rgb.shape[1] // across)
    luma = ycbcr[..., 0].reshape(units[0], down, units[1], across).transpose(0, 2, 1, 3).reshape(*units, -1)
    colour = ycbcr[::down, ::across, 1:]
    ycbcr[..., 1:] = colour.repeat(down, axis=0).repeat(across, axis=1)
    return np.concatenate([luma, colour], axis=-1).tobytes(), ycbcr


@pytest.mark.parametrize("codec", ["none", "lzw", "adobe_deflate"])
@pytest.mark.parametrize("subsampling", list(itertools.product((1, 2, 4), repeat=2)))
def test_ycbcr_outside_of_jpeg_with_every_subsampling(
    tissue: Pixels, subsampling: tuple[int, int], codec: str, tmp_path: Path
) -> None:
    """Tiles of whole units; libtiff, in OpenSlide, is the judge where it knows the combination."""
    rgb = np.ascontiguousarray(tissue[:128, :192])
    encode = {"none": bytes, "lzw": imagecodecs.lzw_encode, "adobe_deflate": imagecodecs.zlib_encode}[codec]
    tiles, expected = [], np.empty_like(rgb)
    for top, left in itertools.product(range(0, 128, SIDE), range(0, 192, SIDE)):
        place = np.s_[top : top + SIDE, left : left + SIDE]
        packed, ycbcr = packed_ycbcr(rgb[place], *subsampling)
        tiles.append(bytes(encode(packed)))
        expected[place] = YCbCr().to_rgb(ycbcr)
    write_raw_tiles(tmp_path / "a.tif", tiles, rgb.shape, codec, "ycbcr", subsampling)
    found = read(tmp_path / "a.tif")
    assert np.array_equal(found, expected)
    try:
        theirs = read_by_openslide(tmp_path / "a.tif")
    except openslide.OpenSlideError:
        return
    assert off(found, theirs) <= 2


def write_raw_tiles(
    path: Path,
    tiles: list[bytes],
    shape: tuple[int, ...],
    codec: Any,
    photometric: str,
    subsampling: tuple[int, int] | None = None,
    **options: Any,
) -> None:
    """A tiled TIFF of tiles that are encoded already.

    tifffile knows better than its caller which tags go with a codec: they are set afterwards.
    """
    options |= {"subsampling": (2, 2)} if subsampling else {}
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=shape,
        dtype=np.uint8,
        tile=(SIDE, SIDE),
        photometric=photometric,
        compression=None if codec == "none" else codec,
        **options,
    )
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tags = tiff.pages.first.tags
        tags["PhotometricInterpretation"].overwrite(int(tifffile.PHOTOMETRIC[photometric.upper()]))
        if subsampling:
            tags["YCbCrSubSampling"].overwrite(subsampling)


# JPEG: subsampling, shared tables, and what the tag says against what the data say.

SUBSAMPLING = {"444": (1, 1), "422": (2, 1), "420": (2, 2), "440": (1, 2), "411": (4, 1)}


def jpeg_tiles(pixels: Pixels, **options: Any) -> list[bytes]:
    padded = np.pad(pixels, ((0, -len(pixels) % SIDE), (0, -pixels.shape[1] % SIDE), (0, 0)), mode="edge")
    return [
        bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(padded[y : y + SIDE, x : x + SIDE]), level=95, **options))
        for y in range(0, len(padded), SIDE)
        for x in range(0, padded.shape[1], SIDE)
    ]


@pytest.mark.parametrize("subsampling", SUBSAMPLING)
def test_jpeg_of_every_subsampling_reads_as_openslide_reads_it(
    tissue: Pixels, subsampling: str, tmp_path: Path
) -> None:
    tiles = jpeg_tiles(tissue, colorspace="RGB", outcolorspace="YCBCR", subsampling=subsampling)
    write_raw_tiles(tmp_path / "a.tif", tiles, tissue.shape, "jpeg", "ycbcr", SUBSAMPLING[subsampling])
    found = read(tmp_path / "a.tif")
    assert off(found, read_by_openslide(tmp_path / "a.tif")) <= 2
    assert np.abs(found.astype(int) - tissue).mean() < 8


@pytest.mark.parametrize("subsampling", ["444", "420"])
def test_jpeg_that_holds_rgb_is_not_taken_for_ycbcr(smooth: Pixels, subsampling: str, tmp_path: Path) -> None:
    """As Aperio writes: the tag says RGB, and the stream, without a marker, holds RGB."""
    tiles = [
        tile.replace(tile[tile.find(b"\xff\xe0") : tile.find(b"\xff\xe0") + 18], b"", 1) if b"JFIF" in tile else tile
        for tile in jpeg_tiles(smooth, colorspace="RGB", outcolorspace="RGB", subsampling=subsampling)
    ]
    write_raw_tiles(tmp_path / "a.tif", tiles, smooth.shape, "jpeg", "rgb")
    found = read(tmp_path / "a.tif")
    assert off(found, smooth) <= 6
    assert off(found, read_by_openslide(tmp_path / "a.tif")) <= 2


def test_jpeg_that_says_it_holds_ycbcr_is_believed_and_that_is_said(smooth: Pixels, tmp_path: Path) -> None:
    """The tag says RGB, but the stream has JFIF's marker, whose colours are YCbCr by definition."""
    tiles = jpeg_tiles(smooth, colorspace="RGB", outcolorspace="YCBCR", subsampling="444")
    assert all(b"JFIF" in tile for tile in tiles)
    write_raw_tiles(tmp_path / "a.tif", tiles, smooth.shape, "jpeg", "rgb")
    with open_slide(tmp_path / "a.tif") as slide:
        assert off(slide.read(slide.bounds), smooth) <= 6
        assert "JFIF" in slide.info().notes[0]


def test_jpeg_tables_shared_by_all_tiles(smooth: Pixels, tmp_path: Path) -> None:
    """The tables in their own tag, the tiles without them, as scanners write."""
    tables, tiles = None, []
    for tile in jpeg_tiles(smooth, colorspace="RGB", outcolorspace="YCBCR", subsampling="420"):
        own, stripped = split_tables(tile)
        assert tables in (None, own)
        tables = own
        tiles.append(stripped)
    assert tables is not None
    extra = [(347, 7, len(tables), tables, True)]
    write_raw_tiles(tmp_path / "a.tif", tiles, smooth.shape, "jpeg", "ycbcr", (2, 2), extratags=extra)
    found = read(tmp_path / "a.tif")
    assert off(found, smooth) <= 6
    assert off(found, read_by_openslide(tmp_path / "a.tif")) <= 2


def split_tables(jpeg: bytes) -> tuple[bytes, bytes]:
    """(a stream of the tables alone, the stream without them)."""
    tables, rest, at = b"", b"", 2
    while jpeg[at + 1] != 0xDA:
        (length,) = struct.unpack_from(">H", jpeg, at + 2)
        piece = jpeg[at : at + 2 + length]
        if jpeg[at + 1] in (0xDB, 0xC4):
            tables += piece
        elif jpeg[at + 1] != 0xE0:
            rest += piece
        at += 2 + length
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + jpeg[at:]


def test_grey_and_cmyk_jpeg(smooth: Pixels, tmp_path: Path) -> None:
    options: dict[str, Any] = {"compression": "jpeg", "compressionargs": {"level": 95}, "tile": (SIDE, SIDE)}
    tifffile.imwrite(tmp_path / "a.tif", smooth[..., 0], photometric="minisblack", **options)
    assert off(read(tmp_path / "a.tif")[..., 1], smooth[..., 0]) <= 4
    cmyk = np.dstack([255 - smooth, np.zeros(smooth.shape[:2], np.uint8)])
    tifffile.imwrite(tmp_path / "b.tif", cmyk, photometric="separated", **options)
    assert off(read(tmp_path / "b.tif"), smooth) <= 6


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
def test_a_jpeg_tile_cut_short_is_an_error_and_not_grey(smooth: Pixels, photometric: str, tmp_path: Path) -> None:
    picture = smooth if photometric == "rgb" else np.ascontiguousarray(smooth[..., 0])
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric=photometric, compression="jpeg", tile=(SIDE, SIDE))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        counts = tiff.pages.first.tags["TileByteCounts"]
        counts.overwrite([counts.value[0] * 2 // 3, *counts.value[1:]])
    with pytest.raises(SlideError, match=r"a\.tif: tile 0 of level 0 .*cut short"):
        read(tmp_path / "a.tif")


def test_a_border_tile_stored_cut_to_the_picture_reads_and_an_inner_one_does_not(
    smooth: Pixels, tmp_path: Path
) -> None:
    tiles = jpeg_tiles(smooth)
    cut = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(smooth[:SIDE, 256:300]), level=95))
    write_raw_tiles(tmp_path / "a.tif", [*tiles[:4], cut, *tiles[5:]], smooth.shape, "jpeg", "ycbcr", (2, 2))
    assert off(read(tmp_path / "a.tif"), smooth) <= 8
    write_raw_tiles(tmp_path / "b.tif", [cut, *tiles[1:]], smooth.shape, "jpeg", "ycbcr", (2, 2))
    with pytest.raises(SlideError, match=r"b\.tif: tile 0 of level 0 .*\(44 × 64 px in it, 64 × 64 needed"):
        read(tmp_path / "b.tif")


# Vendors.

APERIO = "Aperio Image Library v12.0.15\r\n300x200 [0,0 300x200] (64x64) J2K/{} Q=70|AppMag = 20|MPP = 0.4990"


@pytest.mark.parametrize(("codec", "kind"), [(33003, "YUV16"), (33005, "KDU")])
def test_aperios_jpeg_2000_reads_as_openslide_reads_it(tissue: Pixels, codec: int, kind: str, tmp_path: Path) -> None:
    """33003 holds YCbCr in its three channels, 33005 RGB; neither says so in the stream."""
    padded = np.pad(tissue, ((0, 56), (0, 20), (0, 0)), mode="edge")
    weights = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    ycbcr = np.clip(np.rint(padded @ weights.T + [0, 128, 128]), 0, 255).astype(np.uint8)
    stored = ycbcr if codec == 33003 else padded
    tiles = [
        bytes(
            imagecodecs.jpeg2k_encode(
                np.ascontiguousarray(stored[y : y + SIDE, x : x + SIDE]), level=0, codecformat="j2k", mct=False
            )
        )
        for y in range(0, 256, SIDE)
        for x in range(0, 320, SIDE)
    ]
    write_raw_tiles(
        tmp_path / "a.svs", tiles, tissue.shape, codec, "rgb", description=APERIO.format(kind), metadata=None
    )
    with open_slide(tmp_path / "a.svs") as slide:
        assert slide.reader_name == "tiff"
        assert slide.mpp == (0.499, 0.499)
        assert slide.header.objective_power == 20
        found = slide.read(slide.bounds)
    assert off(found, tissue) <= (3 if codec == 33003 else 0)
    with openslide.OpenSlide(tmp_path / "a.svs") as theirs:
        assert theirs.properties["openslide.vendor"] == "aperio"
    assert off(found, read_by_openslide(tmp_path / "a.svs")) <= 2


PHILIPS = """<?xml version="1.0" encoding="UTF-8" ?>
<DataObject ObjectType="DPUfsImport">
<Attribute Name="PIM_DP_SCANNED_IMAGES" Group="0x301D" Element="0x1003" PMSVR="IDataObjectArray"><Array>
<DataObject ObjectType="DPScannedImage"><Attribute Name="PIM_DP_IMAGE_TYPE" Group="0x301D" Element="0x1004"
 PMSVR="IString">WSI</Attribute><Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028" Element="0x0030"
 PMSVR="IDoubleArray">&quot;0.000227273&quot; &quot;0.000226891&quot;</Attribute>
<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" Group="0x1001" Element="0x8B01" PMSVR="IDataObjectArray">
<Array>{}</Array></Attribute></DataObject></Array></Attribute></DataObject>
"""
PHILIPS_LEVEL = """<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING"
 Group="0x0028" Element="0x0030" PMSVR="IDoubleArray">&quot;{:.9f}&quot; &quot;{:.9f}&quot;</Attribute>
<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_NUMBER" Group="0x1001" Element="0x8B02" PMSVR="IUInt16">{}</Attribute>
</DataObject>"""


def test_philips_tiff_has_the_levels_and_mpp_that_openslide_finds(phantom_pixels: Pixels, tmp_path: Path) -> None:
    """Every level is padded to whole tiles in the file; the padding of the reduced ones is no part of the slide."""
    path = tmp_path / "a.tiff"
    level = np.pad(phantom_pixels, ((0, 1280 - 1100), (0, 1536 - 1500), (0, 0)), constant_values=255)
    xml = PHILIPS.format("".join(PHILIPS_LEVEL.format(0.000227273 * 2**i, 0.000226891 * 2**i, i) for i in range(3)))
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number in range(3):
            padded = np.pad(level, ((0, -len(level) % 512), (0, -level.shape[1] % 512), (0, 0)), constant_values=255)
            tiff.write(
                padded,
                tile=(512, 512),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 95},
                subfiletype=int(number > 0),
                description=xml if number == 0 else None,
                software="Philips DP v1.0",
                metadata=None,
            )
            level = np.ascontiguousarray(level[::2, ::2])
    with openslide.OpenSlide(path) as theirs, open_slide(path) as slide:
        assert theirs.properties["openslide.vendor"] == "philips"
        assert slide.reader_name == "tiff"
        assert [(level.width, level.height) for level in slide.header.levels] == list(theirs.level_dimensions)
        assert [level.downsample for level in slide.header.levels] == [1, 2, 4]
        assert slide.mpp == pytest.approx((0.226891, 0.227273), rel=1e-5)
        assert slide.mpp == pytest.approx(
            (float(theirs.properties["openslide.mpp-x"]), float(theirs.properties["openslide.mpp-y"])), rel=1e-5
        )
        region = np.asarray(theirs.read_region((400, 300), 0, (300, 200)))[..., :3]
        assert off(slide.read(Box(400, 300, 300, 200)), region) <= 2


def test_a_cloud_optimised_geotiff_with_a_mask_has_its_overviews_and_no_more(tissue: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    mask = np.full(tissue.shape[:2], 255, np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(tissue, tile=(SIDE, SIDE), photometric="rgb", compression="adobe_deflate", metadata=None)
        tiff.write(mask > 0, tile=(SIDE, SIDE), photometric="mask", subfiletype=4, metadata=None)
        for step in (2, 4):
            overview = np.ascontiguousarray(tissue[::step, ::step])
            tiff.write(overview, tile=(SIDE, SIDE), photometric="rgb", subfiletype=1, metadata=None)
    with open_slide(path) as slide:
        assert [(level.width, level.height) for level in slide.header.levels] == [(300, 200), (150, 100), (75, 50)]
        assert np.array_equal(slide.read(slide.bounds), tissue)


def test_a_thumbnail_before_the_slide_is_not_taken_for_it(tissue: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(np.ascontiguousarray(tissue[::4, ::4]), photometric="rgb", metadata=None)
        tiff.write(tissue, tile=(SIDE, SIDE), photometric="rgb", metadata=None)
        half = np.ascontiguousarray(tissue[::2, ::2])
        tiff.write(half, tile=(SIDE, SIDE), photometric="rgb", subfiletype=1, metadata=None)
    with open_slide(path) as slide:
        assert [(level.width, level.height) for level in slide.header.levels] == [(300, 200), (150, 100)]
        assert np.array_equal(slide.read(slide.bounds), tissue)


def test_label_and_macro_are_found_and_are_no_levels(tissue: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    label, macro = np.ascontiguousarray(tissue[:90, :120]), np.ascontiguousarray(tissue[:150, :60])
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(tissue, tile=(SIDE, SIDE), photometric="rgb", description=APERIO.format("KDU"), metadata=None)
        for name, picture, kind in (("label", label, 1), ("macro", macro, 9)):
            text = f"Aperio Image Library v12.0.15\r\n{name} {picture.shape[1]}x{picture.shape[0]}"
            tiff.write(picture, photometric="rgb", subfiletype=kind, description=text, metadata=None)
    with open_slide(path) as slide:
        assert len(slide.header.levels) == 1
        found = slide.associated()
    assert set(found) == {"label", "macro"}
    assert np.array_equal(found["label"], label)
    assert np.array_equal(found["macro"], macro)


@pytest.mark.real
def test_the_label_and_macro_of_a_real_svs_are_those_openslide_finds(real_data: Path) -> None:
    path = real_data / "slides/cmu-1-small-region.svs"
    with open_slide(path) as slide, openslide.OpenSlide(path) as theirs:
        found = slide.associated()
        assert set(found) == set(theirs.associated_images)
        for name, picture in found.items():
            assert off(picture, np.asarray(theirs.associated_images[name])[..., :3]) <= 2


def test_an_uncompressed_picture_in_one_strip_is_read_row_by_row(tmp_path: Path) -> None:
    """Its strip is the whole picture: decoded whole, 5 rows would cost the memory of all."""
    pixels = np.random.default_rng(3).integers(0, 256, (4000, 1000, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", rowsperstrip=4000)
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(Box(10, 2795, 30, 5)), pixels[2795:2800, 10:40])
        assert np.array_equal(slide.read(slide.bounds), pixels)
        assert slide._reader._planes[0].tile_height < 1500  # type: ignore[attr-defined]


@pytest.mark.parametrize("codec", ["lzw with predictor", "deflate", "jpeg"])
def test_a_compressed_picture_in_one_strip_too_large_to_hold_is_read_from_top_to_bottom(
    smooth: Pixels, codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff_decode, "MAX_HELD_STRIP_PX", 50_000)
    options = LOSSLESS.get(codec, {"compression": "jpeg", "compressionargs": {"level": 95}})
    tifffile.imwrite(tmp_path / "a.tif", smooth, photometric="rgb", rowsperstrip=200, **options)
    with open_slide(tmp_path / "a.tif") as slide:
        assert not slide.header.random_access
        assert off(slide.read(slide.bounds), smooth) <= (4 if codec == "jpeg" else 0)
        for box in (Box(10, 150, 50, 40), Box(200, 3, 100, 60)):
            expected = smooth[box.y : box.bottom, box.x : box.right]
            assert off(slide.read(box), expected) <= (4 if codec == "jpeg" else 0)


# What lies beside the slide in its file.


def ome_with_macro(path: Path, tissue: Pixels, macro_first: bool = False) -> None:
    """A slide with a reduced level, and a macro of the slide's shape and a quarter of its size, both tiled."""
    macro = np.ascontiguousarray(255 - tissue[::4, ::4])
    tile: Any = {"tile": (SIDE, SIDE), "photometric": "rgb"}

    def write_macro(tiff: tifffile.TiffWriter) -> None:
        tiff.write(macro, metadata={"Name": "macro image", "PhysicalSizeX": 16.0, "PhysicalSizeY": 16.0}, **tile)

    with tifffile.TiffWriter(path, ome=True) as tiff:
        if macro_first:
            write_macro(tiff)
        tiff.write(tissue, subifds=1, metadata={"Name": "a", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.48}, **tile)
        tiff.write(np.ascontiguousarray(tissue[::2, ::2]), subfiletype=1, **tile)
        if not macro_first:
            write_macro(tiff)


@pytest.mark.parametrize("macro_first", [False, True])
def test_a_macro_of_the_slides_shape_is_no_level_and_its_mpp_not_the_slides(
    tissue: Pixels, macro_first: bool, tmp_path: Path
) -> None:
    ome_with_macro(tmp_path / "a.ome.tif", tissue, macro_first)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert [(level.width, level.height) for level in slide.header.levels] == [(300, 200), (150, 100)]
        assert slide.mpp == (0.5, 0.48)
        assert np.array_equal(slide.read(slide.bounds), tissue)
        assert set(slide.associated()) == {"macro"}


def test_a_macro_does_not_slip_into_a_converted_file(tissue: Pixels, tmp_path: Path) -> None:
    ome_with_macro(tmp_path / "a.ome.tif", tissue)
    with open_slide(tmp_path / "a.ome.tif") as slide:
        convert(slide, tmp_path / "b.ome.tif")
        tiny = slide.read_to(slide.bounds, (75, 50))
    with open_slide(tmp_path / "b.ome.tif") as slide:
        assert off(slide.read_to(slide.bounds, (75, 50)), tiny) <= 2
        assert slide.associated() == {}


def test_a_slide_without_an_mpp_does_not_take_that_of_its_macro(tissue: Pixels, tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        tiff.write(tissue, photometric="rgb", tile=(SIDE, SIDE))
        macro = {"Name": "macro", "PhysicalSizeX": 8.0, "PhysicalSizeY": 8.0}
        tiff.write(np.ascontiguousarray(tissue[:64, :64]), photometric="rgb", metadata=macro)
    assert open_slide(tmp_path / "a.ome.tif").mpp is None


def test_a_map_of_the_slides_shape_is_no_level(tissue: Pixels, tmp_path: Path) -> None:
    """A grey page of half the size, such as a map of probabilities; and an RGB one that is not said to be reduced."""
    half = np.ascontiguousarray(tissue[::2, ::2])
    for number, other in enumerate((half[..., 0], half)):
        path = tmp_path / f"{number}.tif"
        with tifffile.TiffWriter(path) as tiff:
            tiff.write(tissue, photometric="rgb", tile=(SIDE, SIDE), metadata=None)
            tiff.write(other, tile=(SIDE, SIDE), subfiletype=1 - number, metadata=None)
        assert len(open_slide(path).header.levels) == 1


@pytest.mark.parametrize("tile", [None, (SIDE, SIDE)])
@pytest.mark.parametrize("ome", [True, False])
def test_a_picture_spread_over_three_pages_is_refused(
    tissue: Pixels, ome: bool, tile: tuple[int, int] | None, tmp_path: Path
) -> None:
    planes = np.ascontiguousarray(np.moveaxis(tissue, -1, 0))
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="minisblack", ome=ome, tile=tile)
    with pytest.raises(SlideError, match=r"a\.tif: 3 pages of 300 × 200 px"):
        open_slide(tmp_path / "a.tif")


def test_a_grey_picture_with_a_mask_of_its_size_reads_and_the_mask_is_named(tissue: Pixels, tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(tissue[..., 0], tile=(SIDE, SIDE), photometric="minisblack", metadata=None)
        tiff.write(tissue[..., 0] > 9, tile=(SIDE, SIDE), photometric="mask", subfiletype=4, metadata=None)
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(slide.bounds)[..., 0], tissue[..., 0])
        assert "its transparency mask is ignored" in slide.info().notes


# Tiles and strips that are cut or missing.


def test_an_uncompressed_strip_that_is_too_short_is_an_error(tissue: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, tissue, photometric="rgb", rowsperstrip=64)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        counts = tiff.pages.first.tags["StripByteCounts"]
        counts.overwrite([*counts.value[:2], counts.value[2] // 2, counts.value[3]])
    with pytest.raises(SlideError, match=r"a\.tif: tile 2 of level 0 .*28,800 bytes in it, 57,600 needed"):
        read(path)


@pytest.mark.parametrize("codec", ["none", "deflate"])
def test_a_file_cut_while_it_is_open_is_an_error(tissue: Pixels, codec: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, tissue, photometric="rgb", rowsperstrip=64, **LOSSLESS[codec])
    with open_slide(path) as slide:
        os.truncate(path, path.stat().st_size - 30_000)
        with pytest.raises(SlideError, match=r"a\.tif: truncated .* copy it again"):
            slide.read(slide.bounds)


def test_a_tile_missing_from_a_reduced_level_of_aperios_is_made_from_the_finer_one(
    phantom_pixels: Pixels, tmp_path: Path
) -> None:
    """As OpenSlide makes it; a converted file has no hole there either."""
    path, side = tmp_path / "a.svs", 128
    pixels = np.ascontiguousarray(phantom_pixels[:1024, :1024])
    with tifffile.TiffWriter(path) as tiff:
        for number, step in enumerate((1, 4)):
            level = cv2.resize(pixels, (1024 // step, 1024 // step), interpolation=cv2.INTER_AREA)
            text = APERIO.format("Q") if number == 0 else "Aperio Image Library v12.0.15\r\n1024x1024 -> 256x256 JPEG"
            options: Any = {"compression": "jpeg", "compressionargs": {"level": 95}, "description": text}
            tiff.write(level, photometric="rgb", tile=(side, side), metadata=None, **options)
    with tifffile.TiffFile(path, mode="r+") as tiff:
        counts = tiff.pages[1].aspage().tags["TileByteCounts"]
        counts.overwrite([counts.value[0], 0, *counts.value[2:]])
    with open_slide(path) as slide, openslide.OpenSlide(path) as theirs:
        assert theirs.properties["openslide.vendor"] == "aperio"
        assert len(slide.header.levels) == theirs.level_count == 2
        found = slide.read_to(slide.bounds, (256, 256))
        filled = np.asarray(theirs.read_region((0, 0), 1, (256, 256)))[..., :3]
        assert np.abs(found.astype(int) - cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_AREA)).mean() < 4
        assert np.abs(found.astype(int) - filled)[:128, 128:].mean() < 6  # OpenSlide interpolates where it shrinks
        convert(slide, tmp_path / "b.ome.tif")
    with open_slide(tmp_path / "b.ome.tif") as slide:
        assert np.abs(slide.read_to(slide.bounds, (256, 256)).astype(int) - found).mean() < 4


def test_the_first_tile_missing_does_not_change_the_colours_of_the_others(smooth: Pixels, tmp_path: Path) -> None:
    """The tag says RGB and the streams have JFIF's marker: seen on any of them."""
    tiles = jpeg_tiles(smooth, colorspace="RGB", outcolorspace="YCBCR", subsampling="444")
    write_raw_tiles(tmp_path / "a.tif", tiles, smooth.shape, "jpeg", "rgb")
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        offsets = tiff.pages.first.tags["TileOffsets"]
        offsets.overwrite([0, *offsets.value[1:]])
    with open_slide(tmp_path / "a.tif") as slide:
        assert off(slide.read(Box(SIDE, SIDE, 200, 100)), smooth[SIDE : SIDE + 100, SIDE : SIDE + 200]) <= 6
        assert "JFIF" in slide.info().notes[0]
        assert slide.native(0) is None


def test_the_largest_value_stated_for_the_slide_holds_for_its_levels_and_for_streamed_strips(
    tissue: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = np.rint(tissue * (4095 / 255)).astype(np.uint16)
    largest = [(281, 3, 3, (4095, 4095, 4095), True)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(deep, photometric="rgb", tile=(SIDE, SIDE), extratags=largest, metadata=None)
        half = np.ascontiguousarray(deep[::2, ::2])
        tiff.write(half, photometric="rgb", tile=(SIDE, SIDE), subfiletype=1, metadata=None)
    with open_slide(tmp_path / "a.tif") as slide:
        assert off(slide.read_to(slide.bounds, (150, 100)), tissue[::2, ::2]) == 0
    monkeypatch.setattr(tiff_decode, "MAX_HELD_STRIP_PX", 50_000)
    options: Any = {"rowsperstrip": 200, "compression": "adobe_deflate", "extratags": largest}
    tifffile.imwrite(tmp_path / "b.tif", deep, photometric="rgb", **options)
    assert off(read(tmp_path / "b.tif"), tissue) == 0


def test_a_palette_of_values_times_256_is_exact(tissue: Pixels, tmp_path: Path) -> None:
    palette = np.random.default_rng(7).integers(0, 256, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", tissue[..., 0], photometric="palette", colormap=palette << 8)
    assert np.array_equal(read(tmp_path / "a.tif"), palette.T[tissue[..., 0]])


def test_a_turned_picture_is_shown_as_stored_and_that_is_said(tissue: Pixels, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", tissue, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.array_equal(slide.read(slide.bounds), tissue)
        assert "orientation 6" in slide.info().notes[0]


def test_a_profile_that_is_none_of_rgb_is_left_out_and_that_is_said(tissue: Pixels, tmp_path: Path) -> None:
    grey = b"\0" * 16 + b"GRAY" + b"\0" * 108
    tifffile.imwrite(tmp_path / "a.tif", tissue[..., 0], photometric="minisblack", iccprofile=grey)
    with open_slide(tmp_path / "a.tif", icc="srgb") as slide:
        assert slide.header.icc_profile is None
        assert "GRAY" in " ".join(slide.info().notes)


def test_a_slide_beyond_four_gigabytes_with_four_byte_numbers_is_left_to_openslide(tmp_path: Path) -> None:
    """Hamamatsu's NDPI: its first directory may lie where the 32 bits of the header cannot point."""
    path = tmp_path / "a.ndpi"
    with path.open("wb") as stream:
        stream.write(struct.pack("<2sHQ", b"II", 42, (1 << 32) + 64))
        stream.truncate((1 << 32) + 4096)
    check_chain(path)
