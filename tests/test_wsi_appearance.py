"""What is no bright-field H&E is said to be so, whatever wrote the file; what is H&E is never called anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
import tifffile
from ngff_images import halved, write_ngff
from numpy.typing import NDArray
from typer.testing import CliRunner

from pipelines.commands.app import app
from pipelines.reporting.flags import flags_of, without_tissue
from wsi.annotations import Region, write_geojson
from wsi.annotations.tissue import TISSUE
from wsi.appearance import LOOK_MPP, LOOK_PX, Appearance, appearance_of, look, with_squares
from wsi.errors import SlideError
from wsi.geometry import Box
from wsi.padding import without_padding
from wsi.phantom import Phantom, PhantomSpec, class_tiles
from wsi.slide import open_slide
from wsi.tissue import TissueOptions, survey
from wsi.writers.ome import Facts
from wsi.writers.pyramid import write_pyramid

Pixels = NDArray[np.uint8]
MPP = 2.0
WHITE = np.full(3, 243, np.uint8)


def picture(spec: PhantomSpec, mpp: float = MPP) -> Pixels:
    """The whole phantom at `mpp`."""
    full = Phantom(spec).render(Box(0, 0, spec.width, spec.height))
    size = round(spec.width * spec.mpp / mpp), round(spec.height * spec.mpp / mpp)
    return np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def section() -> Phantom:
    """A section on glass, 2 µm/px."""
    return Phantom(PhantomSpec(5, 800, 600, MPP, pieces=1))


@pytest.fixture(scope="module")
def stained(section: Phantom) -> Pixels:
    """The picture of the section."""
    return section.render(Box(0, 0, 800, 600))


def grey(rgb: Pixels) -> Pixels:
    return np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def tinted(rgb: Pixels, *factors: float) -> Pixels:
    return np.clip(grey(rgb) * np.array(factors), 0, 255).astype(np.uint8)


def glowing(rgb: Pixels, *channels: int) -> Pixels:
    """What was stained gives light of these colours, on black."""
    out = np.zeros_like(rgb)
    for channel in channels:
        out[..., channel] = np.clip(243 - grey(rgb)[..., 0].astype(int), 0, 255)
    return out


def dyed(rgb: Pixels, *densities: float) -> Pixels:
    """The stain's optical density, in the colour of another dye."""
    density = -np.log10((rgb.astype(np.float32) + 1) / 256).mean(axis=-1, keepdims=True)
    return np.clip(256 * 10 ** (-density * np.array(densities, np.float32)) - 1, 0, 255).astype(np.uint8)


def padded_corner(rgb: Pixels) -> Pixels:
    """Two fields of a scan of four, beside and below each other; the other two were not scanned."""
    black = np.zeros_like(rgb)
    return np.concatenate([np.concatenate([rgb, black], axis=1), np.concatenate([black, rgb], axis=1)], axis=0)


def outlined(rgb: Pixels) -> Pixels:
    """With a line of black pen."""
    return np.asarray(cv2.ellipse(rgb.copy(), (400, 300), (370, 270), 0, 0, 360, (35, 35, 35), 50), np.uint8)


