"""Stain normalisation: the same tissue looks the same, nothing is made up, and the model keeps what it was given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.augment import EvalCrop
from models.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from models.data import read_folder
from models.data.folders import read_image
from models.evaluation.predicting import predict_tiles
from models.evaluation.robustness import CHANGES, sweep
from models.network import build
from models.predict import PredictOptions, Scorer
from models.stain import Normaliser, fit_normaliser
from models.stain.macenko import Macenko
from models.stain.reinhard import Reinhard
from models.training import train as training
from models.training.settings import TrainSettings
from pipelines import learning
from pipelines.config import TrainFile
from wsi.errors import InputError
from wsi.geometry import TileSpec
from wsi.phantom.stain import Stain

pytestmark = pytest.mark.usefixtures("one_thread")

Pixels = NDArray[np.uint8]
TILE = TileSpec(64, 0.5, 64)
KINDS = (Reinhard, Macenko)


def concentrations(seed: int, side_px: int = 128, glass: bool = True) -> NDArray[np.float32]:
    """(h, w, 3) hematoxylin, eosin and mucin of made-up tissue: nuclei on fibres, a lumen where `glass`."""
    rng = np.random.default_rng(seed)

    def cloud(sigma_px: float) -> NDArray[np.float64]:
        field = cv2.GaussianBlur(rng.normal(size=(side_px, side_px)), (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
        return np.asarray(field / field.std())

    found = np.zeros((side_px, side_px, 3), np.float32)
    nuclei = cv2.GaussianBlur((cloud(3) > 0.9).astype(np.float32), (0, 0), 1)
    found[..., 0] = nuclei * (1.4 + 0.2 * cloud(2)) + 0.05
    found[..., 1] = (0.55 + 0.15 * cloud(4)) * (1 - 0.7 * nuclei)
    if glass:
        found[cloud(20) > 1.2] = 0
    return found.clip(0)


def laboratory(seed: int) -> Stain:
    return Stain.drawn(np.random.default_rng((7, seed)))


def tissue(seed: int, lab: int = 0, side_px: int = 128) -> Pixels:
    return laboratory(lab).rgb(concentrations(seed, side_px))


def one_stain(which: int) -> Pixels:
    only = concentrations(3, glass=False)
    only[..., [i for i in range(3) if i != which]] = 0
    return laboratory(0).rgb(only)


def flat(*rgb: int, noise: float = 0.0) -> Pixels:
    rng = np.random.default_rng(0)
    return np.clip(np.rint(rng.normal(rgb, noise, (128, 128, 3))), 0, 255).astype(np.uint8)


def fat() -> Pixels:
    """Glass, and cell walls one pixel wide: less than 5 % of the tile."""
    found = flat(243, 241, 244, noise=1.5)
    found[::64] = found[:, ::64] = (190, 120, 170)
    return found


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(float) - other).mean())


@pytest.fixture(scope="module", params=["reinhard", "macenko"])
def normaliser(request: pytest.FixtureRequest) -> Normaliser:
    found = fit_normaliser(request.param, [tissue(seed, lab) for seed in range(10) for lab in range(4)])
    assert found is not None
    return found


# --- what it is for


def test_the_same_tissue_of_two_laboratories_comes_out_closer(normaliser: Normaliser) -> None:
    before, after = [], []
    for seed in range(100, 120):
        one, other = (tissue(seed, lab) for lab in (seed, seed + 50))
        before.append(difference(one, other))
        after.append(difference(normaliser(one), normaliser(other)))
    assert np.mean(after) < 0.35 * np.mean(before)
    assert np.mean(np.array(after) < before) >= 0.95


def test_normalising_again_changes_little(normaliser: Normaliser) -> None:
    first = [(tile, normaliser(tile)) for tile in (tissue(seed, seed) for seed in range(100, 115))]
    moved = np.mean([difference(tile, once) for tile, once in first])
    again = np.mean([difference(once, normaliser(once)) for _, once in first])
    assert again < 0.15 * moved


def test_macenko_finds_the_stains_that_a_tile_was_made_of() -> None:
    for seed in range(10):
        stain = laboratory(seed)
        found = Macenko.measure(stain.rgb(concentrations(seed)))
        assert found is not None
        truth = stain.vectors[:2] / np.linalg.norm(stain.vectors[:2], axis=1, keepdims=True)
        angles = np.degrees(np.arccos((found[:, :3] * truth).sum(axis=1)))
        assert angles.max() < 5, (seed, angles)


def test_the_target_is_the_median_of_the_tiles() -> None:
    tiles = [tissue(seed) for seed in range(9)]
    middle = fit_normaliser("reinhard", tiles)
    with_outlier = fit_normaliser("reinhard", [*tiles, flat(120, 30, 120, noise=10)])
    assert isinstance(middle, Reinhard)
    assert isinstance(with_outlier, Reinhard)
    assert middle.mean[0] == pytest.approx(np.median([Reinhard.measure(tile)[0, 0] for tile in tiles]))  # type: ignore[index]
    np.testing.assert_allclose(middle.mean, with_outlier.mean, atol=1.5)


# --- nothing is made up

LEFT_ALONE = {
    "white": flat(255, 255, 255),
    "glass": flat(243, 241, 244, noise=2),
    "grey glass": flat(222, 222, 224, noise=2),
    "fat": fat(),
    "one pink": flat(220, 150, 190),
    "black": flat(0, 0, 0),
    "nearly black": flat(12, 10, 14, noise=4),
    "grey": flat(120, 120, 120, noise=12),
    "noise": np.random.default_rng(1).integers(0, 256, (128, 128, 3), np.uint8),
    "blue pen": flat(40, 60, 170, noise=10),
    "green pen": flat(30, 120, 80, noise=10),
    "red pen": flat(200, 40, 50, noise=10),
    "black pen": flat(35, 33, 36, noise=8),
    "cyan to yellow": np.dstack([np.tile(np.arange(0, 256, 2), (128, 1))] + [np.full((128, 128), 200)] * 2).astype(
        "uint8"
    ),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_is_no_stained_tissue_is_left_as_it_is(normaliser: Normaliser, name: str) -> None:
    assert np.array_equal(normaliser(LEFT_ALONE[name]), LEFT_ALONE[name])


@pytest.mark.parametrize("which", [0, 1], ids=["hematoxylin", "eosin"])
def test_macenko_leaves_a_tile_of_one_stain_alone(which: int) -> None:
    """The other's direction would be that of noise, and be made into a stain that is not there."""
    target = fit_normaliser("macenko", [tissue(seed) for seed in range(10)])
    assert target is not None
    tile = one_stain(which)
    assert np.array_equal(target(tile), tile)


