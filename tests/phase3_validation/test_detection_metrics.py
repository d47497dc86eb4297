"""Covers the arithmetic of phase 3.1: metrics, thresholds, resamples, DeLong, strata, against independent code."""

import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from common.evaluation import bootstrap, calibration, metrics, strata
from common.evaluation.delong import delong_interval, delong_variance
from common.handoffs.document import as_json
from common.handoffs.estimates import UNDEFINED, Interval
from phase3_validation.detection import curves


def tied_scores(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Scores like a latent's, many of them zero and some equal, and labels that have to do with them."""
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.45
    values = np.maximum(rng.normal(size=n) + 0.7 * positive, 0).round(1)
    return values, positive


def both(positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return positive.astype(float), (~positive).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_ranked_metrics_equal_those_of_scikit_learn_on_every_resample(seed):
    values, positive = tied_scores(seed)
    draws = bootstrap.draws_by_label(positive, 20, seed)
    weights = draws * positive, draws * ~positive
    areas, precisions = metrics.ranked(values, *weights).values()
    assert (areas == metrics.auroc(values, *weights)).all()
    for area, precision, drawn in zip(areas, precisions, draws, strict=True):
        rows = np.repeat(np.arange(len(values)), drawn.astype(int))
        assert area == pytest.approx(sk.roc_auc_score(positive[rows], values[rows]), abs=1e-12)
        assert precision == pytest.approx(sk.average_precision_score(positive[rows], values[rows]), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_at_a_threshold_equal_those_of_scikit_learn_on_every_resample(seed):
    values, positive = tied_scores(seed)
    draws = bootstrap.draws_by_label(positive, 20, seed)
    found = metrics.at_threshold(values > 0.5, draws * positive, draws * ~positive)
    for place, drawn in enumerate(draws):
        rows = np.repeat(np.arange(len(values)), drawn.astype(int))
        truth, predicted = positive[rows], values[rows] > 0.5
        wanted = {
            "f1": sk.f1_score(truth, predicted),
            "precision": sk.precision_score(truth, predicted),
            "recall": sk.recall_score(truth, predicted),
            "mcc": sk.matthews_corrcoef(truth, predicted),
            "specificity": sk.recall_score(~truth, ~predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
        }
        assert {name: each[place] for name, each in found.items()} == pytest.approx(wanted, abs=1e-12)


def test_what_is_undefined_is_not_a_number_and_never_zero():
    nothing = metrics.at_threshold(np.zeros(4, bool), *both(np.array([True, False, False, True])))
    assert np.isnan(nothing["precision"]) and nothing["f1"] == 0 and nothing["mcc"] == 0
    without = metrics.at_threshold(np.zeros(3, bool), *both(np.zeros(3, bool)))
    assert np.isnan(without["f1"]) and np.isnan(without["recall"])
    assert np.isnan(metrics.auroc(np.arange(3.0), *both(np.ones(3, bool))))
    assert np.isnan(metrics.ranked(np.arange(3.0), *both(np.zeros(3, bool)))["average_precision"])


@pytest.mark.parametrize("seed", range(20))
def test_the_threshold_is_that_of_a_search_over_all_midpoints(seed):
    values, positive = tied_scores(seed, n=25)
    distinct = sorted(set(values.tolist()))
    candidates = [(a + b) / 2 for a, b in itertools.pairwise(distinct)]
    scores = [sk.f1_score(positive, values > candidate) for candidate in candidates]
    best = min(c for c, s in zip(candidates, scores, strict=True) if s == pytest.approx(max(scores), abs=1e-12))
    assert metrics.best_threshold(values, positive.astype(float)) == pytest.approx(best)
    found = metrics.f1_by_threshold(values, positive.astype(float), np.array(candidates))
    assert found == pytest.approx(np.array(scores), abs=1e-12)


def test_of_thresholds_with_one_f1_the_lowest_is_chosen():
    values, positive = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 0.0, 1.0])
    f1 = metrics.f1_by_threshold(values, positive, metrics.midpoints(values))
    assert f1.tolist() == [0.8, 0.5, 2 / 3] and metrics.best_threshold(values, positive) == 1.5
    values, positive = np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0])
    assert metrics.best_threshold(values, positive) == 1.5


