"""What stored values show where no header says it: bits in use, an alpha of nothing; and an mpp that no slide has."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from dicom_files import write_level
from ngff_images import halved, write_ngff
from numpy.typing import NDArray
from PIL import Image

from wsi.convert import ConvertOptions, convert
from wsi.errors import MppError, SlideError
from wsi.ingest import ingest
from wsi.readers import streamed
from wsi.readers.picture import reader as picture_reader
from wsi.readers.values import Values
from wsi.slide import open_slide

Pixels = NDArray[np.uint8]
TILE = {"tile": (64, 64), "photometric": "rgb"}


@pytest.fixture(scope="module")
def tissue(phantom_pixels: Pixels) -> Pixels:
    """(200, 300, 3) RGB of tissue beside glass that is nearly white."""
    return np.ascontiguousarray(phantom_pixels[420:620, 430:730])


def whole(path: Path) -> Pixels:
    with open_slide(path) as slide:
        return slide.read(slide.bounds)


def notes(path: Path) -> str:
    with open_slide(path) as slide:
        return "; ".join(slide.header.notes)


# Bits in use.


def write_tiff(path: Path, deep: NDArray[Any], **options: Any) -> None:
    tifffile.imwrite(path, deep, **TILE, **options)


def write_zarr(path: Path, deep: NDArray[Any]) -> None:
    write_ngff(path, halved(deep, 2), chunk_px=64)


def write_png(path: Path, deep: NDArray[Any]) -> None:
    path.write_bytes(imagecodecs.png_encode(deep))


def write_jp2(path: Path, deep: NDArray[Any]) -> None:
    path.write_bytes(imagecodecs.jpeg2k_encode(deep, level=0, bitspersample=16))


DEEP: dict[str, Callable[..., None]] = {
    "a.tif": write_tiff,
    "a.ome.zarr": write_zarr,
    "a.png": write_png,
    "a.jp2": write_jp2,
}


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("name", DEEP)
def test_fewer_bits_in_sixteen_are_seen_scaled_and_said(tissue: Pixels, name: str, bits: int, tmp_path: Path) -> None:
    top = (1 << bits) - 1
    DEEP[name](tmp_path / name, np.rint(tissue / 255 * top).astype(np.uint16))
    assert np.abs(whole(tmp_path / name).astype(int) - tissue).max() <= 1
    assert f"16 bits a channel, of which {bits} are in use" in notes(tmp_path / name)
    assert f"0 to {top} scaled to 0 to 255" in notes(tmp_path / name)


@pytest.mark.parametrize("brightest", [5_000, 10_000, 25_000])
@pytest.mark.parametrize("name", DEEP)
def test_a_slide_that_is_merely_dark_is_not_brightened(
    tissue: Pixels, name: str, brightest: int, tmp_path: Path
) -> None:
    deep = np.rint(tissue / tissue.max() * brightest).astype(np.uint16)
    DEEP[name](tmp_path / name, deep)
    assert np.abs(whole(tmp_path / name).astype(int) - np.rint(deep / 257)).max() <= 1
    assert f"it is dark, no value above {brightest} was seen" in notes(tmp_path / name)


def test_the_least_range_counts_that_holds_all_values_and_is_nearly_reached() -> None:
    found = {brightest: Values(brightest, None).full_scale for brightest in (0, 200, 700, 800, 3900, 4096, 13_000)}
    assert found == {0: 65_535, 200: 255, 700: 65_535, 800: 1023, 3900: 4095, 4096: 65_535, 13_000: 16_383}


def test_one_bright_tile_settles_it_for_the_slide_and_for_all_its_levels(tissue: Pixels, tmp_path: Path) -> None:
    deep = np.tile(tissue, (4, 4, 1)).astype(np.uint16) * 16
    deep[:64, 64:128] = 40_000
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(deep, metadata=None, **TILE)
        tiff.write(np.ascontiguousarray(deep[::2, ::2]), metadata=None, subfiletype=1, **TILE)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.read(slide.bounds)[300:].max() <= 16
        assert slide.read_to(slide.bounds, (600, 400))[150:].max() <= 16


@pytest.mark.parametrize("tag", [281, 341])
def test_the_largest_value_that_a_tiff_states_is_believed(tissue: Pixels, tag: int, tmp_path: Path) -> None:
    deep = np.rint(tissue / 255 * 1000).astype(np.uint16)
    write_tiff(tmp_path / "a.tif", deep, extratags=[(tag, 3, 3, (4095, 4095, 4095), True)])
    assert np.abs(whole(tmp_path / "a.tif").astype(int) - np.rint(deep / 4095 * 255)).max() <= 1
    assert "0 to 4095 scaled" in notes(tmp_path / "a.tif")


@pytest.mark.parametrize(("stated", "top"), [(12, 4095), (16, 1023)])
def test_significant_bits_of_ome_are_believed_where_they_are_fewer_than_all(
    tissue: Pixels, stated: int, top: int, tmp_path: Path
) -> None:
    deep = np.rint(tissue / 255 * 1023).astype(np.uint16)
    metadata = {"axes": "YXS", "SignificantBits": stated}
    write_tiff(tmp_path / "a.ome.tif", deep, ome=True, metadata=metadata)
    assert np.abs(whole(tmp_path / "a.ome.tif").astype(int) - np.rint(deep / top * 255)).max() <= 1


def test_a_display_window_of_all_bits_says_nothing(tissue: Pixels, tmp_path: Path) -> None:
    window = {"channels": [{"window": {"min": 0, "max": 65_535}}] * 3}
    write_ngff(tmp_path / "a.ome.zarr", [np.rint(tissue / 255 * 4095).astype(np.uint16)], omero=window)
    assert np.abs(whole(tmp_path / "a.ome.zarr").astype(int) - tissue).max() <= 1


def test_twelve_bits_in_sixteen_are_the_same_after_ingest_and_conversion(tissue: Pixels, tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", tissue.astype(np.uint16) * 16, resolution=(20_000, 20_000), resolutionunit=3)
    ingest(tmp_path / "a.tif", tmp_path / "out")
    expected = whole(tmp_path / "a.tif")
    assert np.array_equal(whole(tmp_path / "out" / "slide.json"), expected)
    with open_slide(tmp_path / "a.tif") as slide:
        convert(slide, tmp_path / "b.ome.zarr", ConvertOptions("ome-zarr"))
    assert np.array_equal(whole(tmp_path / "b.ome.zarr"), expected)


def test_pictures_that_are_decoded_row_by_row_are_looked_at_whole(
    tissue: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_reader, "_HELD_PX", 1000)
    write_png(tmp_path / "a.png", np.rint(tissue / 255 * 4095).astype(np.uint16))
    assert np.abs(whole(tmp_path / "a.png").astype(int) - tissue).max() <= 1
    write_png(tmp_path / "b.png", clear(tissue))
    assert np.array_equal(whole(tmp_path / "b.png"), tissue)
    assert streamed.streamed_values(tmp_path / "b.png") == Values(int(tissue.max()), 0)


# Alpha.


def clear(rgb: Pixels) -> Pixels:
    """The same under an alpha of nothing."""
    return np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)])


def by_pillow(kind: str) -> Callable[[Path, Pixels], None]:
    def write(path: Path, rgba: Pixels) -> None:
        stream = io.BytesIO()
        Image.fromarray(rgba, "RGBA").save(
            stream, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})
        )
        path.write_bytes(stream.getvalue())

    return write


ALPHA: dict[str, Callable[[Path, Pixels], None]] = {
    "straight.tif": lambda path, rgba: write_tiff(path, rgba, extrasamples=["unassalpha"]),
    "premultiplied.tif": lambda path, rgba: write_tiff(path, rgba, extrasamples=["assocalpha"]),
    "jpeg2000.tif": lambda path, rgba: write_tiff(path, rgba, extrasamples=["unassalpha"], compression="jpeg2000"),
    "striped.tif": lambda path, rgba: tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"]),
    "a.ome.zarr": lambda path, rgba: write_ngff(path, halved(rgba, 2), chunk_px=64),
    "apart.ome.zarr": lambda path, rgba: write_ngff(path, halved(rgba, 2), chunk_px=64, channels_apart=True),
    "a.png": by_pillow("PNG"),
    "a.webp": by_pillow("WEBP"),
    "a.jp2": lambda path, rgba: path.write_bytes(imagecodecs.jpeg2k_encode(rgba, level=0)) and None,
}


@pytest.mark.parametrize("name", ALPHA)
def test_an_alpha_of_nothing_is_no_alpha_and_that_is_said(tissue: Pixels, name: str, tmp_path: Path) -> None:
    ALPHA[name](tmp_path / name, clear(tissue))
    assert np.abs(whole(tmp_path / name).astype(int) - tissue).max() <= (8 if name == "jpeg2000.tif" else 0)
    assert "its alpha is 0 everywhere, over colours: taken for no alpha and ignored" in notes(tmp_path / name)


@pytest.mark.parametrize("name", ALPHA)
def test_an_alpha_of_something_hides_what_it_is_to_hide(tissue: Pixels, name: str, tmp_path: Path) -> None:
    rgba = clear(tissue)
    rgba[96:104, 140:160, 3] = 255
    ALPHA[name](tmp_path / name, rgba)
    if name == "premultiplied.tif":
        rgba[..., :3][rgba[..., 3] == 0] = 0
        ALPHA[name](tmp_path / name, rgba)
    found = whole(tmp_path / name)
    assert (found[:80] == 255).all()
    assert np.abs(found[98:102, 144:156].astype(int) - tissue[98:102, 144:156]).mean() < 8
    assert "ignored" not in notes(tmp_path / name)


def test_a_canvas_on_which_nothing_was_drawn_stays_clear(tmp_path: Path) -> None:
    ALPHA["premultiplied.tif"](tmp_path / "a.tif", np.zeros((200, 300, 4), np.uint8))
    assert (whole(tmp_path / "a.tif") == 255).all()


# Floating point.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_floating_point_is_one_clear_line(
    tissue: Pixels, dtype: type, tile: tuple[int, int] | None, tmp_path: Path
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", (tissue / 255).astype(dtype), photometric="rgb", tile=tile)
    bits = np.dtype(dtype).itemsize * 8
    with pytest.raises(SlideError, match=rf"a\.tif: pixels of {bits}-bit floating point.*; convert it to 8-bit RGB"):
        open_slide(tmp_path / "a.tif")


# mpp.


def tiff_of(mpp: tuple[float, float], path: Path) -> Path:
    pixels = np.zeros((64, 64, 3), np.uint8)
    tifffile.imwrite(path, pixels, resolution=(10_000 / mpp[0], 10_000 / mpp[1]), resolutionunit="CENTIMETER")
    return path


def ome_of(mpp: tuple[float, float], path: Path) -> Path:
    metadata = {"axes": "YXS", "PhysicalSizeX": mpp[0], "PhysicalSizeY": mpp[1]}
    tifffile.imwrite(path.with_suffix(".ome.tif"), np.zeros((64, 64, 3), np.uint8), ome=True, metadata=metadata)
    return path.with_suffix(".ome.tif")


def zarr_of(mpp: tuple[float, float], path: Path) -> Path:
    write_ngff(path.with_suffix(".zarr"), [np.zeros((64, 64, 3), np.uint8)], mpp=mpp[0])
    if mpp[0] != mpp[1]:
        import zarr

        group = zarr.open_group(path.with_suffix(".zarr"), mode="a")
        ome = dict(group.attrs["ome"])
        ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] = [1.0, mpp[1], mpp[0]]
        group.attrs["ome"] = ome
    return path.with_suffix(".zarr")


def png_of(mpp: tuple[float, float], path: Path) -> Path:
    dpi = (25_400 / mpp[0], 25_400 / mpp[1])
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path.with_suffix(".png"), dpi=dpi)
    return path.with_suffix(".png")


STATED = {"resolution tags": tiff_of, "OME-XML": ome_of, "NGFF": zarr_of, "PNG": png_of}


@pytest.mark.parametrize("kind", STATED)
@pytest.mark.parametrize("mpp", [(0.025, 0.025), (31.0, 31.0), (0.25, 0.5), (0.5, 0.47)], ids=str)
def test_an_mpp_that_no_slide_has_is_unknown_and_the_error_says_what_the_file_states(
    kind: str, mpp: tuple[float, float], tmp_path: Path
) -> None:
    path = STATED[kind](mpp, tmp_path / "a.tif")
    with open_slide(path) as slide:
        assert slide.mpp is None
        assert slide.info().mpp_source == "unknown"
        assert any(note.endswith("taken as unknown") for note in slide.header.notes)
        with pytest.raises(MppError, match=r"taken as unknown; give it by hand"):
            slide.require_mpp()
    assert open_slide(path, 0.5).mpp == (0.5, 0.5)


@pytest.mark.parametrize("kind", STATED)
@pytest.mark.parametrize("mpp", [(0.051, 0.051), (29.0, 29.0), (0.5, 0.48)], ids=str)
def test_an_mpp_within_bounds_is_believed(kind: str, mpp: tuple[float, float], tmp_path: Path) -> None:
    assert open_slide(STATED[kind](mpp, tmp_path / "a.tif")).mpp == pytest.approx(mpp, rel=1e-2)


def test_the_mpp_of_aperio_and_of_dicom_is_held_to_the_same_bounds(tissue: Pixels, tmp_path: Path) -> None:
    text = "Aperio Image Library v11.2.1\r\n300x200 (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.025"
    tifffile.imwrite(tmp_path / "a.svs", tissue, description=text, metadata=None, **TILE)
    write_level(tmp_path / "a.dcm", tissue, 5, 0, mpp=0.025)
    for name in ("a.svs", "a.dcm"):
        assert open_slide(tmp_path / name).mpp is None
        assert "taken as unknown" in notes(tmp_path / name)


@pytest.mark.parametrize("mpp", [0.025, 31.0, 500.0, float("inf")])
def test_an_mpp_given_by_hand_is_held_to_the_same_bounds(phantom_tiled: Path, mpp: float) -> None:
    with pytest.raises(
        MppError, match=r"an mpp of .* is not possible; give µm per pixel, such as 0\.5 \(0\.05 to 30\)"
    ):
        open_slide(phantom_tiled, mpp)


# Files that grow beyond measure.


@pytest.mark.parametrize("key", ["zarr.json", "0/zarr.json", "0/c/0/0/0"])
def test_a_zip_that_grows_beyond_measure_is_refused_before_it_is_unpacked(
    tissue: Pixels, key: str, tmp_path: Path
) -> None:
    write_ngff(tmp_path / "a.ome.zarr", [tissue], chunk_px=512)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((tmp_path / "a.ome.zarr").rglob("*")):
            name = str(file.relative_to(tmp_path / "a.ome.zarr"))
            if file.is_file() and name != key:
                archive.write(file, name)
        archive.writestr(key, (tmp_path / "a.ome.zarr" / key).read_bytes() + b" " * (40 << 20))
    assert path.stat().st_size < 400_000
    with pytest.raises(SlideError, match=r"a\.zip: .*(over the limit|write the zip uncompressed)"):
        whole(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_honest_zip_is_read(tissue: Pixels, compression: int, tmp_path: Path) -> None:
    write_ngff(tmp_path / "a.ome.zarr", [tissue], chunk_px=64)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as archive:
        for file in sorted((tmp_path / "a.ome.zarr").rglob("*")):
            archive.write(file, file.relative_to(tmp_path / "a.ome.zarr"))
    assert np.array_equal(whole(tmp_path / "a.zip"), tissue)


def test_ome_xml_with_entities_is_not_expanded(tissue: Pixels, tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
    xml = f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY e0 "ha">{entities}]><OME><Image Name="&e9;"/></OME>'
    tifffile.imwrite(tmp_path / "a.ome.tif", tissue, description=xml, metadata=None, **TILE)
    assert np.array_equal(whole(tmp_path / "a.ome.tif"), tissue)