@pytest.mark.parametrize("which", [0, 1], ids=["hematoxylin", "eosin"])
def test_reinhard_moves_a_tile_of_one_stain_within_bounds(which: int) -> None:
    tile = one_stain(which)
    target = Reinhard((50.0, 30.0, -12.0), (13.0, 6.0, 4.5))
    before, after = Reinhard.measure(tile), Reinhard.measure(target(tile))
    assert before is not None
    assert after is not None
    assert np.abs(after[0] - before[0]).max() < 21
    assert (after[1] < 2 * before[1] + 1.5).all()  # more than the limit: pale pixels are moved in part


def test_glass_beside_tissue_stays_glass(normaliser: Normaliser) -> None:
    stained = concentrations(5)
    bare = stained.sum(axis=2) == 0
    assert bare.mean() > 0.05
    for lab in range(4):
        tile = laboratory(lab).rgb(stained)
        assert difference(normaliser(tile)[bare], tile[bare]) < 0.5
        haze = (tile * (243 / 255)).astype(np.uint8)  # as most scanners show it
        assert difference(normaliser(haze)[bare], haze[bare]) < 4


def test_pen_over_tissue_stays_pen() -> None:
    """It takes no part in the measuring: the tissue around it comes out as it does without."""
    normaliser = fit_normaliser("macenko", [tissue(seed) for seed in range(10)])
    assert normaliser is not None
    clean = tissue(200, 3)
    marked = clean.copy()
    marked[:20] = (40, 60, 170)
    after = normaliser(marked)
    assert difference(after[24:], normaliser(clean)[24:]) < 3
    assert int(after[:20, :, 2].mean()) - int(after[:20, :, 0].mean()) > 70  # blue still


def test_any_tile_gives_a_tile(normaliser: Normaliser) -> None:
    rng = np.random.default_rng(0)
    for side_px in (8, 9, 31, 64, 300):
        for tile in (tissue(1, 1, side_px), rng.integers(0, 256, (side_px, side_px + 3, 3), np.uint8)):
            before = tile.copy()
            found = normaliser(tile)
            assert (found.shape, found.dtype) == (tile.shape, np.uint8)
            assert np.array_equal(tile, before)  # not written into: it may be a cache's