def test_a_constant_score_has_no_threshold_and_predicts_nothing():
    values = np.full(6, 0.25)
    assert metrics.best_threshold(values, np.array([1.0, 0, 1, 0, 1, 0])) is None
    assert not metrics.predicted_positive(values, None).any()


def test_neighbouring_numbers_are_parted_by_their_threshold():
    low = 0.1
    for values in (np.array([low, np.nextafter(low, 1)]), np.array([0.0, 5e-324]), np.array([-5e-324, 0.0])):
        (threshold,) = metrics.midpoints(values)
        assert (values > threshold).tolist() == [False, True]


def test_each_label_keeps_its_number_in_every_resample_and_all_problems_are_drawn():
    incorrect = np.array([True] * 7 + [False] * 13)
    draws = bootstrap.draws_by_label(incorrect, 500, 1)
    assert (draws[:, :7].sum(axis=1) == 7).all() and (draws[:, 7:].sum(axis=1) == 13).all()
    assert (draws.max(axis=0) > 1).all() and draws.mean() == pytest.approx(1)
    assert (draws == bootstrap.draws_by_label(incorrect, 500, 1)).all()
    assert (draws != bootstrap.draws_by_label(incorrect, 500, 2)).any()
    assert (bootstrap.draws_of_problems(9, 50, 1).sum(axis=1) == 9).all()


def test_an_interval_leaves_out_what_is_undefined():
    assert bootstrap.interval(0.5, np.array([np.nan, 0.4, 0.4])) == Interval(0.5, 0.4, 0.4)
    assert bootstrap.interval(np.nan, np.array([np.nan])) == UNDEFINED


@pytest.mark.parametrize("seed", range(5))
def test_delong_equals_its_definition_and_a_jackknife_over_each_label(seed):
    values, positive = tied_scores(seed)
    area, variance = delong_variance(values, positive)
    x, y = values[positive], values[~positive]
    psi = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in y] for a in x])
    m, n = psi.shape
    assert area == pytest.approx(psi.mean()) == pytest.approx(sk.roc_auc_score(positive, values))
    s10 = ((psi.mean(axis=1) - psi.mean()) ** 2).sum() / (m - 1)
    s01 = ((psi.mean(axis=0) - psi.mean()) ** 2).sum() / (n - 1)
    assert variance == pytest.approx(s10 / m + s01 / n)
    # Arvesen 1969: the jackknife variance of a two-sample U statistic, here from leave-one-out areas.
    jackknife = 0.0
    for rows in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        left = [sk.roc_auc_score(np.delete(positive, row), np.delete(values, row)) for row in rows]
        jackknife += (len(rows) - 1) / len(rows) * ((np.array(left) - area) ** 2).sum()
    assert variance == pytest.approx(jackknife)


def test_delong_agrees_with_hanley_and_mcneil_where_theirs_is_exact():
    """For a score with two values, Q1 and Q2 of Hanley & McNeil 1982 follow from the table, ties counted half."""
    table = {(1, True): 30, (0, True): 20, (1, False): 15, (0, False): 60}
    values = np.repeat([float(value) for value, _ in table], list(table.values()))
    positive = np.repeat([label for _, label in table], list(table.values()))
    m, n, sensitivity, false_rate = 50, 75, 0.6, 0.2
    area = (sensitivity + 1 - false_rate) / 2
    # A positive above (at) the cut beats a negative with probability p_high (p_low); likewise for negatives.
    p_high, p_low = (1 - false_rate) + false_rate / 2, (1 - false_rate) / 2
    q_high, q_low = sensitivity / 2, sensitivity + (1 - sensitivity) / 2
    q2 = sensitivity * p_high**2 + (1 - sensitivity) * p_low**2  # one positive against two negatives
    q1 = false_rate * q_high**2 + (1 - false_rate) * q_low**2  # two positives against one negative
    assert delong_variance(values, positive)[0] == pytest.approx(area)
    unbiased = (q2 - area**2) / (m - 1) + (q1 - area**2) / (n - 1)
    assert delong_variance(values, positive)[1] == pytest.approx(unbiased)


