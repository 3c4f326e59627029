"""Bio-Formats, which QuPath and Fiji read with, opens what Tesela converts: every level, every pixel, the mpp.

Needs Java and the jar: `make bioformats` fetches it. Bio-Formats is GPL: it checks our files here, and is no part of
Tesela.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from cells import everywhere
from numpy.typing import NDArray

from wsi.convert import ConvertOptions, convert
from wsi.geometry import Box, TileGrid, TileSpec
from wsi.overlay import OverlayOptions, write_overlay
from wsi.phantom import Phantom, PhantomSpec
from wsi.phantom.files import write_flat
from wsi.readers.openslide import over_white
from wsi.scores import TileScores
from wsi.slide import open_slide

pytestmark = pytest.mark.slow

Pixels = NDArray[np.uint8]
SIZE = (1501, 1099)
JAR = Path(__file__).parent.parent / "build" / "bioformats_package.jar"
OPTIONS = {
    "jpeg": ConvertOptions(),
    "deflate": ConvertOptions(codec="deflate"),
    "lzw": ConvertOptions(codec="lzw", tile_px=512),
}


def needs(what: str, remedy: str) -> None:
    """Skip, saying what to do; in CI, which has it, fail."""
    message = f"Bio-Formats cannot check converted files: no {what}; {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def bioformats() -> list[str]:
    """How to start its bfconvert."""
    java = shutil.which("java")
    if java is None:
        needs("Java", "install it: apt-get install openjdk-17-jre-headless")
    jar = Path(os.environ.get("TESELA_BIOFORMATS_JAR", JAR))
    if not jar.is_file():
        needs(f"{jar}", "run `make bioformats`, or set TESELA_BIOFORMATS_JAR to a bioformats_package.jar")
    return [str(java), "-cp", str(jar), "loci.formats.tools.ImageConverter"]


@dataclass(frozen=True)
class Seen:
    """What Bio-Formats makes of a file: (h, w, 3) of every level, and the OME-XML that it understood."""

    levels: list[Pixels]
    xml: str

    def stated(self, attribute: str) -> float | None:
        """A number in the XML."""
        found = re.search(rf'\b{attribute}="([^"]+)"', self.xml)
        return float(found[1]) if found else None


def seen_by(bioformats: list[str], path: Path) -> Seen:
    """The file written anew by Bio-Formats, uncompressed, with all its resolutions: one start of Java."""
    copy = path.with_name(f"{path.name}.seen.ome.tif")
    run = subprocess.run(
        [*bioformats, "-no-upgrade", "-overwrite", "-noflat", str(path), str(copy)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    with tifffile.TiffFile(copy) as tiff:
        assert len(tiff.series) == 1
        levels = [np.moveaxis(level.asarray(), level.axes.index("S"), -1) for level in tiff.series[0].levels]
        return Seen(levels, tiff.ome_metadata or "")


def check_against_the_others(seen: Seen, path: Path) -> None:
    """Same levels, sizes and pixels as OpenSlide, tifffile and Tesela find."""
    sizes = [(level.shape[1], level.shape[0]) for level in seen.levels]
    with openslide.OpenSlide(path) as other:
        assert list(other.level_dimensions) == sizes
        for index, (level, size) in enumerate(zip(seen.levels, sizes, strict=True)):
            shown = over_white(np.asarray(other.read_region((0, 0), index, size)))
            assert off(level, shown) <= 2, f"level {index}"
    with tifffile.TiffFile(path) as tiff:
        pages = tiff.series[0].levels
        assert [(page.shape[1], page.shape[0]) for page in pages] == sizes
        for index, (level, page) in enumerate(zip(seen.levels, pages, strict=True)):
            assert off(level, page.asarray()) <= 2, f"level {index}"
    with open_slide(path) as slide:
        assert [(level.width, level.height) for level in slide.header.levels] == sizes
        assert off(seen.levels[0], slide.read(slide.bounds)) <= 2
        if slide.mpp is None:
            assert seen.stated("PhysicalSizeX") is None
        else:
            found = (seen.stated("PhysicalSizeX"), seen.stated("PhysicalSizeY"))
            assert found == pytest.approx(slide.mpp, rel=1e-6)


def off(found: Pixels, expected: Pixels) -> int:
    assert found.shape == expected.shape
    return int(np.abs(found.astype(int) - expected).max())


@pytest.mark.parametrize("with_mpp", [True, False], ids=["mpp", "no mpp"])
@pytest.mark.parametrize("codec", OPTIONS)
def test_a_converted_phantom(codec: str, with_mpp: bool, bioformats: list[str], tmp_path: Path) -> None:
    """Odd sizes, several levels; the lossless ones hold what was converted."""
    spec = PhantomSpec(5, *SIZE, 0.5, pieces=1)
    phantom = Phantom(spec)
    write_flat(phantom, tmp_path / "flat.tif", with_mpp=with_mpp)
    with open_slide(tmp_path / "flat.tif") as slide:
        convert(slide, tmp_path / "slide.ome.tif", OPTIONS[codec])
    seen = seen_by(bioformats, tmp_path / "slide.ome.tif")
    assert len(seen.levels) >= 3
    check_against_the_others(seen, tmp_path / "slide.ome.tif")
    pixels = phantom.render(Box(0, 0, *SIZE))
    if codec == "jpeg":
        assert np.abs(seen.levels[0].astype(int) - pixels).mean() < 5
    else:
        assert np.array_equal(seen.levels[0], pixels)
    assert seen.stated("PhysicalSizeX") == (pytest.approx(0.5) if with_mpp else None)


@pytest.mark.real
def test_an_overlay_of_copied_and_painted_tiles(bioformats: list[str], real_data: Path, tmp_path: Path) -> None:
    """A vendor's JPEG tables stay for the tiles that are copied; painted ones between them have tables of their own."""
    out = tmp_path / "overlay.ome.tif"
    with open_slide(real_data / "slides" / "cmu-1-small-region.svs") as slide:
        grid = TileGrid.of(TileSpec(128, slide.require_mpp()[0], 128), slide.size, slide.mpp, name="s")
        values = np.full((grid.rows * grid.cols, 2), np.nan, np.float32)
        values[::7] = (0.1, 0.9)
        write_overlay(out, slide, TileScores(grid, ("a", "b"), values, "", tissue=everywhere(grid)), OverlayOptions())
    check_against_the_others(seen_by(bioformats, out), out)


@pytest.mark.real
@pytest.mark.parametrize("name", ["cmu-1-small-region.svs", "kidney-48-5.tif"])
def test_a_converted_real_slide(name: str, bioformats: list[str], real_data: Path, tmp_path: Path) -> None:
    """A vendor's file whose tiles may be copied as they are, and a flat one."""
    out = tmp_path / "slide.ome.tif"
    with open_slide(real_data / "slides" / name) as slide:
        convert(slide, out)
        size, mpp, power = slide.size, slide.mpp, slide.header.objective_power
    seen = seen_by(bioformats, out)
    check_against_the_others(seen, out)
    assert seen.levels[0].shape == (size[1], size[0], 3)
    assert seen.stated("PhysicalSizeX") == (None if mpp is None else pytest.approx(mpp[0], rel=1e-6))
    if power is not None:
        assert seen.stated("NominalMagnification") == power