def test_a_target_needs_stained_tiles() -> None:
    assert fit_normaliser("none", _not_to_be_read()) is None
    with pytest.raises(InputError, match=r"train\.stain is macenko, but only 1 of 30 training tiles"):
        fit_normaliser("macenko", [flat(255, 255, 255)] * 29 + [tissue(0)])


def _not_to_be_read() -> Iterator[Pixels]:
    raise AssertionError
    yield


# --- it travels with the model


@pytest.fixture
def models(tmp_path: Path, normaliser: Normaliser) -> tuple[Path, Path]:
    """The same weights with the normaliser, and without one."""
    torch.manual_seed(0)
    weights = build("resnet10t", 2).state_dict()
    for name, stain in (("with", normaliser), ("plain", None)):
        checkpoint = Checkpoint("resnet10t", ("a", "b"), TILE, (0.5, 0.4, 0.6), (0.2, 0.2, 0.2), stain=stain)
        save_checkpoint(tmp_path / name, checkpoint, weights)
    return tmp_path / "with", tmp_path / "plain"


def test_a_checkpoint_keeps_the_target(models: tuple[Path, Path], normaliser: Normaliser) -> None:
    assert read_checkpoint(models[0]).stain == normaliser
    assert read_checkpoint(models[1]).stain is None
    assert json.loads((models[0] / "model.json").read_text())["stain"]["method"] == normaliser.method


def test_an_older_model_has_none(models: tuple[Path, Path]) -> None:
    path = models[0] / "model.json"
    raw = json.loads(path.read_text())
    del raw["stain"], raw["digest"]
    path.write_text(json.dumps(raw))
    assert read_checkpoint(models[0]).stain is None


@pytest.mark.parametrize(
    "stain",
    [
        {"method": "vahadane"},
        {"mean": [1, 2, 3]},
        {"method": "reinhard", "mean": [50, 30, -12]},
        {"method": "reinhard", "mean": [50, 30, -12], "spread": [13, 6, 0]},
        {"method": "reinhard", "mean": [50, 30, float("nan")], "spread": [13, 6, 4]},
        {"method": "macenko", "hematoxylin": [0.5, 0.7], "eosin": [0.2, 0.8, 0.5], "strongest": [2, 1]},
        {"method": "macenko", "hematoxylin": [0.5, 0.7, 0.4], "eosin": [0.5, 0.7, 0.4], "strongest": [2, 1]},
        "macenko",
    ],
    ids=str,
)
def test_a_damaged_target_is_refused_in_one_line(models: tuple[Path, Path], stain: object) -> None:
    path = models[0] / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stain": stain}))
    with pytest.raises(InputError, match=r"model\.json") as caught:
        read_checkpoint(models[0])
    assert "\n" not in str(caught.value)


def test_predict_normalises_what_it_reads(models: tuple[Path, Path], normaliser: Normaliser) -> None:
    tiles = np.stack([tissue(seed, seed, 64) for seed in range(5)] + [np.full((64, 64, 3), 255, np.uint8)])
    ours, plain = (Scorer(folder, PredictOptions(8, "32-true")) for folder in models)
    by_hand = plain.probabilities(np.stack([normaliser(tile) for tile in tiles]))
    np.testing.assert_allclose(ours.probabilities(tiles), by_hand, atol=1e-6)
    assert np.abs(ours.probabilities(tiles) - plain.probabilities(tiles)).max() > 1e-3


def test_the_sweep_changes_the_picture_before_it_is_normalised(
    models: tuple[Path, Path], normaliser: Normaliser
) -> None:
    tiles = [tissue(seed, seed, 64) for seed in range(6)]
    ours, plain = (Scorer(folder, PredictOptions(8, "32-true")) for folder in models)
    logits = []
    predict = partial(predict_tiles, ours.network, ours.checkpoint)
    sweep(lambda changed: logits.append(predict(changed)) or logits[-1], lambda: tiles, np.arange(6))  # type: ignore[func-returns-value]
    for found, change in zip(logits, CHANGES.values(), strict=True):
        by_hand = predict_tiles(plain.network, plain.checkpoint, [normaliser(change(tile)) for tile in tiles])
        np.testing.assert_allclose(found, by_hand, atol=1e-4)


