"""What a conversion keeps: pixels that were stored without loss, and whatever else lies where it is to be written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from typer.testing import CliRunner

from pipelines.commands.app import app
from wsi.convert import ConvertOptions, convert, target_of
from wsi.errors import TakenError
from wsi.heatmap import Heatmap
from wsi.ingest import ingest
from wsi.slide import open_slide

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """(160, 200, 3) of noise, which JPEG changes."""
    return np.random.default_rng(1).integers(0, 256, (160, 200, 3), np.uint8)


def tiff(path: Path, pixels: Pixels, **layout: Any) -> Path:
    tifffile.imwrite(
        path, pixels, photometric="rgb", resolution=(20_000, 20_000), resolutionunit="CENTIMETER", **layout
    )
    return path


STRIPED: dict[str, Any] = {"rowsperstrip": 16}
TILED: dict[str, Any] = {"tile": (64, 64)}
LOSSLESS = {
    "uncompressed strips": STRIPED,
    "LZW strips": STRIPED | {"compression": "lzw", "predictor": True},
    "packbits strips": STRIPED | {"compression": "packbits"},
    "zstd strips": STRIPED | {"compression": "zstd"},
    "uncompressed tiles": TILED,
    "LZW tiles": TILED | {"compression": "lzw"},
    "deflate tiles": TILED | {"compression": "adobe_deflate"},
    "zstd tiles": TILED | {"compression": "zstd"},
}


def convert_by_command(source: Path, out: Path, *more: str) -> str:
    """What `tesela convert` answers."""
    answer = CliRunner().invoke(app, ["convert", str(source), str(out), "--mpp", "0.5", *more], catch_exceptions=False)
    assert answer.exit_code == 0
    return " ".join(answer.output.split())


@pytest.mark.parametrize("more", [(), ("--tile-px", "128")])
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize("layout", LOSSLESS.values(), ids=LOSSLESS.keys())
def test_what_is_stored_without_loss_stays_so(
    layout: dict[str, Any], name: str, more: tuple[str, ...], pixels: Pixels, tmp_path: Path
) -> None:
    source, out = tiff(tmp_path / "source.tif", pixels, **layout), tmp_path / name
    said = convert_by_command(source, out, *more)
    with open_slide(out) as slide:
        np.testing.assert_array_equal(slide.read(slide.bounds), pixels)
    assert "every pixel is kept" in said or "tiles are copied byte for byte" in said


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_so_does_a_picture(ending: str, pixels: Pixels, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / f"source.{ending}"), pixels[..., ::-1])
    assert "every pixel is kept" in convert_by_command(tmp_path / f"source.{ending}", tmp_path / "a.tif")
    with open_slide(tmp_path / "a.tif") as slide:
        np.testing.assert_array_equal(slide.read(slide.bounds), pixels)


def test_so_does_a_zarr(pixels: Pixels, tmp_path: Path) -> None:
    convert_by_command(tiff(tmp_path / "source.tif", pixels, **TILED), tmp_path / "a.zarr")
    convert_by_command(tmp_path / "a.zarr", tmp_path / "b.tif", "--tile-px", "64")
    with open_slide(tmp_path / "b.tif") as slide:
        np.testing.assert_array_equal(slide.read(slide.bounds), pixels)


@pytest.mark.parametrize("codec", ["jpeg", "jpeg2000", "webp"])
def test_what_is_changed_is_said(codec: str, pixels: Pixels, tmp_path: Path) -> None:
    source = tiff(tmp_path / "source.tif", pixels, **TILED, compression=codec)
    said = convert_by_command(source, tmp_path / "a.tif", "--tile-px", "128")
    assert "encoded anew as JPEG of quality 87, and differ a little" in said
    assert "deflate would keep them" in said


@pytest.mark.parametrize("more", [("--codec", "jpeg"), ("--quality", "80")])
def test_jpeg_is_there_for_who_asks_for_it(more: tuple[str, ...], pixels: Pixels, tmp_path: Path) -> None:
    source = tiff(tmp_path / "source.tif", pixels, **STRIPED)
    assert "encoded anew as JPEG" in convert_by_command(source, tmp_path / "a.tif", *more)
    with tifffile.TiffFile(tmp_path / "a.tif") as written:
        assert written.pages.first.compression == tifffile.COMPRESSION.JPEG


@pytest.mark.parametrize("compression", [None, "lzw", "zstd"])
def test_ingest_changes_no_pixel_that_was_stored_without_loss(
    compression: str | None, pixels: Pixels, tmp_path: Path
) -> None:
    info = ingest(tiff(tmp_path / "source.tif", pixels, **STRIPED, compression=compression), tmp_path / "out")
    with open_slide(Path(info.path)) as slide:
        np.testing.assert_array_equal(slide.read(slide.bounds), pixels)
    assert not [note for note in info.notes if "JPEG" in note]


def test_ingest_notes_what_it_changes(pixels: Pixels, tmp_path: Path) -> None:
    (tmp_path / "source.jpg").write_bytes(imagecodecs.jpeg8_encode(pixels, level=95))
    info = ingest(tmp_path / "source.jpg", tmp_path / "out", mpp=0.5)
    assert any("slide.ome.tif: pixels are encoded anew as JPEG of quality 87" in note for note in info.notes)


# What lies there already


@pytest.fixture
def source(pixels: Pixels, tmp_path: Path) -> Path:
    """A slide to convert."""
    return tiff(tmp_path / "source.tif", pixels, **STRIPED)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(source: Path, out: Path) -> None:
    with open_slide(source) as slide, pytest.raises(TakenError, match="is there that Tesela did not write"):
        convert(slide, out, ConvertOptions(target_of(out, None)))


@pytest.mark.parametrize("name", ["keep.zarr", "keep.ome.zarr", "keep.tif"])
def test_a_folder_of_somebody_elses_is_left_as_it_is(name: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / name / "thesis").mkdir(parents=True)
    (tmp_path / name / "thesis" / "chapter").write_text("one")
    before = everything_in(tmp_path)
    refused(source, tmp_path / name)
    assert everything_in(tmp_path) == before


def test_so_is_a_zarr_of_another_program(source: Path, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("0", data=np.zeros((3, 8, 8), np.uint8))
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"name": "a", "datasets": [{"path": "0"}]}]}
    before = everything_in(tmp_path)
    refused(source, tmp_path / "a.zarr")
    assert everything_in(tmp_path) == before


def test_so_is_our_own_zarr_once_somebody_put_something_into_it(source: Path, tmp_path: Path) -> None:
    convert_by_command(source, tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "labels").mkdir()
    (tmp_path / "a.zarr" / "labels" / "zarr.json").write_text("{}")
    before = everything_in(tmp_path)
    refused(source, tmp_path / "a.zarr")
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("name", ["other.tif", "other.zarr"])
def test_so_is_a_slide_or_a_file_of_another_program(name: str, source: Path, pixels: Pixels, tmp_path: Path) -> None:
    tiff(tmp_path / name, pixels[::-1], **TILED)
    before = everything_in(tmp_path)
    refused(source, tmp_path / name)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.ome.zarr"])
def test_what_tesela_wrote_is_replaced(name: str, source: Path, pixels: Pixels, tmp_path: Path) -> None:
    convert_by_command(tiff(tmp_path / "first.tif", pixels[::-1], **STRIPED), tmp_path / name)
    convert_by_command(source, tmp_path / name)
    with open_slide(tmp_path / name) as slide:
        np.testing.assert_array_equal(slide.read(slide.bounds), pixels)


def test_so_are_an_empty_folder_and_an_empty_file(source: Path, tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.tif").touch()
    for name in ("a.zarr", "a.tif"):
        convert_by_command(source, tmp_path / name)


def test_a_heatmap_takes_the_place_of_a_heatmap_only(tmp_path: Path) -> None:
    heat = Heatmap(("a",), np.zeros((1, 2, 2), np.float32), (64.0, 64.0), (0.0, 0.0), (0.5, 0.5))
    for _ in range(2):
        heat.write(tmp_path / "heatmap.ome.zarr")
    (tmp_path / "heatmap.ome.zarr" / "notes.txt").write_text("mine")
    with pytest.raises(TakenError, match="did not write"):
        heat.write(tmp_path / "heatmap.ome.zarr")
    assert (tmp_path / "heatmap.ome.zarr" / "notes.txt").read_text() == "mine"
