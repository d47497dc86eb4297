"""Covers calibration.py and evaluation.py: numbers by hand and by other implementations, targets, the abstain band."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binomtest, norm
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression

from common.errors import ConfigError
from common.evaluation.statistics import wilson_interval
from phase4_anomaly_detection.calibration import (
    Target,
    abstain_band,
    choose_threshold,
    fit_calibration,
    probabilities,
)
from phase4_anomaly_detection.evaluation import calibration_error, outcome, routes


def scored(n: int = 200, seed: int = 0, silent: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Scores that speak for incorrect; a share of them is exactly 0, as where no latent fires."""
    rng = np.random.default_rng(seed)
    incorrect = rng.random(n) < 0.4
    scores = rng.normal(size=n) + incorrect
    return np.where(rng.random(n) < silent, 0.0, scores), incorrect


def test_platt_is_the_minimum_of_the_softened_cross_entropy():
    scores, incorrect = scored()
    found = fit_calibration(scores, incorrect, "platt")
    n_in, n_co = incorrect.sum(), (~incorrect).sum()
    wanted = np.where(incorrect, (n_in + 1) / (n_in + 2), 1 / (n_co + 2))

    def loss(at):
        margin = at[0] * scores + at[1]
        return (np.logaddexp(0, margin) - wanted * margin).sum()

    best = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000})
    assert [found["slope"], found["intercept"]] == pytest.approx(best.x, abs=1e-5)


def test_platt_agrees_with_scikit_learn():
    from sklearn.calibration import _sigmoid_calibration

    for seed in range(5):
        scores, incorrect = scored(seed=seed)
        found = fit_calibration(scores, incorrect, "platt")
        a, b = _sigmoid_calibration(scores, incorrect.astype(float))
        assert [found["slope"], found["intercept"]] == pytest.approx([-a, -b], rel=1e-3, abs=1e-3)


def test_platt_ignores_the_score_s_unit_and_stays_finite():
    """Platt does not depend on the unit of the score and stays finite where labels are parted."""
    scores, incorrect = scored()
    for unit in (1e-6, 1e6):
        again = probabilities(fit_calibration(scores * unit, incorrect, "platt"), scores * unit)
        assert again == pytest.approx(probabilities(fit_calibration(scores, incorrect, "platt"), scores), abs=1e-9)
    parted = probabilities(fit_calibration(np.arange(20.0), np.arange(20) > 9, "platt"), np.arange(20.0))
    assert np.all(np.diff(parted) > 0) and 0 < parted[0] < 0.1 and 0.9 < parted[-1] < 1


