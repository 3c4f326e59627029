"""A pilot: learning curves of known law, training sets that grow, what is said where nothing can be known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coloured_tiles import TILE
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from page_policy import assert_reaches_for_nothing
from scipy.stats import norm
from typer.testing import CliRunner

from models.data import read_folder
from models.evaluation.scored import Units
from models.pilot.curve import Measured, outlook
from models.pilot.design import Draw, design, folds_of
from models.pilot.noise import balanced_error, recalls, resampled_recalls
from models.pilot.readers import Cheap, Network
from models.pilot.run import Pilot, pilot
from models.pilot.summary import summary
from models.pilot.verdict import verdict
from models.training.settings import TrainSettings
from pipelines.commands.app import app
from wsi.errors import InputError
from wsi.geometry import TileSpec

pytestmark = pytest.mark.usefixtures("one_thread")
Law = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Painted:
    """Tiles in memory: of class i, of colour `colours[i]`, with noise. cases: None where nobody knows them."""

    labels: NDArray[np.int64]
    colours: tuple[tuple[int, int, int], ...]
    groups: tuple[str, ...] | None = None
    noise: float = 25
    group_kind = "case"
    sites = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"class-{i}" for i in range(len(self.colours)))

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(f"tile-{i}" for i in range(len(self)))

    sources = keys

    def load(self, index: int, tile: TileSpec) -> NDArray[np.uint8]:
        generator = np.random.default_rng(index)
        colour = self.colours[int(self.labels[index])]
        pixels = generator.normal(colour, self.noise, (tile.size_px, tile.size_px, 3))
        return np.clip(pixels, 0, 255).astype(np.uint8)

    def probe(self) -> Sequence[int]:
        return range(len(self))

    def fingerprint(self) -> str:
        return f"{self.labels.tolist()} {self.colours} {self.groups} {self.noise}"


def painted(per_class: int = 40, cases: int | None = 20, *, alike: bool = False) -> Painted:
    """Red and blue tiles, or (alike) two classes that nothing tells apart; each case has tiles of both."""
    labels = np.repeat(np.arange(2), per_class)
    groups = tuple(f"case-{i % cases}" for i in range(2 * per_class)) if cases else None
    colours = ((150, 80, 120),) * 2 if alike else ((190, 50, 50), (60, 60, 180))
    found = Painted(labels, colours, groups)
    if not cases:
        object.__setattr__(found, "group_kind", "tile")
    return found


@contextmanager
def no_bar(_title: str) -> Iterator[Callable[[float], None]]:
    yield lambda _share: None


def quick_pilot(tiles: Any, out: Path, said: list[str] | None = None, sizes: int = 4, seeds: int = 2) -> Pilot:
    heard: list[str] = [] if said is None else said
    return pilot(
        TrainSettings(tile=TILE), tiles, out, sizes=sizes, seeds=seeds, quick=True, bar=no_bar, said=heard.append
    )


def simulated(generator: np.random.Generator, law: Law, tiles: int = 1000, tested: int = 300) -> Measured:
    """Six sizes and three seeds of a reader whose error follows `law`, tested on three classes in 30 cases.

    Cases differ, tiles of one case are alike, the same tiles are hard at every size; nested training sets are of one
    pool, so that at the full size the seeds share what they learn from.
    """
    sizes = np.round(np.geomspace(tiles / 40, tiles, 6))
    share = sizes / tiles
    nested = np.sqrt(np.minimum.outer(sizes, sizes) / np.maximum.outer(sizes, sizes)) - np.sqrt(np.outer(share, share))
    of_pool = np.sqrt(share) * generator.standard_normal()
    drawn = generator.multivariate_normal(np.zeros(6), nested, 3, method="eigh").T + of_pool[:, None]
    errors = np.clip(law(sizes)[:, None] * (1 + 0.1 * drawn), 1e-4, 0.95)
    labels, of = np.arange(tested) % 3, generator.permutation(np.arange(tested) % 30)
    hard = 0.5 * generator.standard_normal(30)[of] + 0.7 * generator.standard_normal(tested)
    luck = np.sqrt(1 - 0.5**2 - 0.7**2) * generator.standard_normal((6, 3, tested))
    wrong = hard + luck < norm.ppf(errors)[:, :, None]
    predicted = np.where(wrong, (labels + 1) % 3, labels)
    found, again = recalls(labels, predicted, 3), resampled_recalls(labels, predicted, 3, Units(of, 30, "case"))
    return Measured(sizes, balanced_error(found, 0), balanced_error(again, 1), 2 / 3)


def exact(errors: Sequence[float], noise: float = 0.01) -> Measured:
    """Errors at 50, 100, 200... tiles, of two seeds; other test cases would have moved all by `noise`."""
    mean = np.array(errors)
    moved = noise * np.random.default_rng(0).standard_normal((500, 1, 1))
    both = np.stack([mean - noise / 2, mean + noise / 2], axis=1)
    sizes = 50.0 * 2 ** np.arange(len(errors))
    return Measured(sizes, both, np.clip(both + moved, 0, 1), 0.8)


@pytest.mark.parametrize(("a", "b", "c"), [(1.5, 0.35, 0.05), (2, 0.5, 0.0), (3, 0.5, 0.12), (0.9, 0.25, 0.0)])
def test_the_95_band_at_four_times_the_tiles_holds_the_truth(a: float, b: float, c: float) -> None:
    def law(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(a * sizes**-b + c)

    generator = np.random.default_rng(11)
    held, gained, wider = [], [], []
    now, truth = law(np.array([1000.0, 4000.0]))
    for _ in range(50):
        measured = simulated(generator, law)
        found = outlook(measured)
        assert found.state == "falling", found.why
        ahead = found.predicted(1000)[1]
        low, high = ahead["error_95"]
        held.append(low <= truth <= high)
        gained.append(ahead["gain_95"][0] <= now - truth <= ahead["gain_95"][1])
        tested = np.quantile(measured.resampled[:, -1].mean(axis=-1), [0.025, 0.975])
        wider.append((high - low) / np.ptp(tested))
    told = f"of 50 bands {sum(held)} hold the error and {sum(gained)} what is gained; "
    told += f"median width {np.median(wider):.2f} times the interval of the error measured now"
    sys.stdout.write(f"{told}\n")  # shown by pytest -rP
    assert np.mean(held) >= 0.9, told
    assert np.mean(gained) >= 0.8, told  # rougher: a gain hangs on the floor, which points so far from it hardly show
    # The tested cases alone leave the error that open; a band far wider would say nothing.
    assert np.median(wider) < 2, told


@settings(max_examples=25)
@given(st.floats(0.2, 0.8), st.floats(0.1, 1.5), st.floats(0, 0.1))
def test_points_without_noise_give_their_law(a: float, b: float, c: float) -> None:
    sizes = 50.0 * 2 ** np.arange(6)
    law = a * (sizes / 50) ** -b + c
    same = np.repeat(law[:, None], 2, axis=1)
    found = outlook(Measured(sizes, same, np.repeat(same[None], 20, axis=0), 1.1))
    assert found.laws is not None
    assert found.predicted(1600)[0]["error"] == pytest.approx(a * 64**-b + c, abs=0.003)


@pytest.mark.parametrize(
    ("errors", "state", "said"),
    [
        ((0.3, 0.3, 0.3, 0.3, 0.3), "flat", "does not fall beyond noise"),
        ((0.2, 0.25, 0.3, 0.35, 0.4), "rising", "look for wrong labels"),
        ((0.4, 0.3, 0.2), "few", "takes 4 or more"),
        ((0.8, 0.79, 0.8, 0.79, 0.8), "guessing", "below that of guessing"),
        ((0.0, 0.0, 0.0, 0.0), "perfect", "nothing is left to gain"),
    ],
)
def test_points_that_determine_nothing_are_said_and_not_carried_on(
    errors: tuple[float, ...], state: str, said: str
) -> None:
    found = outlook(exact(errors, 0.0 if state == "perfect" else 0.01))
    assert found.state == state
    assert said in found.why
    assert found.laws is None
    assert found.predicted(800) == []


def test_sizes_that_only_guess_are_left_out_of_the_fit() -> None:
    found = outlook(exact((0.8, 0.8, 0.6, 0.42, 0.3, 0.21, 0.15)))
    assert found.fitted.tolist() == [False, False, True, True, True, True, True]
    assert found.state == "falling"


@pytest.mark.parametrize("cases", [None, 25, 8])
def test_training_sets_grow_within_a_seed_and_never_meet_the_test_part(cases: int | None) -> None:
    tiles = replace(painted(150, None), labels=np.repeat([0, 1, 1], 100))
    if cases is not None:
        tiles = replace(tiles, groups=tuple(f"{i % cases}" for i in range(300)))
    found = design(tiles, sizes=5, seeds=3, seed=0)
    assert (np.diff(found.sizes) > 0).all()
    by_order: dict[tuple[int, int], list[Draw]] = {}
    for draw in found.draws:
        by_order.setdefault((draw.seed, draw.fold), []).append(draw)
        assert set(tiles.labels[draw.train]) == {0, 1}
        assert not set(draw.train) & set(draw.test)
        if tiles.groups is not None:
            assert not {tiles.groups[i] for i in draw.train} & {tiles.groups[i] for i in draw.test}
            inside = {tiles.groups[i] for i in draw.train}
            pool = found.folds[draw.fold].pool
            assert len(draw.train) == sum(tiles.groups[i] in inside for i in pool), "a case is taken whole"
    for (_, fold), draws in by_order.items():
        for smaller, larger in pairwise(draws):
            assert set(smaller.train) < set(larger.train)
        assert set(draws[-1].train) == set(found.folds[fold].pool)
        assert all((draw.test == found.folds[fold].test).all() for draw in draws)
    if cases is None:  # classes in the shares of the whole, 1 to 2
        shares = [np.mean(tiles.labels[draw.train]) for draw in found.draws if len(draw.train) > 20]
        assert np.allclose(shares, 2 / 3, atol=0.06)
    first = [draw.train.tolist() for draw in found.draws if draw.size == 0]
    assert len({tuple(train) for train in first}) > 1, "seeds draw different tiles"


def test_where_tiles_or_cases_are_few_every_tile_is_tested_once() -> None:
    for tiles in (painted(30, 10), painted(150, 8)):
        found = design(tiles, 4, 1, 0)
        assert sorted(found.tested) == list(range(len(tiles)))
        assert "every tile tested once" in found.how
    held_out = design(painted(200, 50), 4, 1, 0)
    assert len(held_out.folds) == 1
    assert 0.15 < len(held_out.tested) / 400 < 0.35


def test_sets_too_small_are_refused_in_one_line() -> None:
    one = painted(40)
    for tiles, said in (
        (replace(one, labels=np.zeros(80, np.int64), colours=one.colours[:1]), r"one class only \(class-0\)"),
        (replace(one, labels=np.repeat([0, 1], [77, 3])), r"class-1 \(3\): fewer than 5"),
        (painted(10, 5), "20 tiles in all; a learning curve takes 30"),
        (replace(one, groups=("a",) * 40 + ("b",) * 20 + ("c",) * 20), "class-0: tiles of one case only"),
        (replace(one, groups=("a",) * 80), "class-0, class-1: tiles of one case only"),
    ):
        with pytest.raises(InputError, match=said) as raised:
            design(tiles, 4, 2, 0)
        assert "\n" not in str(raised.value)


def test_a_pilot_that_was_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles, done = painted(16, 8), []
    predict = Cheap.predict
    monkeypatch.setattr("models.pilot.run.suspects", lambda *_: [])

    def counted(self: Cheap, draw: Draw) -> NDArray[np.int64]:
        done.append(draw)
        return predict(self, draw)

    def killed(self: Cheap, draw: Draw) -> NDArray[np.int64]:
        if len(done) == 7:
            raise KeyboardInterrupt
        return counted(self, draw)

    monkeypatch.setattr(Cheap, "predict", killed)
    with pytest.raises(KeyboardInterrupt):
        quick_pilot(tiles, tmp_path, sizes=2)
    assert len(list((tmp_path / "points").iterdir())) == 7
    done.clear()
    monkeypatch.setattr(Cheap, "predict", counted)
    said: list[str] = []
    whole = quick_pilot(tiles, tmp_path, said, sizes=2)
    every = len(whole.design.draws)
    assert len(done) == every - 7
    assert any("7 are there already" in line for line in said)
    done.clear()
    again = quick_pilot(tiles, tmp_path / "unbroken", sizes=2)
    np.testing.assert_array_equal(whole.curves[0].measured.errors, again.curves[0].measured.errors)
    done.clear()
    quick_pilot(replace(tiles, noise=26), tmp_path, sizes=2, seeds=1)
    assert len(done) == every / 2, "points of other tiles are not taken"


def test_classes_that_nothing_tells_apart_are_not_called_learnable(tmp_path: Path) -> None:
    found = quick_pilot(painted(40, 10, alike=True), tmp_path, sizes=3)
    judged = verdict(found)
    assert judged.grade == "nothing"
    assert found.best.outlook.laws is None
    assert judged.reasons[0].speaks == "against"


def test_classes_told_apart_by_their_mean_colour_are_said_to_be(tmp_path: Path) -> None:
    found = quick_pilot(painted(30, 12), tmp_path, sizes=2, seeds=1)
    judged = verdict(found)
    assert judged.grade == "little"
    assert "more than colour" in judged.sentence
    assert "stain or the scanner" in judged.reasons[1].finding
    assert found.best.error < 0.05


def test_few_cases_and_none_are_said_first(tmp_path: Path) -> None:
    few, none = (summary(quick_pilot(painted(20, n), tmp_path / f"{n}", sizes=2, seeds=1)) for n in (6, None))
    assert few["cautions"][0].startswith("Only 6 cases are tested: all of this is optimistic")
    assert none["cautions"][0].startswith("No case ids")
    assert "optimistic" in none["cautions"][0]


def test_wrong_labels_are_among_the_contested(tmp_path: Path) -> None:
    tiles = painted(40, 10)
    labels = tiles.labels.copy()
    wrong = [3, 17, 55]
    labels[wrong] = 1 - labels[wrong]
    true_colours = replace(tiles, labels=labels)
    object.__setattr__(true_colours, "load", tiles.load)
    found = quick_pilot(true_colours, tmp_path, sizes=2, seeds=1)
    assert sorted(one.index for one in found.suspects) == wrong
    assert quick_pilot(tiles, tmp_path, sizes=2, seeds=1).suspects == ()


def test_folds_have_every_class_in_every_pool() -> None:
    tiles = replace(painted(40, 10), groups=("a", "b") * 20 + tuple("cdefghij") * 5)
    for fold in folds_of(tiles, 0):
        assert set(tiles.labels[fold.pool]) == {0, 1}


@pytest.mark.parametrize(("tiles", "epochs"), [(100, 3), (50, 6), (10, 12)])
def test_fewer_tiles_are_seen_more_often_up_to_four_times(tmp_path: Path, tiles: int, epochs: int) -> None:
    whole = painted(100)
    assert Network(whole, TrainSettings(tile=TILE, epochs=3), None, tmp_path, 100).epochs(tiles) == epochs


def test_a_network_learns_a_draw_and_leaves_nothing_behind(tmp_path: Path) -> None:
    tiles = painted(30, 12)
    chosen = TrainSettings(architecture="resnet10t", tile=TILE, epochs=2, batch_size=8, precision="32-true")
    network = Network(tiles, chosen, None, tmp_path / "training", 40)
    draw = design(tiles, 2, 1, 0).whole[0]
    predicted = network.predict(draw)
    assert np.mean(predicted == tiles.labels[draw.test]) > 0.8
    assert not (tmp_path / "training").exists()
    assert network.key(draw) != replace(network, settings=replace(chosen, learning_rate=1e-4)).key(draw)


def test_the_command_writes_one_page_that_says_first_what_is_not_known(tiles: Path, tmp_path: Path) -> None:
    config, out = tmp_path / "c.yaml", tmp_path / "pilot"
    train = {"folder": str(tiles), "source_mpp": 0.5, "test_folder": str(tmp_path / "untouched")}
    config.write_text(json.dumps({"tile": {"size_px": 32, "mpp": 0.5}, "train": train}))
    line = ["pilot", str(config), "--out", str(out), "--quick", "--sizes", "3", "--seeds", "1", "--json"]
    answer = CliRunner().invoke(app, line)
    assert answer.exit_code == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found == json.loads((out / "pilot.json").read_text("utf-8"))
    assert found["format"] == "tesela-pilot/1"
    assert found["data"]["fingerprint"] == read_folder(tiles, 0.5).fingerprint()
    assert (out / "plots" / "learning_curve.png").is_file()
    page = (out / "pilot.html").read_text("utf-8")
    assert "<script" not in page
    assert_reaches_for_nothing(page)
    assert page.index("No case ids") < page.index(found["verdict"]["sentence"]) < page.index("<h2>What more data")
    for reason in found["verdict"]["reasons"]:
        assert reason["question"] in page
    assert "assumes that new tiles are like these" in page
