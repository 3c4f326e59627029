"""Evaluation: figures worked out by hand, intervals that know about cases, warnings that fall when they should."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn import metrics as sk

from models.evaluation import Scored, evaluate, weighted
from models.evaluation.baselines import Baseline, colours, crossed_baselines, fitted_baselines
from models.evaluation.calibration import BINS, fit_temperature, reliability
from models.evaluation.figures import figures, intervals
from models.evaluation.intervals import interval, resampled
from models.evaluation.plots import plot_all
from models.evaluation.robustness import CHANGES, MOST_TILES, Changed, brighten, sweep, swept_tiles, turn_hue
from models.evaluation.scored import Units
from models.evaluation.slides import slide_table
from models.evaluation.thresholds import TABLE, Rule, choose_threshold, choose_thresholds, threshold_table
from models.present import present_of
from wsi.errors import InputError

ABC = ("a", "b", "c")


def scored_of(truth: list[int], called: list[int], sure: float = 2.0, groups: tuple[str, ...] | None = None) -> Scored:
    """Three classes; the class called has logit `sure`, the others 0."""
    logits = np.zeros((len(called), 3))
    logits[np.arange(len(called)), called] = sure
    return Scored(ABC, logits, np.array(truth, np.int64), groups, "case" if groups else "tile")


def noisy(count: int, seed: int, classes: int = 3, signal: float = 1.5) -> Scored:
    """Tiles that a model knows fairly well."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    logits = generator.normal(size=(count, classes)) + signal * np.eye(classes)[labels]
    return Scored(tuple("abcdefghi"[:classes]), logits, labels.astype(np.int64))


# --- figures


def test_figures_of_a_confusion_worked_out_by_hand() -> None:
    #            a a a a  b b b  c
    truth, called = [0, 0, 0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 1, 1, 2, 2]
    found = figures(scored_of(truth, called), 1.0)
    assert found["confusion"] == [[3, 1, 0], [0, 2, 1], [0, 0, 1]]
    np.testing.assert_allclose(found["confusion_share"], [[0.75, 0.25, 0], [0, 2 / 3, 1 / 3], [0, 0, 1]])
    assert found["accuracy"] == 6 / 8
    assert found["balanced_accuracy"] == pytest.approx((0.75 + 2 / 3 + 1) / 3)
    assert found["per_class"]["b"]["precision"] == pytest.approx(2 / 3)
    assert found["per_class"]["c"]["precision"] == pytest.approx(1 / 2)
    # Class c: its tile has the highest score, but so has one of the other seven: 6 below, 1 tie.
    assert found["per_class"]["c"]["auc"] == pytest.approx(6.5 / 7)
    right = math.exp(2) / (math.exp(2) + 2)
    wrong = 1 / (math.exp(2) + 2)
    assert found["log_loss"] == pytest.approx(-(6 * math.log(right) + 2 * math.log(wrong)) / 8)
    squares = 6 * ((1 - right) ** 2 + 2 * wrong**2) + 2 * (right**2 + (1 - wrong) ** 2 + wrong**2)
    assert found["brier"] == pytest.approx(squares / 8)


@pytest.mark.parametrize(("turn", "area"), [(1, 1.0), (-1, 0.0)])
def test_auc_of_separable_and_of_inverted_scores(turn: int, area: float) -> None:
    logits = turn * np.array([[0.0, v] for v in (-3, -2, -1, 1, 2, 3)])
    found = figures(Scored(("no", "yes"), logits, np.array([0, 0, 0, 1, 1, 1])), 1.0)
    assert found["macro_auc"] == area


def test_a_class_without_tiles_has_no_auc_and_says_so() -> None:
    found = evaluate(scored_of([0, 0, 1, 1], [0, 1, 1, 1]), repeats=50)
    assert found["per_class"]["c"]["auc"] is None
    assert found["per_class"]["c"]["average_precision"] is None
    assert any("class c: no AUC" in note for note in found["notes"])
    assert any("class c: no tiles" in warning for warning in found["warnings"])
    assert found["intervals"]["per_class"]["c"]["recall"] is None
    assert found["thresholds"]["c"]["chosen_here"] == []
    json.dumps(found, allow_nan=False)


