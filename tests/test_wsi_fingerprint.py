"""A slide that was replaced is seen, and one that was only copied or touched is not taken for another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from wsi.errors import SlideError
from wsi.fingerprint import _samples, fingerprint, identity, is_still, stamp
from wsi.ingest import ingest
from wsi.slide import open_slide
from wsi.slideinfo import SlideInfo

MIB = 1 << 20


def write_slide(path: Path, seed: int, size: int = 512) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    options = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", metadata=None, **options)


def replace_keeping_time(path: Path, by: Path, when_ns: int | None = None) -> None:
    """As `cp -p`, `rsync -a` and restores do: the new content has a time of its own, here an older one."""
    shutil.copyfile(by, path)
    when_ns = path.stat().st_mtime_ns - 10**15 if when_ns is None else when_ns
    os.utime(path, ns=(when_ns, when_ns))


@pytest.mark.parametrize("changed_at", [0, 3 * MIB, 20 * MIB, 40 * MIB - 1], ids=["head", "early", "middle", "tail"])
def test_of_a_large_file_head_tail_and_what_lies_between_are_seen(tmp_path: Path, changed_at: int) -> None:
    one, other = tmp_path / "one.tif", tmp_path / "other.tif"
    content = bytearray(40 * MIB)
    one.write_bytes(content)
    content[max(0, changed_at - MIB) : changed_at + MIB] = b"x" * len(
        content[max(0, changed_at - MIB) : changed_at + MIB]
    )
    other.write_bytes(content)
    assert one.stat().st_size == other.stat().st_size
    assert fingerprint(one) != fingerprint(other)


def test_of_a_small_file_every_byte_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    content = bytearray(5 * MIB)
    path.write_bytes(content)
    before = fingerprint(path)
    for place in (0, 2 * MIB + 77, len(content) - 1):
        altered = content.copy()
        altered[place] = 1
        path.write_bytes(altered)
        assert fingerprint(path) != before


def test_no_more_than_six_mib_are_read_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    with path.open("wb") as stream:
        stream.truncate(2 << 30)  # sparse
    read = [len(piece) for piece in _samples(path, MIB, 64, 1 << 16)]
    assert sum(read) == 6 * MIB


def test_a_copy_of_another_name_and_time_has_the_same_fingerprint_and_another_stamp(tmp_path: Path) -> None:
    write_slide(tmp_path / "a.tif", 1)
    recorded = identity(tmp_path / "a.tif")
    shutil.copyfile(tmp_path / "a.tif", tmp_path / "b.tif")
    os.utime(tmp_path / "b.tif", ns=(1, 1))
    assert fingerprint(tmp_path / "b.tif") == recorded.fingerprint
    assert stamp(tmp_path / "b.tif") != recorded.stamp
    assert is_still(tmp_path / "b.tif", recorded)


def test_of_a_zarr_image_chunks_of_the_same_size_are_told_apart(tmp_path: Path) -> None:
    for name, value in (("one.zarr", 1), ("other.zarr", 2)):
        zarr.create_array(
            tmp_path / name, data=np.full((64, 64), value, np.uint8), chunks=(32, 32), compressors=None, fill_value=0
        )
    assert fingerprint(tmp_path / "one.zarr") != fingerprint(tmp_path / "other.zarr")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_of_many_chunks_some_from_everywhere_are_looked_into(tmp_path: Path, zarr_format: int) -> None:
    """Of 1,024 chunks of one size, those differ whose names come last."""
    pixels = np.zeros((256, 256), np.uint8)
    for name in ("one.zarr", "other.zarr"):
        options = {"chunks": (8, 8), "compressors": None, "fill_value": 255, "zarr_format": zarr_format}
        zarr.create_array(tmp_path / name, data=pixels, **options)
        pixels[32:80] = 7  # rows 4 to 9 of the chunks: c/4/0, after c/31/31
    assert fingerprint(tmp_path / "one.zarr") != fingerprint(tmp_path / "other.zarr")


def test_of_a_mirax_slide_the_files_with_the_pixels_are_seen(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a.mrxs").write_bytes(b"index")
    (tmp_path / "a" / "Slidedat.ini").write_text("[GENERAL]\n")
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"one slide")
    before, stamped = fingerprint(tmp_path / "a.mrxs"), stamp(tmp_path / "a.mrxs")
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"an other!")
    assert fingerprint(tmp_path / "a.mrxs") != before
    assert stamp(tmp_path / "a.mrxs") != stamped


def test_a_slide_that_was_replaced_under_its_slide_json_is_refused_by_name(tmp_path: Path) -> None:
    write_slide(tmp_path / "s.tif", 1)
    write_slide(tmp_path / "other.tif", 2)
    ingest(tmp_path / "s.tif", tmp_path / "out")
    replace_keeping_time(tmp_path / "s.tif", tmp_path / "other.tif")
    with pytest.raises(SlideError, match=r"s\.tif: another slide than when .*slide\.json was written"):
        open_slide(tmp_path / "out" / "slide.json")


def test_a_slide_that_was_only_touched_or_restored_still_opens(tmp_path: Path) -> None:
    write_slide(tmp_path / "s.tif", 1)
    info = ingest(tmp_path / "s.tif", tmp_path / "out")
    os.utime(tmp_path / "s.tif", ns=(1, 1))
    with open_slide(tmp_path / "out" / "slide.json") as slide:
        assert slide.fingerprint == info.fingerprint


def test_a_conversion_has_the_fingerprint_of_its_source_and_is_refused_where_it_was_replaced(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (512, 512, 3), np.uint8)
    tifffile.imwrite(tmp_path / "flat.tif", pixels, photometric="rgb", metadata=None, rowsperstrip=512)
    info = ingest(tmp_path / "flat.tif", tmp_path / "out", mpp=0.5)
    assert Path(info.path).name == "slide.ome.tif"
    assert info.fingerprint == fingerprint(tmp_path / "flat.tif")
    (tmp_path / "flat.tif").unlink()  # its pixels are kept: it may go
    with open_slide(tmp_path / "out" / "slide.json") as slide:
        assert slide.fingerprint == info.fingerprint
    write_slide(tmp_path / "other.tif", 2)
    replace_keeping_time(tmp_path / "out" / "slide.ome.tif", tmp_path / "other.tif")
    with pytest.raises(SlideError, match=r"slide\.ome\.tif: another slide"):
        open_slide(tmp_path / "out" / "slide.json")


def test_slide_json_says_what_was_looked_at(tmp_path: Path) -> None:
    write_slide(tmp_path / "s.tif", 1)
    ingest(tmp_path / "s.tif", tmp_path / "out")
    info = SlideInfo.load(tmp_path / "out" / "slide.json")
    assert (info.fingerprint, info.stamp) == (fingerprint(tmp_path / "s.tif"), stamp(tmp_path / "s.tif"))


def test_a_slide_that_is_replaced_while_it_is_converted_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsi import ingest as module

    for name, seed in (("flat.tif", 1), ("other.tif", 2)):
        pixels = np.random.default_rng(seed).integers(0, 255, (512, 512, 3), np.uint8)
        tifffile.imwrite(tmp_path / name, pixels, photometric="rgb", metadata=None, rowsperstrip=512)
    plain = module.convert

    def replaced(*given: object, **more: object) -> object:
        made = plain(*given, **more)  # type: ignore[arg-type]
        replace_keeping_time(tmp_path / "flat.tif", tmp_path / "other.tif")
        return made

    monkeypatch.setattr("wsi.ingest.convert", replaced)
    with pytest.raises(SlideError, match="was replaced while it was converted"):
        ingest(tmp_path / "flat.tif", tmp_path / "out", mpp=0.5)
    assert not (tmp_path / "out" / "slide.json").exists()
