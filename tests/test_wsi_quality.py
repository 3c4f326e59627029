"""Focus and quality numbers: each answers to what it is named for, and to nothing else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from wsi.focus import OUT_OF_FOCUS, focus
from wsi.phantom import CLASSES, Phantom, PhantomSpec, class_tiles
from wsi.phantom.files import write_tiled
from wsi.quality import measure
from wsi.slide import open_slide
from wsi.tissue import TissueOptions, survey
from wsi.writers.ome import Facts
from wsi.writers.pyramid import write_pyramid

Tiles = NDArray[np.uint8]
TISSUE = tuple(name for name in CLASSES if name != "BACK")
# Few and firm classes: what these tests are about does not depend on the class.
PLAIN: dict[str, Any] = {"seed": 61, "width": 2400, "height": 1800, "mpp": 1.0, "classes": ("MUS", "STR")}
# With room for glass far from the tissue.
LARGE = PLAIN | {"width": 3200, "height": 2400, "pieces": 1}
SPECS = {
    "plain": PhantomSpec(**PLAIN),
    "folds": PhantomSpec(**PLAIN, folds=4),
    "out of focus": PhantomSpec(**PLAIN, defocus_um=4.0),
    "glass": PhantomSpec(**LARGE, bubbles=6),
    "steps": PhantomSpec(**LARGE, background_steps=True, shading=True),
    "lines": PhantomSpec(**PLAIN, coverslip=True, dust=30),
    "faint": PhantomSpec(**PLAIN, stain_strength=0.5),
}


def blurred(tiles: Tiles, sigma_px: float) -> Tiles:
    return tiles if sigma_px == 0 else np.stack([cv2.GaussianBlur(tile, (0, 0), sigma_px) for tile in tiles])


def noisy(tiles: Tiles) -> Tiles:
    """Sensor noise of one grey level, and JPEG: what a scanner makes of it."""
    noise = np.random.default_rng(0).normal(0, 1, tiles.shape)
    grainy = np.clip(tiles + noise, 0, 255).astype(np.uint8)
    coded = [cv2.imencode(".jpg", tile, [cv2.IMWRITE_JPEG_QUALITY, 80])[1] for tile in grainy]
    return np.stack([np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8) for code in coded])


# wsi.focus


@pytest.mark.parametrize("name", TISSUE)
def test_focus_falls_as_blur_grows(name: str) -> None:
    """Measured medians: 0.8 to 1.6 sharp, 0.3 to 0.6 at 1 µm, below 0.35 at 1.5 µm, in every class."""
    tiles = class_tiles(71, name, 12, 128)
    found = [focus(noisy(blurred(tiles, sigma_um / 0.5)), 0.5) for sigma_um in (0, 0.5, 1.0, 1.5)]
    medians = [float(np.nanmedian(values)) for values in found]
    assert medians[0] >= 0.7
    # Mucus has no more to lose after a micrometre.
    assert all(sharper > softer or softer < 0.15 for sharper, softer in pairwise(medians))
    assert medians[3] < OUT_OF_FOCUS


@pytest.mark.parametrize("mpp", [0.25, 1.0])
def test_focus_is_comparable_between_resolutions(mpp: float) -> None:
    """A blur of 1.5 µm is a blur of 1.5 µm, at any mpp up to 1."""
    tiles = class_tiles(72, "TUM", 12, 128, mpp)
    assert np.nanmedian(focus(tiles, mpp)) >= 0.7
    assert np.nanmedian(focus(blurred(tiles, 1.5 / mpp), mpp)) < OUT_OF_FOCUS


def test_focus_does_not_depend_on_the_size_of_a_tile() -> None:
    large = class_tiles(73, "NORM", 12, 256)
    halves = large.reshape(12, 2, 128, 2, 128, 3).swapaxes(2, 3).reshape(-1, 128, 128, 3)
    assert np.median(focus(halves, 0.5)) == pytest.approx(np.median(focus(large, 0.5)), abs=0.05)


def test_focus_does_not_depend_on_the_strength_of_the_stain() -> None:
    tiles = class_tiles(74, "TUM", 8, 128).astype(np.float64) / 255
    strong, faint = (np.rint(255 * tiles**power).astype(np.uint8) for power in (1.0, 0.5))
    assert np.median(focus(faint, 0.5)) == pytest.approx(np.median(focus(strong, 0.5)), abs=0.1)


def test_focus_looks_along_both_axes_alike() -> None:
    tiles = class_tiles(75, "MUS", 6, 96)
    assert np.allclose(focus(tiles, 0.5), focus(tiles.swapaxes(1, 2), 0.5), atol=1e-3)


def test_where_there_is_nothing_to_be_sharp_focus_is_unknown() -> None:
    assert np.isnan(focus(class_tiles(76, "BACK", 4, 128), 0.5)).all()
    assert np.isnan(focus(np.zeros((3, 128, 128, 3), np.uint8), 0.5)).all()
    assert np.isnan(focus(class_tiles(76, "TUM", 4, 16)[:, :10, :10], 0.5)).all()
    assert focus(np.empty((0, 128, 128, 3), np.uint8), 0.5).shape == (0,)


def test_focus_of_a_tile_does_not_depend_on_its_neighbours() -> None:
    tiles = np.concatenate([class_tiles(77, name, 2, 128) for name in ("TUM", "BACK", "ADI")])
    alone = np.concatenate([focus(tile[None], 0.5) for tile in tiles])
    assert np.allclose(alone, focus(tiles, 0.5), equal_nan=True)


# wsi.quality


@pytest.fixture(scope="module")
def quality(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("quality")
    return {name: quality_of(Phantom(spec), folder / f"{name}.ome.tif") for name, spec in SPECS.items()}


def quality_of(phantom: Phantom, path: Path) -> dict[str, Any]:
    write_tiled(phantom, path)
    with open_slide(path) as slide:
        return measure(slide, survey(slide, TissueOptions()))


def test_a_good_slide_has_nothing_to_say(quality: dict[str, dict[str, Any]]) -> None:
    plain = quality["plain"]
    assert plain["focus_median"] >= 0.6
    assert plain["out_of_focus_share"] <= 0.05
    assert plain["focus_squares"] == 64
    assert plain["fold_hint_share"] <= 0.002
    assert plain["bubble_hint_count"] == 0
    assert plain["background_step_levels"] == 0


def test_the_share_out_of_focus_is_that_of_the_tissue(quality: dict[str, dict[str, Any]]) -> None:
    """About 40 % of the phantom's tissue is blurred; 64 squares tell a share to within 0.15."""
    phantom = Phantom(SPECS["out of focus"])
    truth = phantom.out_of_focus.sum() / phantom.tissue.sum()
    assert quality["out of focus"]["out_of_focus_share"] == pytest.approx(truth, abs=0.15)


