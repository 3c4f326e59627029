"""Splits: a case is on one side only, nothing is lost, the seed decides; and a sheet brings back the same parts."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from models.augment import TrainAugment
from models.balance import MOST, Balance, class_weights, draw, epoch_length, times_seen
from models.data import FolderSet, LabelledSlide, SlideSet, read_folder
from models.loading import EpochSampler, Samples
from models.splits import Split, as_given, holdout, k_folds, leave_one_site_out, refuse_shared_cases
from models.splitsheet import read_split, write_split
from wsi.errors import InputError
from wsi.geometry import TileSpec


def tiles_of(labels: list[int], cases: list[str] | None = None, sites: list[str] | None = None) -> FolderSet:
    classes = tuple(f"c{i}" for i in range(max(labels) + 1))
    paths = tuple(Path(f"c{label}/{i}.png") for i, label in enumerate(labels))
    groups = tuple(cases) if cases else None
    return FolderSet(Path(), 0.5, paths, np.array(labels, np.int64), classes, groups, tuple(sites) if sites else None)


def cohort(cases: int, per_case: int = 10, classes: int = 2, sites: int = 2) -> FolderSet:
    """Every case has tiles of every class; cases are dealt out to the sites."""
    total = range(cases * per_case)
    return tiles_of(
        [i % classes for i in total],
        [f"case {i // per_case}" for i in total],
        [f"site {(i // per_case) % sites}" for i in total],
    )


@st.composite
def cohorts(make: st.DrawFn) -> FolderSet:
    """Cases of any size; a few classes, unevenly spread over them."""
    sizes = make(st.lists(st.integers(1, 30), min_size=6, max_size=25))
    classes = make(st.integers(2, 4))
    generator = np.random.default_rng(make(st.integers(0, 999)))
    lean = generator.dirichlet(np.ones(classes), len(sizes))
    labels = [int(generator.choice(classes, p=lean[case])) for case, size in enumerate(sizes) for _ in range(size)]
    cases = [f"P{case:02d}" for case, size in enumerate(sizes) for _ in range(size)]
    return tiles_of(labels, cases, [f"S{int(case[1:]) % 3}" for case in cases])


@pytest.mark.parametrize("cases", [None, 6])
def test_one_class_alone_is_refused_by_every_way_to_part(cases: int | None) -> None:
    """Before anything is trained: the model would be refused when it is written, after all epochs."""
    tiles = tiles_of([0] * 24, [f"case {i % cases}" for i in range(24)] if cases else None, ["n", "s"] * 12)
    tiles = dataclasses.replace(tiles, classes=("only",))
    ways: list[Callable[[], object]] = [lambda: holdout(tiles, 0.2, 0), lambda: k_folds(tiles, 3, 0.2, 0)]
    for way in (*ways, lambda: as_given(dataclasses.replace(tiles, groups=None), {tiles.sources[0]})):
        with pytest.raises(InputError, match="only: all 24 tiles to train on are of this one class"):
            way()


def parts_of(split: Split) -> list[NDArray[np.int64]]:
    return [split.train, split.val, split.test]


MAKERS: dict[str, Callable[[FolderSet, int], tuple[Split, ...]]] = {
    "holdout": lambda tiles, seed: (holdout(tiles, 0.15, seed, 0.2),),
    "k folds": lambda tiles, seed: k_folds(tiles, 4, 0.15, seed),
    "site out": lambda tiles, seed: leave_one_site_out(tiles, 0.15, seed),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@given(tiles=cohorts(), seed=st.integers(0, 99))
def test_parts_are_disjoint_complete_and_reproducible_and_no_case_is_on_two_sides(
    make: Callable[[FolderSet, int], tuple[Split, ...]], tiles: FolderSet, seed: int
) -> None:
    try:
        splits = make(tiles, seed)
    except InputError as error:  # a class that so few cases have cannot be in every part
        assume("to train on" not in str(error) and "largest class" not in str(error))
        raise
    for split, again in zip(splits, make(tiles, seed), strict=True):
        assert sorted(np.concatenate(parts_of(split)).tolist()) == list(range(len(tiles)))
        assert all(len(part) for part in parts_of(split))
        cases = [{tiles.groups[i] for i in part} for part in parts_of(split)] if tiles.groups else []
        assert sum(map(len, cases)) == len(set().union(*cases))
        assert set(tiles.labels[split.train]) == set(range(len(tiles.classes)))
        assert not split.by_tile
        assert all(np.array_equal(a, b) for a, b in zip(parts_of(split), parts_of(again), strict=True))


@given(tiles=cohorts(), seed=st.integers(0, 99))
def test_without_cases_every_class_gives_the_same_share(tiles: FolderSet, seed: int) -> None:
    counts = np.bincount(tiles.labels, minlength=len(tiles.classes))
    assume(counts.min() >= 4)
    split = holdout(tiles_of(tiles.labels.tolist()), 0.25, seed, 0.25)
    for part in (split.val, split.test):
        found = np.bincount(tiles.labels[part], minlength=len(counts))
        assert np.all(np.abs(found - counts / 4) <= 1)
    assert split.how == "no case ids: split by tile"
    assert split.by_tile


def test_by_case_the_shares_of_classes_are_near_what_was_asked_for() -> None:
    generator = np.random.default_rng(3)
    cases = np.repeat(np.arange(60), generator.integers(5, 40, 60))
    labels = generator.choice(3, len(cases), p=(0.6, 0.3, 0.1))
    tiles = tiles_of(labels.tolist(), [f"P{case}" for case in cases])
    split = holdout(tiles, 0.15, 0, 0.2)
    folds = k_folds(tiles, 5, 0.15, 0)
    whole = np.bincount(labels)
    assert np.bincount(labels[split.test]) / whole == pytest.approx(0.2, abs=0.02)
    assert np.bincount(labels[split.val]) / whole == pytest.approx(0.15, abs=0.02)
    for fold in folds:
        assert np.bincount(labels[fold.test]) / whole == pytest.approx(0.2, abs=0.06)
        assert np.bincount(labels[fold.val]) / whole == pytest.approx(0.15, abs=0.03)
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested.tolist()) == list(range(len(tiles)))
    assert [fold.name for fold in folds] == [f"fold {number} of 5" for number in range(1, 6)]


def test_another_seed_is_another_split() -> None:
    for tiles in (cohort(30), tiles_of([0, 1] * 40)):
        assert not np.array_equal(holdout(tiles, 0.2, 1).val, holdout(tiles, 0.2, 2).val)
        assert not np.array_equal(k_folds(tiles, 3, 0.2, 1)[0].test, k_folds(tiles, 3, 0.2, 2)[0].test)


def test_each_site_is_left_out_once() -> None:
    tiles = cohort(9, sites=3)
    splits = leave_one_site_out(tiles, 0.2, 0)
    assert [split.name for split in splits] == ["site site 0", "site site 1", "site site 2"]
    for number, split in enumerate(splits):
        assert {tiles.sites[i] for i in split.test} == {f"site {number}"} if tiles.sites else False
        assert len({tiles.sites[i] for i in np.concatenate([split.train, split.val])}) == 2 if tiles.sites else False


def test_what_cannot_be_parted_is_said_with_numbers() -> None:
    with pytest.raises(InputError, match="class c1: 1 tiles; training and validation need at least 2"):
        holdout(tiles_of([0, 0, 1]), 0.25, 0)
    with pytest.raises(InputError, match=r"class c0: no tile is left to train on \(split by case\); add tiles"):
        holdout(tiles_of([0, 0, 1, 1], ["a", "a", "b", "b"]), 0.5, 0)
    with pytest.raises(InputError, match="5 folds take 5 cases or more, and there are 4"):
        k_folds(cohort(4), 5, 0.1, 0)
    with pytest.raises(InputError, match="3 folds take 3 tiles of the rarest class or more, and there are 2"):
        k_folds(tiles_of([0, 0, 0, 1, 1]), 3, 0.1, 0)
    with pytest.raises(InputError, match="1 folds; give 2 or more"):
        k_folds(cohort(4), 1, 0.1, 0)
    with pytest.raises(InputError, match=r"two or more; say the site .*column `site`"):
        leave_one_site_out(cohort(4, sites=1), 0.1, 0)
    with pytest.raises(InputError, match="case a, b: at two sites"):
        leave_one_site_out(tiles_of([0, 1] * 3, ["a", "a", "b", "b", "c", "c"], ["x", "y", "y", "x", "x", "x"]), 0.2, 0)
    with pytest.raises(InputError, match="site x left out, one case is left"):
        leave_one_site_out(tiles_of([0, 1] * 3, ["a", "a", "b", "b", "c", "c"], ["x", "x", "x", "x", "y", "y"]), 0.2, 0)


def test_of_cases_of_very_different_sizes_some_are_left_to_choose_the_epoch_by() -> None:
    """Two small cases bring the test part nearer to its share than one, and would leave one case for all the rest."""
    tiles = tiles_of([0, 1] * 50, ["large"] * 96 + ["small"] * 2 + ["tiny"] * 2)
    split = holdout(tiles, 0.15, 0, 0.3)
    assert [len({(tiles.groups or ())[i] for i in part}) for part in parts_of(split)] == [1, 1, 1]
    with pytest.raises(InputError, match="fold 1 of 2: one case is left beside it, and two or more are needed"):
        k_folds(tiles_of([0, 1] * 30, ["a"] * 20 + ["b"] * 20 + ["c"] * 20), 2, 0.15, 0)


def test_a_part_without_a_class_is_noted() -> None:
    labels, cases = [0, 1] * 20 + [0] * 20, [f"P{i // 10}" for i in range(60)]
    with pytest.raises(InputError, match="class c1: no tile is left to train on"):
        leave_one_site_out(tiles_of(labels, cases, ["A"] * 40 + ["B"] * 20), 0.3, 0)
    splits = leave_one_site_out(tiles_of(labels, cases, (["A"] * 10 + ["C"] * 10) * 2 + ["B"] * 20), 0.3, 0)
    assert splits[1].notes == ("class c1: no tile in test",)
    assert holdout(cohort(8), 0.3, 0).notes == ()


def test_one_case_or_slide_is_parted_by_tile_and_says_so() -> None:
    assert holdout(tiles_of([0, 1] * 4, ["a"] * 8), 0.25, 0).how == "one case only: split by tile"
    with pytest.raises(InputError, match="2 cases cannot be parted into training, validation and test"):
        holdout(tiles_of([0, 1] * 8, ["a", "b"] * 8), 0.25, 0, 0.25)


def test_a_case_in_both_training_and_test_is_named() -> None:
    refuse_shared_cases(tiles_of([0, 1], ["a", "b"]), tiles_of([0, 1], ["c", "d"]))
    refuse_shared_cases(tiles_of([0, 1]), tiles_of([0, 1], ["c", "d"]))
    with pytest.raises(InputError, match="case b, c: in training and in test"):
        refuse_shared_cases(tiles_of([0, 1, 1], ["c", "a", "b"]), tiles_of([0, 1], ["b", "c"]))


# --- the sheet


def slides_of(names: list[str], cases: list[str | None]) -> SlideSet:
    """Ten tiles of each slide, of two classes."""
    slides = tuple(
        LabelledSlide(Path(name), Path("t"), case, site="S") for name, case in zip(names, cases, strict=True)
    )
    count = 10 * len(names)
    xy = np.stack([np.arange(count) * 64, np.zeros(count)], axis=1).astype(np.int64)
    return SlideSet(slides, np.repeat(np.arange(len(names)), 10), xy, np.arange(count) % 2, ("a", "b"))


@pytest.mark.parametrize(
    ("tiles", "rows"),
    [
        (cohort(8), 80),
        (tiles_of([0, 1] * 10), 20),
        (tiles_of([0, 1] * 10, ["only"] * 20), 20),
        (slides_of(["a.svs", "b.svs", "c.svs"], ["P1", "P2", "P2"]), 3),
        (slides_of(["r/a/slide.json", "r/b/slide.json", "r/c/slide.json"], [None] * 3), 3),
        (slides_of(["a.svs"], ["P1"]), 10),
    ],
    ids=["cases", "no cases", "one case", "slides", "slides without cases", "one slide"],
)
def test_a_split_comes_back_as_it_was_written(tiles: FolderSet | SlideSet, rows: int, tmp_path: Path) -> None:
    split = holdout(tiles, 0.3, 0)
    write_split(tmp_path / "splits.csv", tiles, split)
    again = read_split(tmp_path / "splits.csv", tiles)
    assert all(np.array_equal(a, b) for a, b in zip(parts_of(split), parts_of(again), strict=True))
    assert (again.how, again.by_tile) == (split.how, split.by_tile)
    lines = (tmp_path / "splits.csv").read_text().splitlines()
    assert lines[0] == "key,case,site,split"
    assert len(lines) == 1 + rows


def test_the_sheet_is_readable(tmp_path: Path) -> None:
    tiles = slides_of(["r/a/slide.json", "b.svs", "c.svs"], ["P1", "P2", "P3"])
    twenty = np.arange(20)
    write_split(tmp_path / "s.csv", tiles, Split(twenty[:10], twenty[10:], "", False, np.arange(20, 30)))
    assert (tmp_path / "s.csv").read_text() == ("key,case,site,split\na,P1,S,train\nb.svs,P2,S,val\nc.svs,P3,S,test\n")


def test_a_spreadsheet_runs_no_name_of_a_slide_or_case(tmp_path: Path) -> None:
    tiles = slides_of(["=a.svs", "-1", "c.svs"], ["+P1", "@P2", "P3"])
    split = holdout(tiles, 0.3, 0)
    write_split(tmp_path / "s.csv", tiles, split)
    assert "\n'=a.svs,'+P1,S," in (tmp_path / "s.csv").read_text()
    assert "\n-1,'@P2,S," in (tmp_path / "s.csv").read_text()
    assert np.array_equal(read_split(tmp_path / "s.csv", tiles).val, split.val)


def test_slides_without_cases_are_kept_whole_and_tiles_of_one_slide_are_not() -> None:
    tiles = slides_of(["a.svs", "b.svs", "c.svs", "d.svs"], ["P1", None, "P2", "P3"])  # of one the case is unknown
    assert tiles.group_kind == "slide"
    split = holdout(tiles, 0.25, 0)
    assert split.how == "no case ids: split by slide"
    assert len(set(tiles.slide_of[split.val])) == 1
    assert not set(tiles.slide_of[split.val]) & set(tiles.slide_of[split.train])
    assert holdout(slides_of(["a.svs"], [None]), 0.25, 0).how == "one slide only: split by tile"


def test_slides_of_the_same_name_are_told_apart_by_their_path(tmp_path: Path) -> None:
    tiles = slides_of(["x/a.svs", "y/a.svs"], ["P1", "P2"])
    split = holdout(tiles, 0.5, 0)
    write_split(tmp_path / "s.csv", tiles, split)
    assert np.array_equal(read_split(tmp_path / "s.csv", tiles).val, split.val)
    assert len(set(tiles.keys)) == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,case,split\na.svs,P1,train\nb.svs,P2,val\nc.svs,P1,test\n", r"case in two splits: P1 \(test, train\)"),
        ("key,split\na.svs,train\nb.svs,val\nc.svs,train\n", r"case in two splits: P2 \(train, val\)"),
        ("key,split\na.svs,train\nb.svs,val\n", "no row for 10 of 30 tiles: c.svs@1280,0, c.svs@1344,0"),
        ("key,split\na.svs,train\nb.svs,val\nc.svs,val\nd.svs,val\n", "d.svs: no such slide or tile"),
        (
            "key,split\na.svs,training\n,val\nb.svs,val\nb.svs,val\n",
            "row 2: split 'training'.*row 3: no key; row 5: 'b",
        ),
        ("key,part\na.svs,train\n", "no column split"),
        ("key,split,who\na.svs,train,me\n", "unknown column who"),
        ("key,split\na.svs,train\nb.svs,train\nc.svs,train\n", "0 of val; both are needed"),
    ],
)
def test_faults_of_a_sheet_are_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_split(tmp_path / "splits.csv", slides_of(["a.svs", "b.svs", "c.svs"], ["P1", "P2", "P2"]))


def test_a_persons_sheet_says_cases_that_the_folder_does_not(tmp_path: Path) -> None:
    tiles = tiles_of([0, 1, 0, 1])
    rows = [f"{key},{rest}" for key, rest in zip(tiles.keys, ("A,train", "A,train", "B,val", "B,val"), strict=True)]
    path = tmp_path / "splits.csv"
    path.write_text("\n".join(["key,case,split", *rows]))
    assert read_split(path, tiles).val.tolist() == [2, 3]
    path.write_text("\n".join(["key,case,split", *rows]).replace("B,val", "A,val", 1))
    with pytest.raises(InputError, match=r"case in two splits: A \(train, val\)"):
        read_split(path, tiles)


# --- balance


def test_class_weights_make_every_class_count_the_same_up_to_a_limit() -> None:
    labels = np.repeat([0, 1, 2], [1000, 250, 1])
    weights = class_weights(labels, 3)
    assert weights[0] * 1000 == pytest.approx(weights[1] * 250) == pytest.approx(1251 / 3)
    assert weights[2] == MOST


@pytest.mark.parametrize(
    ("how", "length", "counts"), [("sampler", 450, [150, 150, 150]), ("oversample", 900, [300] * 3)]
)
def test_balanced_epochs_show_every_class_as_often(how: Balance, length: int, counts: list[int]) -> None:
    labels = np.repeat([0, 1, 2], [300, 100, 50])
    times = times_seen(labels, how)
    assert times is not None
    for epoch in range(3):
        seen = draw(times, np.random.default_rng(epoch))
        assert len(seen) == epoch_length(times) == length
        assert np.abs(np.bincount(labels[seen]) - counts).max() <= 1
        if how == "oversample":
            assert set(seen.tolist()) == set(range(450))


@given(st.lists(st.integers(1, 400), min_size=2, max_size=5), st.sampled_from(["sampler", "oversample"]))
def test_a_tile_is_seen_as_often_as_said_but_for_one(sizes: list[int], how: Balance) -> None:
    times = times_seen(np.repeat(np.arange(len(sizes)), sizes), how)
    assert times is not None
    seen = np.bincount(draw(times, np.random.default_rng(0)), minlength=len(times))
    assert np.abs(seen - times).max() <= 1 + 1e-6
    assert times.max() <= MOST
    assert how == "sampler" or seen.min() >= 1


def test_within_a_class_every_group_is_seen_as_often() -> None:
    """Two classes of 360 and 40 tiles; of the first, one case has 300 of them. Case c has tiles of both classes."""
    labels = np.repeat([0, 0, 0, 1, 1], [300, 40, 20, 10, 30])
    cases = np.repeat(["a", "b", "c", "c", "d"], [300, 40, 20, 10, 30]).tolist()
    times = times_seen(labels, "groups", cases)
    assert times is not None
    seen = draw(times, np.random.default_rng(0))
    assert len(seen) == 400
    counted = Counter((int(labels[i]), cases[i]) for i in seen)
    wanted = {(0, "a"): 67, (0, "b"): 67, (0, "c"): 67, (1, "c"): 100, (1, "d"): 100}
    assert all(abs(counted[group] - count) <= 1 for group, count in wanted.items())


def test_a_group_of_one_tile_is_not_all_that_is_seen_and_no_groups_are_refused() -> None:
    labels = np.repeat([0, 0, 1], [99, 1, 100])
    times = times_seen(labels, "groups", np.repeat(["a", "b", "c"], [99, 1, 100]).tolist())
    assert times is not None
    assert times[99] == times.max() == MOST
    with pytest.raises(InputError, match=r"train\.balance is groups, and no case is known; .* train\.group_by: stain"):
        times_seen(labels, "groups")


def test_other_names_of_balance_are_refused_and_two_mean_no_drawing() -> None:
    assert times_seen(np.array([0, 1]), "none") is times_seen(np.array([0, 1]), "weights") is None
    with pytest.raises(InputError, match=r"train\.balance is 'smote'; give one of none, .*, oversample, groups"):
        times_seen(np.array([0, 1]), "smote")  # type: ignore[arg-type]


def test_an_epoch_depends_on_its_seed_and_number_alone() -> None:
    times = times_seen(np.repeat([0, 1], [40, 10]), "oversample")

    def keys(epoch: int, seed: int = 4) -> list[int]:
        sampler = EpochSampler(50, seed, shuffle=True, times=times)
        sampler.set_epoch(epoch)
        assert len(sampler) == len(list(sampler)) == 80
        return list(sampler)

    assert keys(3) == keys(3)
    assert keys(3) != keys(4)
    assert keys(3) != keys(3, seed=5)
    assert len(set(keys(3))) == 80  # a tile that is seen again is seen in another round, so it looks different
    assert not set(keys(3)) & set(keys(4))
    assert np.bincount(np.array(keys(3)) % 50).tolist() == [1] * 40 + [4] * 10


def test_a_tile_that_is_seen_again_looks_different(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    for name in ("a/1.png", "b/1.png", "b/2.png", "b/3.png", "b/4.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / name)
    tiles = read_folder(tmp_path, 0.5)
    times = times_seen(tiles.labels, "oversample")
    spec = TileSpec(32, 0.5, 32)
    samples = Samples(tiles, spec, np.arange(5), tiles.labels, TrainAugment(32, "light"), 0, None)
    shown = [samples[key] for key in EpochSampler(5, 0, shuffle=True, times=times)]
    rare = {tile.numpy().tobytes() for tile, label in shown if int(label) == 0}
    assert len(rare) == 4


def test_what_is_evaluated_is_never_balanced() -> None:
    with pytest.raises(ValueError, match="never balanced"):
        EpochSampler(2, 0, shuffle=False, times=np.ones(2))


# As a person parted them.


def test_slides_that_a_person_set_aside_choose_the_best_epoch() -> None:
    tiles = slides_of(["r/a/slide.json", "r/b/slide.json", "r/c.svs"], ["P1", "P2", "P3"])
    split = as_given(tiles, {"r/b/slide.json"})
    assert set(np.array(tiles.groups)[split.val]) == {"P2"}
    assert sorted([*split.train, *split.val]) == list(range(len(tiles)))
    assert (split.how, split.by_tile) == ("split as the sheet says", False)


def test_slides_set_aside_that_have_no_labelled_tile_are_refused() -> None:
    with pytest.raises(InputError, match=r"no labelled tile to choose the best epoch by in r/z\.svs"):
        as_given(slides_of(["r/a.svs", "r/b.svs"], ["P1", "P2"]), {"r/z.svs"})


def test_a_case_set_aside_in_part_is_an_error_that_names_it() -> None:
    tiles = cohort(4)
    with pytest.raises(InputError, match="case case 2: in training and in validation"):
        as_given(tiles, {tiles.sources[20]})