def test_isotonic_is_that_of_scikit_learn_and_larger_sets_get_it():
    scores, incorrect = scored(1500)
    found = fit_calibration(scores, incorrect, "auto")
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, incorrect.astype(float))
    probe = np.linspace(-9, 9, 501)
    assert found["method"] == "isotonic" and probabilities(found, probe) == pytest.approx(fitted.predict(probe))
    assert fit_calibration(scores[:999], incorrect[:999], "auto")["method"] == "platt"


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_score_that_falls_gives_everybody_the_base_rate_and_says_so(method):
    scores, incorrect = scored()
    found = fit_calibration(-scores, incorrect, method)
    if method == "platt":
        assert "base rate" in found["note"]
        assert probabilities(found, np.array([-5.0, 0.0, 5.0])) == pytest.approx([incorrect.mean()] * 3)
    flat = fit_calibration(np.zeros(len(incorrect)), incorrect, method)
    assert "base rate" in flat["note"]
    assert probabilities(flat, np.array([-5.0, 0.0, 5.0])) == pytest.approx([incorrect.mean()] * 3)


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_probability_never_falls_as_the_score_rises(method):
    found = fit_calibration(*scored(seed=3), method)
    assert np.all(np.diff(probabilities(found, np.linspace(-20, 20, 1001))) >= 0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_the_threshold_is_the_best_of_all_that_part_the_scores(seed, wanted):
    scores, incorrect = scored(60, seed)
    distinct = np.unique(scores)
    every = [(a + b) / 2 for a, b in itertools.pairwise(distinct)]
    flagged = {threshold: scores > threshold for threshold in every}
    recall = {t: incorrect[f].sum() / incorrect.sum() for t, f in flagged.items()}
    rate = {t: f.mean() for t, f in flagged.items()}
    for kind, values, pick in (("recall", recall, max), ("flag_rate", rate, min)):
        good = [t for t, v in values.items() if (v <= wanted if kind == "flag_rate" else v >= wanted - 1e-12)]
        threshold, said = choose_threshold(scores, incorrect, Target(kind, wanted))
        assert said["reached"] == bool(good)
        if good:
            assert threshold == pytest.approx(pick(good))
        assert said["value"] == pytest.approx(values[min(values, key=lambda t: abs(t - threshold))])


def test_a_target_that_cannot_be_reached_is_said_and_the_nearest_is_taken():
    incorrect = np.array([True, False] * 10)
    scores = np.where(np.arange(20) < 4, 0.0, 1.0)  # two of ten incorrect ones never fire
    threshold, said = choose_threshold(scores, incorrect, Target("recall", 0.9))
    assert (threshold, said["reached"], said["value"]) == (0.5, False, 0.8)
    threshold, said = choose_threshold(scores, incorrect, Target("precision", 0.9))
    assert (threshold, said["reached"], said["value"]) == (0.5, False, 0.5)
    threshold, said = choose_threshold(scores, incorrect, Target("flag_rate", 0.1))
    assert (threshold, said["reached"], said["value"]) == (0.5, False, 0.8)
    threshold, said = choose_threshold(np.zeros(20), incorrect, Target("recall", 0.1))
    assert (threshold, said["reached"], said["value"]) == (0.0, False, 0.0)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("wanted", [0.3, 0.6, 0.9])
def test_a_precision_is_reached_by_its_lower_bound_at_one_of_nine_flag_rates(seed, wanted):
    rng = np.random.default_rng(seed)
    incorrect = rng.random(97) < 0.45
    scores = rng.normal(size=97) + 2 * incorrect
    bounds = {}
    for share in np.arange(1, 10) / 10:
        flagged = np.argsort(-scores)[: int(share * 97 + 1e-9)]
        hits = int(incorrect[flagged].sum())
        test = binomtest(hits, len(flagged), alternative="greater")
        bounds[scores[flagged].min()] = test.proportion_ci(1 - 0.05 / 9, method="exact").low
    threshold, said = choose_threshold(scores, incorrect, Target("precision", wanted))
    lowest = scores[scores > threshold].min()
    good = [score for score, bound in bounds.items() if bound >= wanted]
    assert said["reached"] == bool(good) and said["low"] == pytest.approx(bounds[lowest])
    assert lowest == (min(good) if good else max(bounds, key=bounds.get))
    assert said["low"] <= wilson_interval(int(incorrect[scores > threshold].sum()), int((scores > threshold).sum()))[0]


@pytest.mark.parametrize("shift", [0.5, 1.2, 2.5])
def test_a_promised_precision_is_kept_on_all_but_a_few_draws(shift):
    """Scores of 97 texts; the true precision at a threshold follows from the two normal distributions."""
    broken = promised = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        incorrect = rng.random(97) < 0.45
        scores = rng.normal(size=97) + shift * incorrect
        threshold, said = choose_threshold(scores, incorrect, Target("precision", 0.7))
        flagged = 0.45 * norm.sf(threshold - shift), 0.55 * norm.sf(threshold)
        promised += said["reached"]
        broken += said["reached"] and flagged[0] / sum(flagged) < 0.7
    assert broken <= 300 * 0.05 and promised >= (250 if shift > 2 else 0)


def test_the_band_holds_at_most_its_share():
    """The band holds at most its share, half on each side, and equal scores together."""
    scores = np.arange(100.0)
    assert abstain_band(scores, 49.5, 0.1) == {"low": 44.5, "high": 54.5}
    assert abstain_band(scores, 49.5, 0.0) is None and abstain_band(scores, 49.5, 0.01) is None
    assert abstain_band(scores, 1.5, 0.1) == {"low": -0.5, "high": 6.5}
    silent = np.concatenate([np.zeros(60), np.arange(1.0, 41.0)])
    assert abstain_band(silent, 0.5, 0.1) == {"low": 0.5, "high": 5.5}  # not the sixty that never fire
    for share in (0.05, 0.2, 1.0):
        band = abstain_band(silent, 20.5, share)
        assert ((silent >= band["low"]) & (silent <= band["high"])).mean() <= share


@pytest.mark.parametrize("text", ["recall", "recall=", "recall=0", "recall=1.5", "recall=nan", "f1=0.5", "=0.5", ""])
def test_a_wrong_target_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=rf"target is '{text}'\n.*recall=0\.8"):
        Target.parse(text)


