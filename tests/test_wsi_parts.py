"""Which files make one slide: MIRAX, DICOM series, VMS and OME-TIFF of several files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from dicom_files import write_level

from wsi.readers.dicom import dicom_series, series_of
from wsi.readers.parts import parts_of
from wsi.slide import open_slide


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a slide of two files, one of one file, and a file that is no DICOM."""
    folder = tmp_path_factory.mktemp("dicom")
    pixels = np.random.default_rng(1).integers(0, 255, (512, 640, 3), dtype=np.uint8)
    write_level(folder / "a0.dcm", pixels, 5, 0)
    write_level(folder / "a1.dcm", pixels[::2, ::2], 5, 1, mpp=1.0)
    write_level(folder / "b0.dcm", pixels[::-1], 6, 0)
    (folder / "notes.txt").write_text("no DICOM")
    return folder


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_the_files_of_a_dicom_series_are_one_slide_whichever_is_asked(series: Path) -> None:
    for name in ("a0.dcm", "a1.dcm"):
        assert names(parts_of(series / name)) == ["a0.dcm", "a1.dcm"]
        with open_slide(series / name) as slide:
            assert slide.size == (640, 512)
            assert len(slide.header.levels) == 2
    assert names(parts_of(series / "b0.dcm")) == ["b0.dcm"]


def test_dicom_files_are_grouped_by_folder_and_series_and_all_others_stay_alone(series: Path) -> None:
    groups = dicom_series(sorted(series.iterdir()))
    assert [names(group) for group in groups] == [["a0.dcm", "a1.dcm"], ["b0.dcm"], ["notes.txt"]]


def test_a_file_that_ends_within_its_header_names_no_series(series: Path, tmp_path: Path) -> None:
    whole = (series / "a0.dcm").read_bytes()
    for size in (132, 140, 300, 420, 520):
        (tmp_path / "cut.dcm").write_bytes(whole[:size])
        assert series_of(tmp_path / "cut.dcm") is None
        assert names(parts_of(tmp_path / "cut.dcm")) == ["cut.dcm"]


@pytest.mark.real
@pytest.mark.parametrize("name", ["dicom-raw.dcm", "dicom-jpeg.dcm", "dicom-jpeg2000.dcm"])
def test_the_series_of_real_files_is_the_one_that_openslide_sees(real_data: Path, name: str) -> None:
    path = real_data / "slides" / name
    with openslide.OpenSlide(path) as slide:
        assert series_of(path) == slide.properties["dicom.SeriesInstanceUID"]


def test_a_mirax_slide_is_its_index_and_the_folder_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for name in ("s.mrxs", "s/Slidedat.ini", "s/Data0000.dat", "other.mrxs"):
        (tmp_path / name).write_bytes(b"x")
    found = parts_of(tmp_path / "s.mrxs")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["s/Data0000.dat", "s/Slidedat.ini", "s.mrxs"]


def test_a_vms_slide_is_what_its_index_names_within_its_folder(tmp_path: Path) -> None:
    for name in ("a.jpg", "a_1_0.jpg", "a_map.jpg", "a.opt", "other.jpg"):
        (tmp_path / name).write_bytes(b"x")
    lines = ["[Virtual Microscope Specimen]", "NoLayers=1", "ImageFile=a.jpg", "ImageFile(1,0)=a_1_0.jpg"]
    lines += ["MapFile=a_map.jpg", "OptimisationFile=a.opt", "MacroImage=missing.jpg", "Comments=../other.jpg"]
    (tmp_path / "a.vms").write_text("\r\n".join(lines))
    assert names(parts_of(tmp_path / "a.vms")) == ["a.jpg", "a.opt", "a.vms", "a_1_0.jpg", "a_map.jpg"]


def test_an_ome_tiff_of_several_files_is_all_that_its_metadata_name(tmp_path: Path) -> None:
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels>'
        '<TiffData IFD="0"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0"><UUID FileName="b.ome.tif">urn:uuid:2</UUID></TiffData></Pixels></Image></OME>'
    )
    for name in ("a.ome.tif", "b.ome.tif", "c.ome.tif"):
        tifffile.imwrite(tmp_path / name, np.zeros((16, 16, 3), np.uint8), description=xml, metadata=None)
    (tmp_path / "a.companion.ome").write_text(xml)
    binary = '<OME><BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:1"/></OME>'
    tifffile.imwrite(tmp_path / "d.ome.tif", np.zeros((16, 16, 3), np.uint8), description=binary, metadata=None)
    assert names(parts_of(tmp_path / "a.ome.tif")) == ["a.ome.tif", "b.ome.tif"]
    assert names(parts_of(tmp_path / "d.ome.tif")) == ["a.companion.ome", "a.ome.tif", "b.ome.tif", "d.ome.tif"]


def test_any_other_file_is_a_slide_by_itself_and_a_folder_all_that_lies_in_it(
    phantom_jpeg: Path, phantom_zarr: Path
) -> None:
    assert parts_of(phantom_jpeg) == [phantom_jpeg]
    assert parts_of(phantom_zarr) == sorted(path for path in phantom_zarr.rglob("*") if path.is_file())