def recompressed(rgb: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def coarse(rgb: Pixels) -> Pixels:
    """At the resolution of a look."""
    scale = MPP / LOOK_MPP
    return np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


OTHERS: dict[str, tuple[Callable[[Pixels], Pixels], str]] = {
    "grey": (grey, "no colour"),
    "grey with a tint": (lambda rgb: tinted(rgb, 1, 0.95, 0.85), "no colour"),
    "grey with a strong tint": (lambda rgb: tinted(rgb, 1, 0.85, 0.6), "no colour"),
    "blue fluorescence": (lambda rgb: glowing(rgb, 2), "dark background"),
    "green fluorescence": (lambda rgb: glowing(rgb, 1), "dark background"),
    "dark field": (lambda rgb: glowing(rgb, 0, 1, 2), "dark background"),
    "black": (np.zeros_like, "dark background"),
    "inverted": (lambda rgb: 255 - rgb, "inverted"),
    "inverted, with black pen": (lambda rgb: 255 - outlined(rgb), "inverted"),
    "inverted blue fluorescence": (lambda rgb: 255 - glowing(rgb, 2), "inverted"),
    "inverted green fluorescence": (lambda rgb: 255 - glowing(rgb, 1), "inverted"),
    "inverted dark field": (lambda rgb: 255 - glowing(rgb, 0, 1, 2), "no colour"),
    "a blue stain": (lambda rgb: dyed(rgb, 1.8, 1.2, 0.4), "other stain"),
}
SAME: dict[str, Callable[[Pixels], Pixels]] = {
    "plain": lambda rgb: rgb,
    "black border": lambda rgb: np.pad(rgb, ((90, 90), (90, 90), (0, 0))),
    "black padding": lambda rgb: np.pad(rgb, ((0, rgb.shape[0]), (rgb.shape[1], 0), (0, 0))),
    "over-stained": lambda rgb: (255 * (rgb / 255) ** 1.8).astype(np.uint8),
    "haematoxylin alone": lambda rgb: dyed(rgb, 1.19, 1.28, 0.53),
    "black field beside it": lambda rgb: padded_corner(rgb),
    "JPEG of low quality": lambda rgb: recompressed(rgb, 30),
    "half as strong": lambda rgb: (255 - (255 - rgb.astype(float)) * 0.5).astype(np.uint8),
    "no glass": lambda rgb: np.ascontiguousarray(rgb[220:380, 320:480]),
    "noise": lambda rgb: np.clip(rgb + np.random.default_rng(0).normal(0, 4, rgb.shape), 0, 255).astype(np.uint8),
}
HARD = {
    "pale": PhantomSpec(44, 500, 400, 2.0, classes=("STR", "ADI"), stain_strength=0.4),
    "fat and mucus": PhantomSpec(41, 600, 450, 2.0, pieces=1, classes=("ADI", "MUC")),
    "little tissue": PhantomSpec(46, 600, 450, 2.0, pieces=1, classes=("LYM",), dust=20),
    "pens": PhantomSpec(38, 600, 450, 2.0, classes=("TUM", "STR"), pens=("black", "green")),
    "edges and bubbles": PhantomSpec(
        43, 600, 450, 2.0, pieces=1, classes=("TUM",), bubbles=3, coverslip=True, dark_edges=True
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_h_and_e_is_named(stained: Pixels, name: str) -> None:
    change, kind = OTHERS[name]
    found = appearance_of(coarse(change(stained)))
    assert found.kind == kind
    assert found.text
    assert found.scorable == (kind == "other stain")


@pytest.mark.parametrize("name", SAME)
def test_h_and_e_is_h_and_e_however_it_was_scanned(stained: Pixels, name: str) -> None:
    found = appearance_of(coarse(SAME[name](stained)))
    assert found.kind == "H&E"
    assert found.text == ""


@pytest.mark.parametrize("name", HARD)
def test_hard_slides_are_h_and_e(name: str) -> None:
    assert appearance_of(picture(HARD[name], LOOK_MPP)).kind == "H&E"


@pytest.mark.parametrize("share", [0.2, 0.1])
def test_where_hardly_any_colour_is_left_a_slide_is_flagged_and_not_refused(stained: Pixels, share: float) -> None:
    plain = grey(stained).astype(float)
    found = appearance_of(coarse((plain + share * (stained - plain)).astype(np.uint8)))
    assert found.kind == "unknown"
    assert [(flag.word, flag.text) for flag in flags_of({"appearance": found.as_json()})] == [("H&E?", found.text)]
    assert "is it H&E?" in found.text
    assert found.scorable


def test_a_look_is_small_however_large_the_slide_is(stained: Pixels, tmp_path: Path) -> None:
    with open_slide(write(tmp_path / "a.ome.tif", stained)) as slide:
        assert look(slide).shape == (55, 73, 3)
    with open_slide(tmp_path / "a.ome.tif", 30.0) as large:
        assert max(look(large).shape) == LOOK_PX


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (40, 40)])
@pytest.mark.parametrize("shade", [0, 128, 243, 255])
def test_pictures_of_one_shade_tell_nothing_but_that_they_are_dark(shape: tuple[int, int], shade: int) -> None:
    found = appearance_of(np.full((*shape, 3), shade, np.uint8))
    assert found.kind == ("dark background" if shade == 0 else "unknown")


def test_brown_beside_blue_without_pink_is_ihc() -> None:
    tiles = class_tiles(5, "TUM", 6, 128)
    squares = np.concatenate([dyed(tiles[:4], 1.19, 1.28, 0.53), dyed(tiles[4:], 0.5, 1.05, 1.44)])
    he = Appearance("H&E", 0.0, 1.0, 1.0)
    found = with_squares(he, squares, WHITE)
    assert found.kind == "IHC"
    assert "IHC" in found.text
    assert found.scorable
    assert with_squares(he, tiles, WHITE).kind == "H&E"
    assert with_squares(he, tiles[:0], WHITE) == he


def write(path: Path, rgb: Pixels, kind: str = "tif") -> Path:
    """A slide of 2 µm/px in one of the formats that know single channels."""
    if kind == "zarr":
        write_ngff(path, halved(rgb[..., :1], 2), axes="yxc", mpp=MPP)
    elif kind == "one channel":
        dots = {"resolution": (5000, 5000), "resolutionunit": 3}
        tifffile.imwrite(path, rgb[..., 0], photometric="minisblack", tile=(256, 256), **dots)
    else:
        write_pyramid(path, [rgb], (rgb.shape[1], rgb.shape[0]), Facts((MPP, MPP)))
    return path


def said(*words: object) -> str:
    """What a command says on stderr; it must not fail."""
    answer = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.stderr


def cut(slide: Path, folder: Path, *words: str) -> str:
    tissue = ("--tissue", folder / "tissue.geojson")
    return said("tiles", slide, "--mpp", 2, "--size", 64, *tissue, "--out", folder / "tiles.parquet", *words)


@pytest.mark.parametrize("name", ["grey", "blue fluorescence", "dark field", "inverted"])
def test_such_a_slide_is_flagged_and_refused_unless_it_is_wanted(stained: Pixels, name: str, tmp_path: Path) -> None:
    slide = write(tmp_path / "odd.ome.tif", OTHERS[name][0](stained))
    noted = said("tissue", slide, "--out", tmp_path)
    quality = json.loads((tmp_path / "quality.json").read_text())
    assert (tmp_path / "thumbnail.jpg").exists()
    assert quality["tissue_area_mm2"] == 0
    assert quality["appearance"]["kind"] == OTHERS[name][1]
    assert quality["appearance"]["text"] in noted
    assert flags_of(quality)[0].text == quality["appearance"]["text"]
    with pytest.raises(SlideError, match=r"odd.ome.tif: no.* tissue.any_stain: true \(--any-stain\)"):
        cut(slide, tmp_path)
    assert not (tmp_path / "tiles.parquet").exists()


def test_tiles_within_outlines_that_a_person_drew_are_refused_too(stained: Pixels, tmp_path: Path) -> None:
    slide = write(tmp_path / "odd.ome.tif", glowing(stained, 1))
    write_geojson(tmp_path / "tissue.geojson", [Region(shapely.box(100, 100, 700, 500), TISSUE, "a person")])
    with pytest.raises(SlideError, match="dark background"):
        cut(slide, tmp_path)
    assert not (tmp_path / "tiles.parquet").exists()
    assert int(cut(slide, tmp_path, "--any-stain").split()[0]) > 20


@pytest.mark.parametrize("name", ["grey", "blue fluorescence", "dark field", "inverted", "inverted blue fluorescence"])
def test_where_any_stain_is_wanted_tissue_is_found_by_light_and_texture(
    section: Phantom, stained: Pixels, name: str, tmp_path: Path
) -> None:
    slide = write(tmp_path / "odd.ome.tif", OTHERS[name][0](stained))
    said("tissue", slide, "--out", tmp_path, "--any-stain")
    with open_slide(slide) as opened:
        mask = survey(opened, TissueOptions(any_stain=True)).tissue.mask
    wanted = cv2.resize(section.tissue.astype(np.uint8), mask.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    assert (mask & wanted).sum() / (mask | wanted).sum() > 0.85
    scored = int(cut(slide, tmp_path, "--any-stain").split()[0])
    assert scored >= 0.9 * wanted.sum() * (8 / 128) ** 2


@pytest.mark.parametrize("kind", ["one channel", "zarr"])
def test_a_file_of_one_channel_is_grey_in_every_format(stained: Pixels, kind: str, tmp_path: Path) -> None:
    with open_slide(write(tmp_path / f"a.{'zarr' if kind == 'zarr' else 'tif'}", grey(stained), kind)) as slide:
        assert appearance_of(look(slide)).kind == "no colour"


def test_any_stain_changes_nothing_on_h_and_e(stained: Pixels, tmp_path: Path) -> None:
    with open_slide(write(tmp_path / "a.ome.tif", stained)) as slide:
        plain, any_stain = survey(slide, TissueOptions()), survey(slide, TissueOptions(any_stain=True))
    assert np.array_equal(plain.tissue.mask, any_stain.tissue.mask)
    assert plain.appearance.kind == "H&E"


def test_black_padding_is_neither_ink_nor_tissue(stained: Pixels, tmp_path: Path) -> None:
    padded = np.pad(stained, ((100, 0), (0, 200), (0, 0)))
    with open_slide(write(tmp_path / "a.ome.tif", padded)) as slide:
        found = survey(slide, TissueOptions())
    with open_slide(write(tmp_path / "b.ome.tif", stained)) as slide:
        clean = survey(slide, TissueOptions())
    assert found.ink.mean() < 0.001
    assert found.facts()["tissue_area_mm2"] == pytest.approx(clean.facts()["tissue_area_mm2"], rel=0.01)
    assert np.array_equal(without_padding(stained), stained)


# What else is there where no tissue was found


def quality_of(path: Path) -> dict[str, object]:
    with open_slide(path) as slide:
        return survey(slide, TissueOptions()).facts()


def words_of(quality: dict[str, object]) -> list[str]:
    return [flag.word for flag in flags_of(quality)]


def test_empty_glass_is_no_tissue_without_an_alarm(tmp_path: Path) -> None:
    """Dust, bubbles, steps between fields, uneven light and JPEG: the glass beside a phantom's tissue."""
    spec = PhantomSpec(
        43, 800, 600, 2.0, pieces=1, classes=("LYM",), dust=60, bubbles=2, background_steps=True, shading=True
    )
    phantom = Phantom(spec)
    rgb = phantom.render(Box(0, 0, 800, 600))
    tissue = cv2.dilate(phantom.tissue.astype(np.uint8), np.ones((9, 9), np.uint8))
    glass = np.where(cv2.resize(tissue, (800, 600))[..., None] > 0, np.median(rgb[:100], axis=(0, 1)), rgb)
    quality = quality_of(write(tmp_path / "a.ome.tif", glass.astype(np.uint8)))
    assert quality["tissue_area_mm2"] == 0
    assert quality["notes"] == []
    # The rim of a bubble is as black as a pen: that is another flag, of any slide.
    assert set(words_of(quality)) <= {"pen"}
    assert without_tissue(quality) == "no tissue found; see thumbnail.jpg"


def test_a_slide_without_tissue_that_is_not_empty_is_flagged(stained: Pixels, tmp_path: Path) -> None:
    """Tissue as pale as it gets, and without colour: too faint for it to be called a grey picture."""
    faint = (243 - (243 - grey(stained).astype(float)).clip(0) * 0.25).astype(np.uint8)
    quality = quality_of(write(tmp_path / "a.ome.tif", faint))
    assert quality["tissue_area_mm2"] == 0
    assert words_of(quality) == ["not empty"]
    assert "no tissue found, but not empty: look" in without_tissue(quality)


def test_a_slide_with_black_pen_alone_has_pen_on_it_and_no_tissue(tmp_path: Path) -> None:
    rgb = np.full((600, 800, 3), 243, np.uint8)
    cv2.ellipse(rgb, (400, 300), (250, 180), 0, 0, 360, (32, 32, 32), 60)
    quality = quality_of(write(tmp_path / "a.ome.tif", rgb))
    assert quality["tissue_area_mm2"] == 0
    assert words_of(quality) == ["pen"]
    assert without_tissue(quality) == "no tissue found; see thumbnail.jpg"


def test_what_a_reader_noted_is_a_flag() -> None:
    assert [(flag.word, flag.text) for flag in flags_of({}, {"notes": ["16 bits scaled"]})] == [
        ("file", "16 bits scaled")
    ]


def test_pieces_that_are_all_too_small_are_counted(tmp_path: Path) -> None:
    rgb = np.full((600, 800, 3), 243, np.uint8)
    for x, y in np.ndindex(4, 3):
        cv2.circle(rgb, (100 + 190 * x, 100 + 190 * y), 20, (190, 120, 170), -1)
    quality = quality_of(write(tmp_path / "a.ome.tif", rgb))
    assert quality["tissue_area_mm2"] == 0
    assert quality["dust_mm2"] == pytest.approx(12 * np.pi * 0.04**2, rel=0.2)
    assert "small pieces" in words_of(quality)


def test_tissue_so_dark_that_it_is_taken_for_pen_is_noted(tmp_path: Path) -> None:
    rgb = picture(PhantomSpec(71, 500, 500, 2.0, pieces=1, classes=("TUM", "STR")))
    silver = (256 * ((rgb.astype(np.float32) + 1) / 256) ** 5 - 1).clip(0, 255).astype(np.uint8)
    quality = quality_of(write(tmp_path / "a.ome.tif", silver))
    assert any("is it tissue stained black?" in str(note) for note in quality["notes"])


def test_pen_is_not_noted_as_tissue(tmp_path: Path) -> None:
    quality = quality_of(write(tmp_path / "a.ome.tif", picture(HARD["pens"])))
    assert quality["ink_fraction"] > 0.005
    assert quality["notes"] == []