def test_one_label_alone_is_refused():
    with pytest.raises(ConfigError, match=r" 3 texts .*\bincorrect ones.*\n"):
        choose_threshold(np.arange(3.0), np.ones(3, dtype=bool), Target("recall", 0.8))
    with pytest.raises(ConfigError, match=r" 3 texts .*\bcorrect ones.*\n"):
        fit_calibration(np.arange(3.0), np.zeros(3, dtype=bool), "platt")


def test_the_calibration_error_is_the_mean_distance_of_the_groups():
    rng = np.random.default_rng(1)
    probability = rng.random(400)
    incorrect = rng.random(400) < probability**2
    found = calibration_error(probability, incorrect, seed=0)
    observed, predicted = calibration_curve(incorrect, probability, n_bins=10, strategy="quantile")
    assert found["ece"] == pytest.approx(np.mean(np.abs(observed - predicted)), abs=1e-3)
    assert found["brier"] == pytest.approx(np.mean((probability - incorrect) ** 2))
    assert found["ece"] > found["ece_by_chance"]["q95"]
    drawn = rng.random(400) < probability
    assert calibration_error(probability, drawn, seed=0)["ece"] < found["ece_by_chance"]["q95"] * 1.5


def test_equal_probabilities_are_one_group():
    """Equal probabilities are one group, and so what is right on the whole has no error."""
    found = calibration_error(np.full(100, 0.3), np.arange(100) < 30, seed=0)
    assert found["ece"] == pytest.approx(0) and [group["n"] for group in found["groups"]] == [100]


def test_whether_a_target_was_met_is_read_off_the_interval():
    def met(kind: str, wanted: float, n_flagged_incorrect: int, n_flagged_correct: int) -> str:
        incorrect = np.arange(100) < 50
        flagged = np.zeros(100, dtype=bool)
        flagged[:n_flagged_incorrect] = flagged[50 : 50 + n_flagged_correct] = True
        said = outcome(Target(kind, wanted), flagged, incorrect)
        if said["of"]:
            assert (said["low"], said["high"]) == wilson_interval(said["count"], said["of"])
        return said["met"]

    assert met("recall", 0.8, 40, 9) == "met" and met("recall", 0.8, 37, 0) == "met within its interval"
    assert met("recall", 0.8, 20, 0) == "not met"
    assert met("precision", 0.8, 40, 10) == "met" and met("precision", 0.8, 20, 20) == "not met"
    assert met("precision", 0.8, 0, 0) == "not met"
    assert met("flag_rate", 0.1, 5, 5) == "met" and met("flag_rate", 0.1, 7, 5) == "met within its interval"
    assert met("flag_rate", 0.1, 50, 50) == "not met"


def test_the_routes_divide_the_texts():
    incorrect = np.array([True, False, True, True])
    found = routes(["proceed", "proceed", "verify", "verify"], incorrect)
    assert [found[name]["share"] for name in found] == [0.5, 0.5, 0.0]
    assert found["proceed"]["error_rate"]["value"] == 0.5 and found["abstain"]["error_rate"]["value"] is None


def test_labels_may_be_booleans_or_0_and_1_and_nothing_else():
    scores, incorrect = scored()
    target = Target("recall", 0.8)
    for labels in (incorrect.astype(int), incorrect.tolist(), incorrect.astype(float)):
        assert choose_threshold(scores, labels, target) == choose_threshold(scores, incorrect, target)
        for method in ("platt", "isotonic"):
            assert fit_calibration(scores, labels, method) == fit_calibration(scores, incorrect, method)
    for labels, message in (
        (incorrect + 1, "a label is 2"),
        (["correct"] * 200, "a label is 'correct'"),
        (np.where(incorrect, 1.0, np.nan), "a label is nan"),
        (incorrect[:9], r" 200 texts.*shape \[9\]"),
    ):
        with pytest.raises(ConfigError, match=message + r"[\s\S]*\nGive "):
            choose_threshold(scores, labels, target)
        with pytest.raises(ConfigError, match=message + r"[\s\S]*\nGive "):
            fit_calibration(scores, labels, "platt")