def test_folds_are_hinted_at(quality: dict[str, dict[str, Any]]) -> None:
    assert quality["folds"]["fold_hint_share"] >= 0.01
    for name in set(SPECS) - {"folds"}:
        assert quality[name]["fold_hint_share"] <= 0.004, name


def test_bubbles_are_hinted_at(quality: dict[str, dict[str, Any]]) -> None:
    """A bubble that the edge of the slide cuts, or that lies over much structure, may be missed."""
    assert 1 <= quality["glass"]["bubble_hint_count"] <= 6
    assert quality["glass"]["bubble_hint_share"] > 0
    assert all(quality[name]["bubble_hint_count"] == 0 for name in set(SPECS) - {"glass"})


def test_background_steps_are_measured_in_grey_levels(quality: dict[str, dict[str, Any]]) -> None:
    """The phantom's fields differ by 3 to 7 levels; shading, dust and a coverslip's edge are no steps."""
    assert 2.5 <= quality["steps"]["background_step_levels"] <= 9
    assert all(quality[name]["background_step_levels"] == 0 for name in set(SPECS) - {"steps"})


def test_half_the_stain_is_half_the_density(quality: dict[str, dict[str, Any]]) -> None:
    for stain in ("hematoxylin_density", "eosin_density"):
        assert quality["faint"][stain] == pytest.approx(quality["plain"][stain] / 2, rel=0.15), stain


def test_the_same_slide_has_the_same_quality(tmp_path: Path) -> None:
    """Its squares are drawn at random, but with a fixed seed."""
    phantom = Phantom(PhantomSpec(62, 1200, 900, 1.0, pieces=1, classes=("STR",)))
    assert quality_of(phantom, tmp_path / "a.ome.tif") == quality_of(phantom, tmp_path / "b.ome.tif")


def test_what_cannot_be_measured_is_null(tmp_path: Path) -> None:
    """Of a slide of glass: no focus, no folds, no stain."""
    write_pyramid(tmp_path / "a.ome.tif", [np.full((900, 1200, 3), 240, np.uint8)], (1200, 900), Facts((1.0, 1.0)))
    with open_slide(tmp_path / "a.ome.tif") as slide:
        found = measure(slide, survey(slide, TissueOptions()))
    unknown = ("focus_median", "out_of_focus_share", "fold_hint_share", "hematoxylin_density", "eosin_density")
    assert all(found[name] is None for name in unknown)
    assert found["focus_squares"] == 0


def test_without_glass_there_is_no_background_to_judge(tmp_path: Path) -> None:
    pixels = np.tile(class_tiles(63, "TUM", 1, 512)[0], (2, 2, 1))
    write_pyramid(tmp_path / "a.ome.tif", [pixels], (1024, 1024), Facts((1.0, 1.0)))
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert measure(slide, survey(slide, TissueOptions()))["background_step_levels"] is None


@pytest.mark.real
def test_quality_of_a_real_slide(real_data: Path) -> None:
    """The colorectal slide: in focus, no bubbles, a background with plain steps, hardly a fold."""
    with open_slide(real_data / "slides" / "colorectal-serrated-adenoma.tif") as slide:
        found = measure(slide, survey(slide, TissueOptions()))
    assert found["out_of_focus_share"] <= 0.05
    assert found["fold_hint_share"] <= 0.003
    assert found["bubble_hint_count"] == 0
    assert found["background_step_levels"] == pytest.approx(8.8, abs=2)
