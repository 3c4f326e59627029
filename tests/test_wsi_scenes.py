"""Files with several scenes: one is read and the others are named; PATH#N takes another."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from ngff_images import write_ngff
from numpy.typing import NDArray
from typer.testing import CliRunner

from pipelines import cli
from wsi.bands import Opened
from wsi.convert import convert
from wsi.errors import SlideError
from wsi.fingerprint import fingerprint
from wsi.ingest import ingest
from wsi.readers.openslide import OpenSlideReader
from wsi.slide import open_slide
from wsi.slideinfo import SlideInfo
from wsi.source import Scene, Url, source_of

Pixels = NDArray[np.uint8]
TILE: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb"}
MPP: dict[str, Any] = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
OME: dict[str, Any] = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}


@pytest.fixture(scope="module")
def small(phantom_pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(phantom_pixels[400:640, 500:800])


@pytest.fixture(scope="module")
def large(phantom_pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(phantom_pixels[300:700, 700:1100])


def write_ome(path: Path, *scenes: Pixels) -> Path:
    """Each an OME image with a reduced level of its own in a SubIFD."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for number, scene in enumerate(scenes):
            tiff.write(scene, subifds=1, metadata={"Name": f"scene {number + 1}", **OME}, **TILE)
            tiff.write(np.ascontiguousarray(scene[::2, ::2]), subfiletype=1, **TILE)
    return path


def write_pages(path: Path, *scenes: Pixels) -> Path:
    """Pages of a plain TIFF, each followed by a reduced copy."""
    with tifffile.TiffWriter(path) as tiff:
        for scene in scenes:
            tiff.write(scene, metadata=None, **TILE, **MPP)
            tiff.write(np.ascontiguousarray(scene[::2, ::2]), metadata=None, subfiletype=1, **TILE)
    return path