def numbers_of(found: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of what JSON holds, with its keys."""
    for key, value in found.items() if isinstance(found, dict) else enumerate(found):
        if isinstance(value, dict | list | tuple):
            yield from numbers_of(value, f"{where}.{key}")
        else:
            yield f"{where}.{key}", value


def test_nothing_is_known_of_a_class_without_tiles_and_no_figure_of_it_is_0(tmp_path: Path) -> None:
    """Three of five tiles of a, b, called rightly; one is called c, of which there is no tile."""
    scored = scored_of([0, 0, 0, 1, 1], [0, 0, 1, 1, 2])
    found = evaluate(scored, thresholds={"c": 0.3}, repeats=50)
    assert found["per_class"]["c"] == {
        **dict.fromkeys(("precision", "recall", "f1", "auc", "average_precision")),
        "support": 0,
    }
    assert set(found["intervals"]["per_class"]["c"].values()) == {None}
    assert found["confusion_share"] == [[2 / 3, 1 / 3, 0], [0, 0.5, 0.5], [None] * 3]
    recalls = [value for key, value in numbers_of(found["thresholds"]["c"]) if key.endswith("recall")]
    assert set(recalls) == {None}
    assert (found["classes_present"], found["balanced_accuracy"]) == (2, pytest.approx((2 / 3 + 1 / 2) / 2))
    assert present_of(found) == " (2 of 3 classes)"
    assert all(path.stat().st_size > 1000 for path in plot_all(tmp_path, scored, found).values())
    json.dumps(found, allow_nan=False)


def test_tiles_of_one_class_alone_have_figures_and_pictures(tmp_path: Path) -> None:
    scored = scored_of([1, 1, 1], [1, 1, 0])
    found = evaluate(scored, repeats=50)
    assert (found["classes_present"], found["balanced_accuracy"]) == (1, pytest.approx(2 / 3))
    assert found["thresholds"]["b"]["table"][0]["specificity"] is None
    plot_all(tmp_path, scored, found)


def test_a_probability_too_small_to_be_held_costs_the_same_in_the_figure_and_in_its_interval() -> None:
    """One tile of 60 is wrong by a logit of 800: a log loss of 800 / 60, which no float64 probability can say."""
    truth = np.array([0, 1] * 30)
    logits = np.where(truth[:, None] == np.arange(2), 800.0, 0.0)
    logits[0] = logits[0, ::-1]
    scored = Scored(("a", "b"), logits, truth)
    found = evaluate(scored, repeats=200)
    assert found["log_loss"] == pytest.approx(800 / 60)
    low, high = found["intervals"]["log_loss"]
    assert low <= found["log_loss"] <= high


def test_temperature_changes_probabilities_and_no_prediction() -> None:
    scored = noisy(300, 1)
    plain, cooled = figures(scored, 1.0), figures(scored, 2.5)
    assert plain["confusion"] == cooled["confusion"]
    assert plain["log_loss"] != cooled["log_loss"]
    assert plain["calibration"]["ece_before"] == cooled["calibration"]["ece_before"]
    assert cooled["calibration"]["ece_after"] != cooled["calibration"]["ece_before"]


def test_values_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(InputError, match="no tiles"):
        Scored(ABC, np.zeros((0, 3)), np.zeros(0, np.int64))
    with pytest.raises(InputError, match=r"2 tiles and 3 classes"):
        Scored(ABC, np.zeros((2, 2)), np.zeros(2, np.int64))
    with pytest.raises(InputError, match="no number for 1 of 2"):
        Scored(ABC, np.array([[0, 0, 0], [0, np.nan, 0]]), np.zeros(2, np.int64))


# --- weighted figures and intervals


@given(st.integers(0, 2**32 - 1), st.integers(2, 5))
def test_with_equal_weights_the_figures_are_those_of_scikit_learn(seed: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    labels, called = generator.integers(0, classes, (2, 30))
    scores = np.round(generator.random(30), 1)  # with ties
    ones = np.ones((1, 30))
    table = weighted.confusions(ones, labels, called, classes)
    np.testing.assert_array_equal(table[0], sk.confusion_matrix(labels, called, labels=range(classes)))
    assert weighted.accuracy(table)[0] == pytest.approx(sk.accuracy_score(labels, called))
    present = np.unique(labels)
    expected = sk.recall_score(labels, called, labels=present, average="macro", zero_division=0)
    assert weighted.balanced_accuracy(table)[0] == pytest.approx(expected)
    expected = sk.f1_score(labels, called, labels=present, average="macro", zero_division=0)
    assert weighted.present_mean(weighted.f1(table))[0] == pytest.approx(expected)
    positive = labels == present[0]
    if not positive.all():
        assert weighted.auc(ones, positive, scores)[0] == pytest.approx(sk.roc_auc_score(positive, scores))


@given(st.integers(0, 2**32 - 1))
def test_a_weight_of_two_is_the_tile_twice(seed: int) -> None:
    generator = np.random.default_rng(seed)
    positive, scores = generator.random(20) < 0.5, np.round(generator.random(20), 1)
    times = generator.integers(0, 4, 20)
    again, once = np.repeat(positive, times), np.repeat(scores, times)
    found = weighted.auc(times[None].astype(float), positive, scores)[0]
    if again.all() or not again.any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(sk.roc_auc_score(again, once))


def test_the_interval_over_tiles_is_that_of_the_binomial() -> None:
    truth = [0] * 400
    called = [0] * 300 + [1] * 100
    low, high = intervals(scored_of(truth, called), 1.0, repeats=1000, seed=0)["accuracy"]
    error = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - error, abs=0.008)
    assert high == pytest.approx(0.75 + error, abs=0.008)


@pytest.mark.parametrize(("cases", "least"), [(4, 0.84), (8, 0.9), (30, 0.93)])
def test_intervals_over_few_cases_hold_the_truth_nearly_as_often_as_they_say(cases: int, least: float) -> None:
    """400 times some cases of mean 0. The middle 95 % holds it 0.78, 0.84 and 0.95 times; of four, 7/8 is the most."""
    generator = np.random.default_rng(5)
    units = Units(np.arange(cases), cases, "case")
    held = 0
    for values in generator.normal(size=(400, cases, 1)):
        means = resampled(units, values.__rmatmul__)
        limits = interval(means[:, 0], units)
        assert limits is not None
        held += limits[0] <= 0 <= limits[1]
    assert least <= held / 400 <= 0.98


def test_an_interval_without_width_is_called_no_certainty() -> None:
    groups = tuple(f"p{i % 20}" for i in range(60))
    found = evaluate(scored_of([0, 1, 2] * 20, [0, 1, 2] * 20, groups=groups), repeats=50)
    assert found["intervals"]["accuracy"] == (1, 1)
    assert any("where 20 cases are without error, up to 15 % of new ones may not be" in note for note in found["notes"])
    assert not any("without width" in note for note in evaluate(noisy(300, 1), repeats=50)["notes"])


def test_intervals_over_cases_are_wider_where_tiles_of_a_case_are_alike() -> None:
    """20 cases of 25 tiles: in each, all tiles are called rightly, or none."""
    generator = np.random.default_rng(3)
    right = np.repeat(generator.random(20) < 0.7, 25)
    truth = [0] * 500
    called = np.where(right, 0, 1).tolist()
    groups = tuple(f"case {i // 25}" for i in range(500))
    by_case = intervals(scored_of(truth, called, groups=groups), 1.0, repeats=1000, seed=0)["accuracy"]
    by_tile = intervals(scored_of(truth, called), 1.0, repeats=1000, seed=0)["accuracy"]
    # The design effect is the square root of the case's size: 5.
    assert (by_case[1] - by_case[0]) / (by_tile[1] - by_tile[0]) == pytest.approx(5, rel=0.2)


def test_one_case_has_no_interval_and_few_have_a_warning() -> None:
    one = evaluate(scored_of([0, 1, 2], [0, 1, 1], groups=("p",) * 3), repeats=50)
    assert one["intervals"]["accuracy"] is None
    assert any("all tiles are of one case" in warning for warning in one["warnings"])
    few = evaluate(scored_of([0, 1, 2], [0, 1, 1], groups=("p", "q", "r")), repeats=50)
    assert any("only 3 cases" in warning for warning in few["warnings"])
    many = scored_of([0, 1, 2] * 10, [0, 1, 2] * 10, groups=tuple(f"p{i}" for i in range(30)))
    assert not any("case" in warning for warning in evaluate(many, repeats=50)["warnings"])


def test_without_case_ids_the_intervals_are_called_too_narrow() -> None:
    found = evaluate(noisy(60, 0), repeats=50)
    assert found["units"]["kind"] == "tile"
    assert any("no case ids" in warning and "too narrow" in warning for warning in found["warnings"])


def test_the_same_seed_gives_the_same_evaluation() -> None:
    scored = noisy(200, 5)
    assert evaluate(scored, repeats=100, seed=1) == evaluate(scored, repeats=100, seed=1)
    assert evaluate(scored, repeats=100, seed=1) != evaluate(scored, repeats=100, seed=2)


def test_a_thousand_resamples_of_a_thousand_tiles_take_less_than_two_seconds() -> None:
    scored = noisy(1000, 2, classes=9)
    began = time.process_time()
    intervals(scored, 1.0, repeats=1000, seed=0)
    assert time.process_time() - began < 2


# --- calibration


def test_ece_of_a_calibrated_and_of_an_overconfident_model() -> None:
    """Called with probability 0.8 (0.95), right 8 times in 10: errors of 0 (0.15)."""
    labels = np.array([0] * 80 + [1] * 20)
    for sure, expected in ((0.8, 0.0), (0.95, 0.15)):
        probabilities = np.tile([sure, 1 - sure], (100, 1))
        assert reliability(probabilities, labels).ece == pytest.approx(expected, abs=1e-9)


def test_ece_is_that_of_its_definition() -> None:
    """Bin by bin, as Guo et al. write it: |share right - mean probability|, weighted by tiles."""
    scored = noisy(2000, 4)
    probabilities = scored.probabilities(0.7)
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == scored.labels
    expected = 0.0
    for low, high in itertools.pairwise(np.linspace(0, 1, BINS + 1)):
        inside = (top > low) & (top <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - top[inside].mean())
    assert reliability(probabilities, scored.labels).ece == pytest.approx(expected)


def test_bins_are_of_equal_width_and_hold_every_tile() -> None:
    top = np.array([0.51, 0.53, 0.54, 1.0])
    found = reliability(np.stack([top, 1 - top], axis=1), np.zeros(4, np.int64))
    assert found.count.tolist() == [0] * 7 + [2, 1] + [0] * 5 + [1]  # 8/15 = 0.533
    assert len(found.count) == BINS
    assert found.confidence[7] == pytest.approx(0.52)


def test_fitting_finds_the_temperature_that_was_put_in() -> None:
    generator = np.random.default_rng(0)
    calibrated = generator.normal(scale=2, size=(8000, 3))
    draws = generator.random((8000, 1))
    labels = (softmax(calibrated, axis=1).cumsum(axis=1) < draws).sum(axis=1)
    for temperature in (0.5, 1.0, 3.0):
        assert fit_temperature(calibrated * temperature, labels) == pytest.approx(temperature, rel=0.05)
    overconfident = Scored(ABC, calibrated * 3, labels)
    calibration = figures(overconfident, fit_temperature(calibrated * 3, labels))["calibration"]
    assert calibration["ece_before"] > 0.1
    assert calibration["ece_after"] < 0.02


def test_without_errors_or_tiles_no_temperature_is_made_up() -> None:
    assert fit_temperature(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 1])) == 1.0
    with pytest.raises(InputError, match="no validation tiles"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, np.int64))


# --- thresholds


def test_the_table_counts_what_each_threshold_misses_and_falsely_calls() -> None:
    scores, positive = np.array([0.1, 0.4, 0.5, 0.9]), np.array([False, True, False, True])
    low, high = threshold_table(scores, positive, [0.4, 0.6])
    assert (low.found, low.missed, low.false_alarms, low.rejected) == (2, 0, 1, 1)
    assert (high.found, high.missed, high.false_alarms, high.rejected) == (1, 1, 0, 2)
    assert (low.recall, low.specificity, low.precision) == (1, 0.5, pytest.approx(2 / 3))
    assert threshold_table(scores, positive, [0.95])[0].precision is None
    assert list(TABLE) == sorted(set(TABLE))


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1))
def test_a_threshold_by_recall_reaches_it_and_is_the_highest_that_does(seed: int, target: float) -> None:
    generator = np.random.default_rng(seed)
    positive = generator.random(60) < 0.3
    positive[:2] = (True, False)
    scores = np.round(generator.random(60) * 0.7 + 0.3 * positive, 2)
    chosen = choose_threshold(scores, positive, Rule("recall", target_recall=target))
    assert chosen is not None
    assert chosen.recall >= target
    above = scores[scores >= chosen.threshold]
    assert np.mean(scores[positive] > above.min()) < target


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 20))
def test_no_threshold_costs_less_or_has_a_higher_youden_index(seed: int, miss_cost: float) -> None:
    generator = np.random.default_rng(seed)
    positive = generator.random(40) < 0.4
    positive[:2] = (True, False)
    scores = generator.random(40) * 0.8 + 0.2 * positive
    by_cost = choose_threshold(scores, positive, Rule("cost", miss_cost=miss_cost))
    by_youden = choose_threshold(scores, positive, Rule("youden"))
    assert by_cost is not None
    assert by_youden is not None
    for t in scores:
        called = scores >= t
        missed, falsely = int((positive & ~called).sum()), int((~positive & called).sum())
        assert miss_cost * by_cost.missed + by_cost.false_alarms <= miss_cost * missed + falsely + 1e-9
        index = called[positive].mean() - called[~positive].mean()
        assert by_youden.recall + by_youden.specificity - 1 >= index - 1e-9


def test_rounding_to_float32_moves_no_tile_across_a_chosen_threshold() -> None:
    scored = noisy(200, 9)
    probabilities = scored.probabilities(1.0)
    chosen = choose_thresholds(probabilities, scored.labels, scored.classes, Rule())
    assert set(chosen) == set(ABC)
    for i, name in enumerate(ABC):
        called = probabilities[:, i] >= chosen[name]
        np.testing.assert_array_equal(probabilities[:, i].astype(np.float32) >= chosen[name], called)
        assert called[scored.labels == i].mean() >= 0.95


def test_the_models_own_thresholds_are_measured_and_not_chosen_again() -> None:
    scored = noisy(200, 9)
    found = evaluate(scored, thresholds={"a": 0.3}, repeats=20)["thresholds"]
    called, of_class = scored.probabilities(1.0)[:, 0] >= 0.3, scored.labels == 0
    own = found["a"]["own"]
    assert (own["threshold"], own["found"], own["missed"]) == (
        0.3,
        (called & of_class).sum(),
        (~called & of_class).sum(),
    )
    assert own["false_alarms"] == (called & ~of_class).sum()
    assert found["b"]["own"] is None


def test_a_rule_that_cannot_be_followed_is_refused_and_an_absent_class_has_no_threshold() -> None:
    for wrong in ({"by": "luck"}, {"target_recall": 0.0}, {"target_recall": 95}, {"miss_cost": 0}):
        with pytest.raises(InputError):
            Rule(**wrong)  # type: ignore[arg-type]
    probabilities = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1]])
    assert set(choose_thresholds(probabilities, np.array([0, 1]), ABC, Rule())) == {"a", "b"}


# --- warnings


def test_a_model_that_always_says_one_class_gets_all_its_warnings() -> None:
    truth = [0] * 60 + [1] * 30 + [2] * 10
    scored = scored_of(truth, [0] * 100, sure=6.0)
    histogram = Baseline("colour histogram", np.array(truth), "fitted on 9 training tiles")
    found = evaluate(scored, baselines=[histogram], validation=0.9, repeats=100)
    said = " | ".join(found["warnings"])
    assert "class b: never predicted, though 30 tiles are of it" in said
    assert "class c: never predicted, though 10 tiles are of it" in said
    assert "accuracy 0.600 is no better than always naming the largest class (0.600)" in said
    assert "colour histogram does better: balanced accuracy 1.000 against the model's 0.333" in said
    assert "off by 0.40 on average (ECE at temperature 1.00)" in said
    assert "balanced accuracy 0.333, far below validation's 0.900" in said
    assert "no case ids" in said
    assert found["baselines"][0]["margin"] == pytest.approx(-2 / 3)


def test_a_class_that_is_called_but_never_rightly_is_named() -> None:
    found = evaluate(scored_of([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 0, 1]), repeats=20)
    assert any("class c: never predicted" in warning for warning in found["warnings"])
    found = evaluate(scored_of([0, 0, 1, 1, 2, 2], [0, 2, 1, 1, 0, 1]), repeats=20)
    assert any("class c: none of its 2 tiles is found" in warning for warning in found["warnings"])


def test_a_good_model_gets_no_warning() -> None:
    truth = [0, 1, 2] * 40
    groups = tuple(f"p{i % 20}" for i in range(120))
    generator = np.random.default_rng(0)
    baseline = Baseline("mean RGB", generator.integers(0, 3, 120), "fitted on 9 training tiles")
    changed = Changed("blur", np.arange(120), np.array(truth))
    good = scored_of(truth, truth, sure=5.0, groups=groups)
    found = evaluate(good, baselines=[baseline], changed=[changed], validation=0.95, repeats=100)
    assert found["warnings"] == []
    assert found["baselines"][0]["beaten"]


@pytest.mark.parametrize(("better_by", "beaten"), [(2, False), (60, True)])
def test_a_baseline_is_beaten_only_by_more_than_chance(better_by: int, beaten: bool) -> None:
    """Of 200 tiles, the model has `better_by` more right than the baseline."""
    truth = np.tile([0, 1], 100)
    model, baseline = truth.copy(), truth.copy()
    model[:40] = 2
    baseline[20 : 60 + better_by] = 2
    entry = evaluate(
        scored_of(truth.tolist(), model.tolist()), baselines=[Baseline("simple", baseline, "")], repeats=400
    )["baselines"][0]
    assert entry["margin"] == pytest.approx(better_by / 200)
    assert entry["beaten"] is beaten
    assert entry["margin_interval"][0] < entry["margin"] < entry["margin_interval"][1]


def test_a_model_that_a_change_of_the_picture_upsets_is_called_fragile() -> None:
    truth = [0, 1] * 20
    changed = Changed("hue +10°", np.arange(10), np.array([0] * 10))
    found = evaluate(scored_of(truth, truth), changed=[changed], repeats=50)
    assert found["robustness"][0]["drop"] == 0.5
    assert found["robustness"][0]["tiles"] == 10
    assert any("with hue +10°, balanced accuracy falls by 0.500 to 0.500" in w for w in found["warnings"])


# --- baselines


def coloured(labels: NDArray[np.int64], seed: int) -> list[NDArray[np.uint8]]:
    """Class 0 reddish, class 1 bluish; class 2 as red as class 0 on average, but of two colours."""
    generator = np.random.default_rng(seed)
    tiles = []
    for label in labels:
        mean = np.array([[180, 90, 120], [110, 90, 180], [180, 90, 120]][label])
        tile = generator.normal(mean, 12, (24, 24, 3))
        if label == 2:
            tile += np.where(np.arange(24) % 2, 45, -45)[:, None, None]
        tiles.append(np.clip(tile, 0, 255).astype(np.uint8))
    return tiles


def test_mean_colour_tells_hues_apart_and_a_histogram_also_patterns_of_the_same_mean() -> None:
    train, test = np.tile([0, 1, 2], 20), np.tile([0, 1, 2], 10)
    mean, histogram = fitted_baselines(colours(coloured(train, 0)), train, colours(coloured(test, 1)))
    assert (histogram.predicted == test).mean() == 1
    assert (mean.predicted == test)[test == 1].all()
    assert (mean.predicted == test)[test != 1].mean() < 0.9
    assert "60 training tiles" in mean.how


def test_baselines_are_crossed_over_cases_and_refused_over_tiles() -> None:
    labels = np.tile([0, 1], 20)
    seen = colours(coloured(labels, 0))
    cases = Units(np.arange(40) // 4, 10, "case")
    for baseline in crossed_baselines(seen, labels, cases):
        assert (baseline.predicted == labels).all()
        assert "5-fold cross-validation over cases" in baseline.how
    with pytest.raises(InputError, match="without case ids"):
        crossed_baselines(seen, labels, Units(np.arange(40), 40, "tile"))
    with pytest.raises(InputError, match="each in two cases or more"):
        crossed_baselines(seen, labels, Units(labels, 2, "case"))


def test_a_case_never_helps_to_predict_its_own_tiles() -> None:
    """Colours that only name the case: within cases perfect, across cases worthless."""
    generator = np.random.default_rng(0)
    case = np.repeat(np.arange(12), 6)
    labels = (np.arange(12) % 2)[case]
    tint = generator.uniform(60, 200, (12, 3))
    tiles = [np.full((8, 8, 3), tint[c], np.uint8) for c in case]
    _, histogram = crossed_baselines(colours(tiles), labels, Units(case, 12, "case"))
    assert (histogram.predicted == labels).mean() < 0.8


# --- robustness


def test_changes_are_what_they_are_called() -> None:
    tile = np.full((16, 16, 3), (200, 100, 100), np.uint8)  # hue 0
    assert brighten(tile, 0.85)[0, 0].tolist() == [170, 85, 85]
    assert brighten(tile, 1.5)[0, 0].tolist() == [255, 150, 150]
    assert turn_hue(tile, 120)[0, 0].tolist() == [100, 200, 100]
    assert turn_hue(tile, -10)[0, 0].tolist() == [200, 100, 117]  # 100 + 100 × 10/60
    checked = np.indices((16, 16)).sum(axis=0)[:, :, None] % 2 * np.array([255, 255, 255])
    for name, change in CHANGES.items():
        changed = change(checked.astype(np.uint8))
        assert changed.shape == (16, 16, 3)
        assert changed.dtype == np.uint8
        if "blur" in name:
            assert changed[4:12, 4:12].std() < 10


def test_a_sweep_asks_about_every_change_of_the_same_tiles() -> None:
    tiles = [np.full((8, 8, 3), value, np.uint8) for value in (90, 110, 220)]

    def bright(seen: object) -> NDArray[np.float64]:
        return np.array([[100.0, tile.mean()] for tile in seen])  # type: ignore[attr-defined]

    found = {entry.name: entry.predicted.tolist() for entry in sweep(bright, lambda: tiles, np.arange(3))}
    assert list(found) == list(CHANGES)
    assert found["JPEG quality 40"] == [0, 1, 1]
    assert found["brightness −15 %"] == [0, 0, 1]
    assert found["brightness +15 %"] == [1, 1, 1]


def test_large_sets_are_swept_in_part() -> None:
    assert swept_tiles(50).tolist() == list(range(50))
    part = swept_tiles(10 * MOST_TILES)
    assert len(np.unique(part)) == MOST_TILES
    assert part.tolist() == swept_tiles(10 * MOST_TILES).tolist()


# --- slides


def test_slides_by_majority_by_mean_and_by_share() -> None:
    normal, tumour = [0.9, 0.1], [0.45, 0.55]
    scores = {
        "small tumour": np.array([normal] * 8 + [[0.1, 0.9]] * 2),
        "doubtful": np.array([tumour] * 6 + [normal] * 4),
        "clean": np.array([normal] * 10),
        "unlabelled": np.array([normal]),
        "empty": np.zeros((0, 2)),
    }
    labels = {"small tumour": "tumour", "doubtful": "normal", "clean": "normal", "empty": "normal"}
    table = slide_table(scores, labels, ("normal", "tumour"), finding="tumour", min_share=0.2)
    called = {row["slide"]: row["predicted"] for row in table["slides"]}
    assert called["small tumour"] == {"majority": "normal", "mean": "normal", "share": "tumour"}
    assert called["doubtful"] == {"majority": "tumour", "mean": "normal", "share": "tumour"}
    assert called["clean"] == {"majority": "normal", "mean": "normal", "share": "normal"}
    assert table["rules"]["mean"] == {"accuracy": pytest.approx(2 / 3), "confusion": [[2, 0], [1, 0]]}
    assert table["rules"]["share"]["confusion"] == [[1, 1], [0, 1]]
    assert table["left_out"] == ["empty", "unlabelled"]
    assert table["slides"][0]["shares"] == {"normal": 1.0, "tumour": 0.0}


def test_slides_without_use_are_refused() -> None:
    with pytest.raises(InputError, match="labelled \\['other'\\]"):
        slide_table({"s": np.ones((1, 2))}, {"s": "other"}, ("a", "b"))
    with pytest.raises(InputError, match="none of 1 slides"):
        slide_table({"s": np.ones((1, 2))}, {}, ("a", "b"))
