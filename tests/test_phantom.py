"""Phantoms: the same spec gives the same slide, however it is read, and the truth is true."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from scipy import ndimage

from wsi.errors import InputError
from wsi.geometry import Box
from wsi.phantom import CLASSES, MAP_DOWNSAMPLE, Phantom, PhantomSpec, class_tiles

# Odd sizes, so that nothing ends on a block's or a map pixel's edge.
SPEC = PhantomSpec(
    seed=7, width=1403, height=1101, pens=("black", "blue", "green", "red"), dust=12, background_steps=True
)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return Phantom(SPEC)


@pytest.fixture(scope="module")
def clean() -> Phantom:
    """The same tissue without anything on the glass."""
    return Phantom(replace(SPEC, pens=(), dust=0, background_steps=False))


def full(phantom: Phantom) -> np.ndarray:
    return phantom.render(Box(0, 0, phantom.spec.width, phantom.spec.height))


def on_map(pixels: np.ndarray) -> np.ndarray:
    """(rows, cols, 3) the middle pixel of every whole map pixel; fewer rows and cols where the last is cut."""
    half = MAP_DOWNSAMPLE // 2
    return pixels[half::MAP_DOWNSAMPLE, half::MAP_DOWNSAMPLE].astype(int)


def test_the_same_spec_gives_the_same_slide(phantom: Phantom) -> None:
    again = Phantom(SPEC)
    box = Box(300, 200, 500, 400)
    assert np.array_equal(again.render(box), phantom.render(box))
    assert np.array_equal(again.class_map, phantom.class_map)
    assert np.array_equal(again.ink, phantom.ink)


def test_another_seed_gives_another_slide(phantom: Phantom) -> None:
    other = Phantom(replace(SPEC, seed=8, classes=("MUS", "STR")))
    assert not np.array_equal(other.tissue, phantom.tissue)
    assert set(np.unique(other.class_map)) == {CLASSES.index(name) for name in ("BACK", "MUS", "STR")}


@pytest.mark.parametrize("cut", [1, 255, 256, 611])
def test_two_halves_equal_the_whole(phantom: Phantom, cut: int) -> None:
    whole = phantom.render(Box(90, 130, 700, 650))
    left, right = phantom.render(Box(90, 130, cut, 650)), phantom.render(Box(90 + cut, 130, 700 - cut, 650))
    assert np.array_equal(np.concatenate([left, right], axis=1), whole)
    upper, lower = phantom.render(Box(90, 130, 700, cut)), phantom.render(Box(90, 130 + cut, 700, 650 - cut))
    assert np.array_equal(np.concatenate([upper, lower]), whole)


def test_outside_the_slide_is_white(phantom: Phantom) -> None:
    around = phantom.render(Box(-40, -30, SPEC.width + 100, SPEC.height + 90))
    assert np.array_equal(around[30 : 30 + SPEC.height, 40 : 40 + SPEC.width], full(phantom))
    around[30 : 30 + SPEC.height, 40 : 40 + SPEC.width] = 255
    assert (around == 255).all()
    assert (phantom.render(Box(9000, 0, 10, 20)) == 255).all()


@pytest.mark.parametrize("height_px", [100, 256, 5000])
def test_bands_join_to_the_slide(phantom: Phantom, height_px: int) -> None:
    bands = list(phantom.bands(height_px))
    assert [len(band) for band in bands[:-1]] == [height_px] * (len(bands) - 1)
    assert np.array_equal(np.concatenate(bands), full(phantom))


def test_bands_of_no_height_are_refused(phantom: Phantom) -> None:
    with pytest.raises(InputError, match="height_px"):
        phantom.bands(0)


def test_the_maps_cover_the_slide(phantom: Phantom) -> None:
    shape = (138, 176)
    assert phantom.class_map.shape == phantom.tissue.shape == phantom.ink.shape == shape
    assert np.array_equal(phantom.tissue, phantom.class_map != CLASSES.index("BACK"))
    assert set(np.unique(phantom.class_map)) == set(range(len(CLASSES)))


@pytest.mark.parametrize("pieces", [1, 2, 3, 5])
def test_pieces_are_detached(pieces: int) -> None:
    for seed in (1, 2):
        phantom = Phantom(PhantomSpec(seed=seed, width=1600, height=1200, pieces=pieces, classes=("MUS",)))
        assert ndimage.label(phantom.tissue, np.ones((3, 3)))[1] == pieces


def test_tissue_is_darker_and_more_coloured_than_glass(clean: Phantom) -> None:
    pixels = full(clean)
    rows, cols = on_map(pixels).shape[:2]
    inner = ndimage.binary_erosion(clean.tissue, iterations=2)[:rows, :cols]
    outer = ~ndimage.binary_dilation(clean.tissue, iterations=2)[:rows, :cols]
    sampled = on_map(pixels)
    chroma = sampled.max(axis=2) - sampled.min(axis=2)
    assert sampled[outer].min() > 225
    assert chroma[outer].max() < 25
    # Fat and mucus are nearly clear, as they are on real slides.
    firm = inner & ~np.isin(clean.class_map[:rows, :cols], [CLASSES.index("ADI"), CLASSES.index("MUC")])
    assert np.mean((sampled[firm].min(axis=1) < 225) & (chroma[firm] > 10)) > 0.85
    assert sampled[inner].mean() < sampled[outer].mean() - 20


def test_ink_pixels_have_the_pens_colour() -> None:
    hues = {
        "black": lambda r, g, b: np.maximum(np.maximum(r, g), b) < 90,
        "blue": lambda r, g, b: (b > r + 40) & (b > g + 30),
        "green": lambda r, g, b: (g > r + 30) & (g > b + 10),
        "red": lambda r, g, b: (r > g + 80) & (r > b + 60),
    }
    for pen, is_pen in hues.items():
        phantom = Phantom(replace(SPEC, pens=(pen,), dust=0))
        assert phantom.ink.mean() > 0.003
        sampled = on_map(full(phantom))
        red, green, blue = sampled[phantom.ink[: sampled.shape[0], : sampled.shape[1]]].T
        assert np.mean(is_pen(red, green, blue)) >= 0.99, pen


def test_glass_and_ink_leave_the_tissue_as_it_was(phantom: Phantom, clean: Phantom) -> None:
    assert np.array_equal(phantom.class_map, clean.class_map)
    assert not clean.ink.any()
    assert phantom.ink.any()


def test_background_steps_show_as_a_few_grey_levels() -> None:
    spec = PhantomSpec(seed=3, width=2500, height=2000, classes=("STR",))
    flat, stepped = Phantom(spec), Phantom(replace(spec, background_steps=True))
    level = [full(each)[:64, ::8].mean(axis=(0, 2)) for each in (flat, stepped)]
    assert np.ptp(level[0]) < 2
    assert 2 < np.ptp(level[1]) < 14


def test_regions_have_the_area_of_the_map(phantom: Phantom) -> None:
    regions = phantom.regions()
    assert [region.name for region in regions] == [name for name in CLASSES if name != "BACK"]
    for region in regions:
        truth = np.count_nonzero(phantom.class_map == CLASSES.index(region.name)) * MAP_DOWNSAMPLE**2
        assert region.polygon.is_valid
        assert region.source == "phantom"
        assert region.polygon.area == pytest.approx(truth, rel=0.02)
        left, top, right, bottom = region.polygon.bounds
        assert min(left, top) >= 0
        assert right <= SPEC.width
        assert bottom <= SPEC.height


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("width", 100),
        ("height", 10**6),
        ("mpp", 0.1),
        ("mpp", float("nan")),
        ("pieces", 0),
        ("pieces", 17),
        ("classes", ()),
        ("classes", ("BACK",)),
        ("classes", ("MUS", "MUS")),
        ("pens", ("purple",)),
        ("dust", -1),
    ],
)
def test_a_bad_spec_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        replace(SPEC, **{field: value})


def test_pieces_without_room_are_refused() -> None:
    with pytest.raises(InputError, match="no room for 9 pieces"):
        PhantomSpec(seed=1, width=300, height=300, pieces=9)


def test_tiles_differ_between_seeds_and_not_within_one() -> None:
    first = class_tiles(1, "MUS", 4, 64)
    assert first.shape == (4, 64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, class_tiles(1, "MUS", 4, 64))
    assert not np.array_equal(first, class_tiles(2, "MUS", 4, 64))
    assert len({tile.tobytes() for tile in first}) == 4


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"name": "FAT"}, "FAT"), ({"count": 0}, "count"), ({"size_px": 4}, "size_px"), ({"mpp": 9.0}, "mpp")],
)
def test_tiles_that_cannot_be_drawn_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        class_tiles(**{"seed": 1, "name": "MUS", "count": 2, "size_px": 64, **changed})


def test_nuclei_keep_their_size_at_any_mpp() -> None:
    """Dark spots of LYM, counted per area, are as many at 0.25 as at 0.5 µm/px."""
    density = []
    for mpp in (0.25, 0.5):
        tiles = class_tiles(4, "LYM", 2, int(128 * 0.5 / mpp), mpp)
        dark = [ndimage.label(ndimage.gaussian_filter(t[:, :, 0].astype(float), 1.0 / mpp) < 120)[1] for t in tiles]
        density.append(sum(dark))
    assert 0.5 < density[0] / density[1] < 2


def test_classes_cannot_be_told_by_mean_colour_alone() -> None:
    """The stain varies more within a class than the means of look-alike classes differ."""
    means = {name: class_tiles(5, name, 12, 64).mean(axis=(1, 2)) for name in ("DEB", "MUS", "STR")}
    for name, other in (("DEB", "MUS"), ("DEB", "STR"), ("MUS", "STR")):
        overlap = (means[name].min(axis=0) < means[other].max(axis=0)) & (
            means[other].min(axis=0) < means[name].max(axis=0)
        )
        assert overlap.any(), (name, other)


# What makes slides hard

HARD = PhantomSpec(seed=21, width=2403, height=1801, mpp=1.0, pieces=1, classes=("MUS", "ADI"))


def rendered(**features: object) -> np.ndarray:
    return full(Phantom(replace(HARD, **features))).astype(int)


@pytest.fixture(scope="module")
def plain() -> np.ndarray:
    return rendered()


def test_pixels_of_a_spec_stay_what_they_were() -> None:
    """Tests and figures count on them: a new feature draws from a seed stream of its own, and is off by default."""
    spec = PhantomSpec(7, 603, 401, pens=("black", "red"), dust=12, background_steps=True, classes=("TUM", "ADI"))
    assert sha256(full(Phantom(spec)).tobytes()).hexdigest().startswith("55eba008be0ae6c9")


@pytest.mark.parametrize(
    "features",
    [{"bubbles": 2}, {"coverslip": True}, {"dark_edges": True}, {"shading": True}, {"folds": 2}, {"defocus_um": 3.0}],
    ids=lambda features: next(iter(features)),
)
def test_a_hard_feature_shows_and_changes_no_tissue(features: dict[str, object], plain: np.ndarray) -> None:
    phantom = Phantom(replace(HARD, **features))
    assert np.array_equal(phantom.class_map, Phantom(HARD).class_map)
    changed = np.abs(full(phantom).astype(int) - plain).max(axis=2) > 3
    assert changed.mean() > 0.001
    # Two halves join to the whole: what is drawn does not depend on how it is read.
    left, right = phantom.render(Box(0, 300, 700, 600)), phantom.render(Box(700, 300, 500, 600))
    assert np.array_equal(np.concatenate([left, right], axis=1), phantom.render(Box(0, 300, 1200, 600)))


def test_fragments_are_detached_and_of_their_class() -> None:
    spec = replace(HARD, width=3200, height=2400, fragments=("TUM", "MUC"))
    phantom, bare = Phantom(spec), Phantom(replace(spec, fragments=()))
    assert np.array_equal(phantom.class_map[bare.tissue], bare.class_map[bare.tissue])
    labels, count = ndimage.label(phantom.tissue & ~bare.tissue, np.ones((3, 3)))
    assert count == ndimage.label(phantom.tissue, np.ones((3, 3)))[1] - 1 == 2
    found = {CLASSES[int(np.unique(phantom.class_map[labels == number]).item())] for number in (1, 2)}
    assert found == {"TUM", "MUC"}
    areas_mm2 = np.bincount(labels.ravel())[1:] * (MAP_DOWNSAMPLE * spec.mpp) ** 2 / 1e6
    assert ((areas_mm2 > 0.02) & (areas_mm2 < 0.15)).all()


def test_fragments_without_room_are_refused() -> None:
    with pytest.raises(InputError, match="no room for 2 fragments"):
        Phantom(PhantomSpec(1, 512, 512, fragments=("TUM", "TUM")))


def test_a_fold_is_dark_tissue(plain: np.ndarray) -> None:
    phantom = Phantom(replace(HARD, folds=3))
    folds = phantom.folds
    assert folds.any()
    assert not (folds & ~phantom.tissue).any()
    after, before = on_map(full(phantom)), on_map(plain)
    rows, cols = after.shape[:2]
    firm = ndimage.binary_erosion(folds)[:rows, :cols] & (phantom.class_map[:rows, :cols] == CLASSES.index("MUS"))
    assert after[firm].mean() < before[firm].mean() - 40
    away = (ndimage.binary_erosion(phantom.tissue, iterations=2) & ~ndimage.binary_dilation(folds, iterations=3))[
        :rows, :cols
    ]
    assert np.array_equal(after[away], before[away])


def test_out_of_focus_tissue_has_lost_its_detail(plain: np.ndarray) -> None:
    phantom = Phantom(replace(HARD, defocus_um=3.0))
    blurred = full(phantom).astype(int)
    assert 0.3 < phantom.out_of_focus.sum() / phantom.tissue.sum() < 0.5

    def detail(pixels: np.ndarray, where: np.ndarray) -> float:
        inner = ndimage.binary_erosion(where, iterations=4).repeat(MAP_DOWNSAMPLE, 0).repeat(MAP_DOWNSAMPLE, 1)
        steps = np.abs(np.diff(pixels[..., 1], axis=1))
        return float(steps[inner[: steps.shape[0], : steps.shape[1]]].mean())

    sharp = phantom.tissue & ~phantom.out_of_focus
    assert detail(blurred, phantom.out_of_focus) < 0.5 * detail(plain, phantom.out_of_focus)
    assert detail(blurred, sharp) == pytest.approx(detail(plain, sharp), rel=0.02)


def test_a_bubble_is_a_dark_grey_rim_around_clear_glass(plain: np.ndarray) -> None:
    phantom = Phantom(replace(HARD, bubbles=3))
    light = on_map(full(phantom)).astype(float) / np.maximum(on_map(plain), 1)
    rows, cols = light.shape[:2]
    covered = phantom.bubbles[:rows, :cols]
    on_glass = covered & ~phantom.tissue[:rows, :cols]
    middle = ndimage.binary_erosion(covered, iterations=8) & on_glass
    assert light[on_glass].min() < 0.6
    assert np.median(light[middle]) > 0.9
    # Grey: it takes the same share of every colour.
    assert np.ptp(light[on_glass], axis=1).mean() < 0.02


def test_a_faint_stain_takes_less_light() -> None:
    spec = replace(HARD, classes=("MUS",))
    density = [-np.log10(full(Phantom(each)).mean() / 255) for each in (spec, replace(spec, stain_strength=0.5))]
    assert density[1] < 0.7 * density[0]


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"fragments": ("FAT",)}, "fragments: 'FAT' unknown"),
        ({"bubbles": -1}, "bubbles: -1"),
        ({"folds": 1000}, "folds: 1000"),
        ({"defocus_um": 50.0}, "defocus_um is 50"),
        ({"stain_strength": 0.0}, "stain_strength is 0"),
    ],
)
def test_hard_features_that_cannot_be_drawn_are_refused(features: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(HARD, **features)