# --- training


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of tiles, 80 px where the model sees 64."""
    root = tmp_path_factory.mktemp("stained")
    for number in range(24):
        path = root / ("glassy" if number % 2 else "dense") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = laboratory(number).rgb(concentrations(number, 80, glass=bool(number % 2)))
        assert cv2.imwrite(str(path), pixels[:, :, ::-1])
    return root


@pytest.mark.parametrize("cached", [True, False])
def test_validation_sees_what_predict_will_see(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    if not cached:
        monkeypatch.setattr(training, "decode_or_check", lambda *_: None)
    tiles = read_folder(folder, 0.5)
    settings = TrainSettings(
        "resnet10t", TILE, epochs=1, batch_size=8, stain="macenko", val_fraction=0.3, precision="32-true", workers=0
    )
    trained = training.train(settings, tiles, None, tmp_path)
    assert isinstance(trained.checkpoint.stain, Macenko)
    assert read_checkpoint(tmp_path).stain == trained.checkpoint.stain
    scorer = Scorer(tmp_path, PredictOptions(8, "32-true"))
    val = [line.split(",")[0] for line in (tmp_path / "splits.csv").read_text().splitlines() if line.endswith(",val")]
    crop = EvalCrop(64)
    pictures = [crop(read_image(folder / name)) for name in sorted(val)]
    logits = predict_tiles(scorer.network, scorer.checkpoint, pictures)
    order = np.argsort([tiles.keys.index(name) for name in sorted(val)])
    np.testing.assert_allclose(logits[order], trained.verdict.shown.logits, atol=1e-3)


def test_training_sees_normalised_tiles(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cached or read again, the first batch is that of normalised tiles, and both are the same."""
    seen: list[list[Pixels]] = []
    monkeypatch.setattr(training, "plot_tiles", lambda _path, tiles, *_: seen.append(list(tiles)))
    tiles = read_folder(folder, 0.5)
    for stain, cached in (("macenko", True), ("macenko", False), ("none", True)):
        if not cached:
            monkeypatch.setattr(training, "decode_or_check", lambda *_: None)
        settings = TrainSettings(
            "resnet10t",
            TILE,
            epochs=1,
            batch_size=8,
            stain=stain,
            augmentation="none",
            precision="32-true",
            workers=0,  # type: ignore[arg-type]
        )
        training.train(settings, tiles, None, tmp_path / f"{stain}-{cached}")
    cached_tiles, read_tiles, plain = (np.stack(batch) for batch in seen)
    assert np.array_equal(cached_tiles, read_tiles)
    assert difference(cached_tiles, plain) > 3
    assert cached_tiles.mean(axis=(1, 2)).std(axis=0).mean() < plain.mean(axis=(1, 2)).std(axis=0).mean()


def test_the_configuration_says_which() -> None:
    raw = {"tile": {"mpp": 0.5}, "train": {"folder": "tiles", "source_mpp": 0.5, "stain": "reinhard"}}
    assert learning.settings_of(TrainFile.model_validate(raw)).stain == "reinhard"
    assert TrainSettings().stain == "none"
    with pytest.raises(InputError, match=r"train\.stain is 'vahadane'; give one of"):
        TrainSettings(stain="vahadane")  # type: ignore[arg-type]


# --- real tiles


@pytest.mark.real
def test_real_tissue_is_normalised_and_real_glass_is_not(real_data: Path) -> None:
    root = real_data / "tiles"
    tiles = [read_image(path) for path in sorted((root / "crc5" / "train").glob("*/*"))[::40]]
    for method, closer in (("reinhard", 0.5), ("macenko", 0.7)):
        target = fit_normaliser(method, tiles)  # type: ignore[arg-type]
        assert target is not None
        left = np.mean([target.measure(tile) is None for tile in tiles])
        assert left <= 0.02
        after = [target(tile) for tile in tiles]
        spread = [np.std([tile.mean(axis=(0, 1)) for tile in some], axis=0).mean() for some in (tiles, after)]
        assert spread[1] < closer * spread[0]
        blank = [read_image(path) for path in sorted(root.glob("nct-crc/train/BACK/*AAQSHYMA*"))]
        assert blank
        assert all(np.array_equal(target(tile), tile) for tile in blank)
    debris = sorted(root.glob("nct-crc/*/DEB/*"))  # its nuclei are gone
    assert len(debris) == 3
    assert all(Macenko.measure(read_image(path)) is None for path in debris)