def test_delong_intervals_hold_the_truth_about_95_percent_of_the_time():
    rng = np.random.default_rng(0)
    truth = 0.76024993890652326  # two normal distributions one standard deviation apart: Phi(1 / sqrt 2)
    positive = np.arange(120) < 50
    intervals = [delong_interval(rng.normal(size=120) + positive, positive) for _ in range(600)]
    assert 0.92 < np.mean([low <= truth <= high for low, high in intervals]) < 0.98


def test_delong_of_a_constant_and_of_a_perfect_score():
    positive = np.arange(10) < 4
    assert delong_interval(np.zeros(10), positive) == (0.5, 0.5)
    assert delong_interval(positive.astype(float), positive) == (1.0, 1.0)
    assert np.isnan(delong_interval(np.arange(3.0), np.array([True, False, False]))).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_area_within_strata_compares_pairs_of_one_stratum_alone(seed):
    values, positive = tied_scores(seed)
    rng = np.random.default_rng(seed)
    stratum = rng.integers(0, 3, len(values))
    draws = bootstrap.draws_by_label(positive, 7, seed)
    found = as_json(strata.auroc_within(values, positive, stratum, draws))

    def brute(weight: np.ndarray) -> float:
        won = pairs = 0.0
        for i, j in itertools.product(np.flatnonzero(positive), np.flatnonzero(~positive)):
            if stratum[i] == stratum[j]:
                pairs += weight[i] * weight[j]
                won += weight[i] * weight[j] * (0.5 if values[i] == values[j] else float(values[i] > values[j]))
        return won / pairs

    resampled = [brute(drawn) for drawn in draws]
    assert found["value"] == pytest.approx(brute(np.ones(len(values))))
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist())


def test_a_score_that_is_nothing_but_the_stratum_is_worth_nothing_within_it():
    stratum = np.repeat([0, 1], 50)
    positive = np.random.default_rng(0).random(100) < np.where(stratum, 0.8, 0.2)
    draws = bootstrap.draws_by_label(positive, 50, 0)
    assert metrics.auroc(stratum.astype(float), *both(positive)) > 0.7
    assert strata.auroc_within(stratum.astype(float), positive, stratum, draws).value == 0.5


def test_strata_are_quantile_bins_that_keep_equal_values_together():
    complexity = np.repeat([1, 2, 3, 4, 5, 6, 9], [30, 15, 15, 30, 15, 10, 5])
    bounds = strata.upper_bounds(complexity)
    assert bounds.tolist() == [1, 3, 4, 9]
    assert strata.complexity_names(bounds) == [
        "complexity 1",
        "complexity 2 to 3",
        "complexity 4",
        "complexity 5 or more",
    ]
    assert strata.stratum_of(np.array([1, 2, 3, 4, 8, 30]), bounds).tolist() == [0, 1, 1, 2, 3, 3]
    assert strata.upper_bounds(np.full(9, 3)).tolist() == [3]
    assert strata.complexity_names(np.array([3])) == ["complexity 1 or more"]
    spread = np.random.default_rng(0).permutation(80).astype(float)
    assert np.bincount(strata.stratum_of(spread, strata.upper_bounds(spread))).tolist() == [20, 20, 20, 20]