def write_series(path: Path, *scenes: Pixels) -> Path:
    """The layout of bioformats2raw."""
    zarr.open_group(path, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    for number, scene in enumerate(scenes):
        write_ngff(path, [scene, np.ascontiguousarray(scene[::2, ::2])], version="0.4", group=str(number))
    return path


def write_multiscales(path: Path, *scenes: Pixels) -> Path:
    """Several images in one group."""
    found = []
    for number, scene in enumerate(scenes):
        write_ngff(path, [scene], group=f"image{number}")
        described = dict(zarr.open_group(path / f"image{number}", mode="r").attrs["ome"])["multiscales"][0]
        described["datasets"][0]["path"] = f"image{number}/0"
        found.append(described)
    zarr.open_group(path, mode="a").attrs["ome"] = {"version": "0.5", "multiscales": found}
    return path


WRITERS = {"a.ome.tif": write_ome, "a.tif": write_pages, "a.zarr": write_series, "b.zarr": write_multiscales}


@pytest.fixture(params=WRITERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def whole(path: Path | str) -> Pixels:
    with open_slide(path) as slide:
        return slide.read(slide.bounds)


def test_the_largest_is_read_and_the_other_is_named_and_can_be_had(
    name: str, small: Pixels, large: Pixels, tmp_path: Path
) -> None:
    path = WRITERS[name](tmp_path / name, small, large)
    assert np.array_equal(whole(path), large)
    assert np.array_equal(whole(f"{path}#1"), small)
    assert np.array_equal(whole(Path(f"{path}#1")), small)
    assert open_slide(path).header.notes[0] == (
        f"1 of 2 scenes is read: the largest, 400 × 400 px; to read another give {name}#1 (300 × 240 px)"
    )
    assert open_slide(f"{path}#1").header.notes[0] == (
        f"1 of 2 scenes is read: #1, 300 × 240 px; to read another give {name} (400 × 400 px)"
    )


def test_of_two_of_one_size_the_first_is_read(name: str, large: Pixels, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, large, large[::-1].copy())
    assert np.array_equal(whole(path), large)
    assert np.array_equal(whole(f"{path}#1"), large[::-1])
    assert open_slide(path).header.notes[0].startswith("1 of 2 scenes is read: the first of the largest, 400 × 400 px")


def test_each_scene_has_its_own_reduced_levels(small: Pixels, large: Pixels, tmp_path: Path) -> None:
    for name in ("a.ome.tif", "a.tif", "a.zarr"):
        path = WRITERS[name](tmp_path / name, small, large, small[::-1].copy())
        for number, size in enumerate([(400, 400), (300, 240), (300, 240)]):
            with open_slide(f"{path}#{number}") as slide:
                levels = [(level.width, level.height) for level in slide.header.levels]
                assert levels == [size, (size[0] // 2, size[1] // 2)]
                assert slide.mpp == pytest.approx((0.5, 0.5))
                assert len(slide.header.notes) == 1


def test_a_number_that_no_scene_has_is_one_clear_line(name: str, small: Pixels, large: Pixels, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, small, large)
    with pytest.raises(SlideError, match=rf"{name}#2: no such scene, it has 2, #0 to #1; leave #2 out"):
        open_slide(f"{path}#2")


def test_a_file_of_one_scene_has_no_second(phantom_tiled: Path, phantom_png: Path, phantom_zarr: Path) -> None:
    for path in (phantom_tiled, phantom_png, phantom_zarr):
        with pytest.raises(SlideError, match=r"#1: no such scene, it has one"):
            open_slide(f"{path}#1")
        assert not any("scene" in note for note in open_slide(path).header.notes)
        assert open_slide(f"{path}#0").path == path
    with pytest.raises(SlideError, match=r"#3: no such scene, it has one"):
        OpenSlideReader.open(phantom_tiled, 3)


def test_a_file_whose_name_ends_in_a_number_sign_still_opens(phantom_tiled: Path, tmp_path: Path) -> None:
    os.symlink(phantom_tiled, tmp_path / "a.ome.tif#1")
    os.symlink(phantom_tiled, tmp_path / "b#2.ome.tif")
    for name in ("a.ome.tif#1", "b#2.ome.tif"):
        assert source_of(str(tmp_path / name)) == tmp_path / name
        assert open_slide(tmp_path / name).size == (1500, 1100)


def test_a_scene_behind_an_address_is_understood() -> None:
    assert source_of("https://host/a.ome.zarr#2") == Scene(Url("https://host/a.ome.zarr"), 2)
    assert source_of("https://host/a.ome.zarr#0") == Url("https://host/a.ome.zarr")


def test_label_macro_and_thumbnail_are_no_scenes(small: Pixels, large: Pixels, tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tiff:
        tiff.write(large, metadata={"Name": "slide", **OME}, **TILE)
        for name in ("Label image", "macro", "Thumbnail"):
            tiff.write(small, metadata={"Name": name, **OME}, **TILE)
    with tifffile.TiffWriter(tmp_path / "b.tif") as tiff:
        tiff.write(large, metadata=None, **TILE)
        tiff.write(small, metadata=None, photometric="rgb")  # striped beside a tiled slide
    for name in ("a.ome.tif", "b.tif"):
        with open_slide(tmp_path / name) as slide:
            assert slide.header.notes == ()
            assert np.array_equal(slide.read(slide.bounds), large)


def test_a_scene_travels_with_slide_json_pickling_and_workers(small: Pixels, large: Pixels, tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", small, large)
    info = ingest(source_of(f"{path}#1"), tmp_path / "out")
    assert (info.path, info.width) == (f"{path}#1", 300)
    assert SlideInfo.load(tmp_path / "out" / "slide.json") == info
    with open_slide(tmp_path / "out" / "slide.json") as slide:
        assert np.array_equal(slide.read(slide.bounds), small)
        again = pickle.loads(pickle.dumps(slide))
        assert np.array_equal(again.read(slide.bounds), small)
        assert Opened.of(slide).path == Scene(path, 1)
    ingest(source_of(f"{path}#1"), tmp_path)  # beside the file: both may be moved
    assert json.loads((tmp_path / "slide.json").read_text())["path"] == "a.ome.tif#1"
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("a.ome.tif", "slide.json"):
        (tmp_path / name).rename(moved / name)
    assert np.array_equal(whole(moved / "slide.json"), small)


def test_a_scene_is_converted_by_itself(small: Pixels, large: Pixels, tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", small, large)
    with open_slide(f"{path}#1") as slide:
        convert(slide, tmp_path / "b.ome.tif")
    assert np.array_equal(whole(tmp_path / "b.ome.tif"), small)


def test_scenes_of_a_file_have_fingerprints_of_their_own(small: Pixels, large: Pixels, tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", small, large)
    found = {fingerprint(source_of(f"{path}#{number}")) for number in (0, 1, 2)}
    assert len(found) == 3
    assert fingerprint(source_of(f"{path}#0")) == fingerprint(path)


def test_inspect_says_it_to_people_and_programs(small: Pixels, large: Pixels, tmp_path: Path) -> None:
    path = write_ome(tmp_path / "a.ome.tif", small, large)
    told = CliRunner().invoke(cli.app, ["inspect", f"{path}#1"]).stdout
    assert "300 × 240 px" in told
    assert "1 of 2 scenes is read: #1" in told
    raw = json.loads(CliRunner().invoke(cli.app, ["inspect", "--json", str(path)]).stdout)
    assert raw["notes"][0].startswith("1 of 2 scenes is read: the largest, 400 × 400 px")


def test_images_that_lie_in_other_files_are_named_and_their_mpp_is_not_taken(large: Pixels, tmp_path: Path) -> None:
    image = (
        '<Image ID="Image:{0}"><Pixels PhysicalSizeX="{1}" PhysicalSizeY="{1}"><TiffData IFD="0">'
        '<UUID FileName="{2}">urn:uuid:{0}</UUID></TiffData></Pixels></Image>'
    )
    images = image.format(0, 0.25, "a.ome.tif") + image.format(1, 0.5, "b.ome.tif")
    xml = f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">{images}</OME>'
    for name in ("a.ome.tif", "b.ome.tif"):
        tifffile.imwrite(tmp_path / name, large, description=xml, metadata=None, **TILE)
    for name, mpp, other in (("a.ome.tif", 0.25, "b.ome.tif"), ("b.ome.tif", 0.5, "a.ome.tif")):
        with open_slide(tmp_path / name) as slide:
            assert slide.mpp == (mpp, mpp)
            assert slide.header.notes == (f"more images of it lie in other files, to be read by themselves: {other}",)