def test_a_stratum_with_too_few_of_a_label_has_no_numbers():
    values, positive = np.arange(40.0), np.arange(40) % 10 == 9  # 2 of 20, 2 of 20
    positive[20:] = np.arange(20) % 2 == 0
    draws = bootstrap.draws_by_label(positive, 50, 0)
    rare, common = as_json(strata.by_stratum(values, positive, 5.0, np.repeat([0, 1], 20), ["a", "b"], draws))
    unknown = as_json(UNDEFINED)
    assert rare == {"stratum": "a", "n": 20, "n_positive": 2, "auroc": unknown, "f1": unknown}
    assert common["n_positive"] == 10 and common["auroc"]["value"] == pytest.approx(0.45)


def test_intervals_by_temperature_resample_problems_and_not_their_programs():
    """Ten programs of one problem say the same thing, so they make an interval no narrower than one does."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=80)
    right = (rng.random(80) < 1 / (1 + np.exp(-values))).astype(float)
    one = as_json(strata.at_temperature(0.6, values, right, 1 - right, 0.0, 2000, 1))
    ten = as_json(strata.at_temperature(0.6, values, 10 * right, 10 * (1 - right), 0.0, 2000, 1))
    assert one["n_programs"] == 80 and ten["n_programs"] == 800 and ten["n_problems"] == 80
    assert ten["base_rate"] == one["base_rate"]
    for key in ("auroc", "f1"):
        assert ten[key] == pytest.approx(one[key])


def test_reliability_is_that_of_scikit_learns_isotonic_regression():
    from sklearn.isotonic import isotonic_regression
    from statsmodels.stats.proportion import proportion_confint

    tuned, tuned_positive = tied_scores(1)
    values, positive = tied_scores(2)
    distinct, counts = np.unique(tuned, return_counts=True)
    means = [tuned_positive[tuned == value].mean() for value in distinct]
    fitted = isotonic_regression(means, sample_weight=counts)
    probability = np.interp(values, distinct, fitted)
    found = as_json(calibration.reliability(tuned, tuned_positive, values, positive))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(positive, probability))
    assert sum(group["n"] for group in found["groups"]) == len(values)
    predicted = [group["predicted"] for group in found["groups"]]
    assert predicted == sorted(predicted) and len(predicted) <= 5
    assert np.average(predicted, weights=[g["n"] for g in found["groups"]]) == pytest.approx(probability.mean())
    for group in found["groups"]:
        k = round(group["observed"]["value"] * group["n"])
        low, high = proportion_confint(k, group["n"], method="wilson")
        assert [group["observed"]["low"], group["observed"]["high"]] == pytest.approx([low, high])


def test_curves_are_those_of_scikit_learn_and_lie_in_their_bands():
    values, positive = tied_scores(3, n=120)
    draws = bootstrap.draws_by_label(positive, 300, 0)
    false_rate, true_rate = curves.roc_points(values, *both(positive))
    wanted = sk.roc_curve(positive, values, drop_intermediate=False)
    assert false_rate == pytest.approx(wanted[0]) and true_rate == pytest.approx(wanted[1])
    recall, precision = curves.precision_points(values, *both(positive))
    wanted_precision, wanted_recall, _ = sk.precision_recall_curve(positive, values)
    assert recall == pytest.approx(wanted_recall[-2::-1]) and precision == pytest.approx(wanted_precision[-2::-1])
    low, high = curves.roc_band(values, positive, draws)
    own = np.interp(curves.GRID, false_rate, true_rate)
    assert (low <= own + 0.02).all() and (own <= high + 0.02).all() and (high - low).max() > 0.1
    thresholds, f1, below, above = curves.f1_curve(values, positive, draws)
    assert f1 == pytest.approx([sk.f1_score(positive, values > each) for each in thresholds])
    assert ((below <= f1) & (f1 <= above)).all()


def test_a_latent_that_fires_on_no_problem_has_a_curve_without_thresholds():
    positive, draws = np.array([True, False, True, False]), np.ones((5, 4))
    assert [len(part) for part in curves.f1_curve(np.zeros(4), positive, draws)] == [0, 0, 0, 0]
    for band in (curves.roc_band, curves.precision_band):
        low, high = band(np.zeros(4), positive, draws)
        assert np.isfinite(low).all() and (low <= high).all()
