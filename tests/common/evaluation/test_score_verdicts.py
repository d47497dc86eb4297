"""Covers verdicts of three outcomes: their rules, their power, and paired differences against scikit-learn."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as sk

from common.evaluation import bootstrap, differences, score_verdicts
from common.evaluation.delong import delong_variance
from common.handoffs.estimates import UNDEFINED, Interval
from common.handoffs.score_verdicts import AlwaysVerdict, DifficultyVerdict, RankingVerdict


def drawn_scores(seed: int, auroc: float, n_positive: int, n_negative: int) -> tuple[np.ndarray, np.ndarray]:
    """Two normal distributions whose AUROC is the one given."""
    positive = np.arange(n_positive + n_negative) < n_positive
    rng = np.random.default_rng(seed)
    return rng.normal(size=len(positive)) + np.sqrt(2) * norm.ppf(auroc) * positive, positive


@pytest.mark.parametrize(
    ("area", "random", "verdict"),
    [
        (Interval(0.7, 0.6, 0.8), None, RankingVerdict.RANKS),
        (Interval(0.7, 0.6, 0.8), 0.69, RankingVerdict.RANKS),
        (Interval(0.7, 0.6, 0.8), 0.7, RankingVerdict.LIKE_RANDOM),
        (Interval(0.53, 0.501, 0.549), 0.52, RankingVerdict.RANKS),
        (Interval(0.52, 0.5, 0.549), 0.4, RankingVerdict.DOES_NOT_RANK),
        (Interval(0.5, 0.5, 0.5), None, RankingVerdict.DOES_NOT_RANK),
        (Interval(0.3, 0.2, 0.4), None, RankingVerdict.DOES_NOT_RANK),
        (Interval(0.52, 0.49, 0.55), None, RankingVerdict.CANNOT_TELL),
        (Interval(0.6, 0.45, 0.75), 0.5, RankingVerdict.CANNOT_TELL),
        (UNDEFINED, None, RankingVerdict.CANNOT_TELL),
    ],
)
def test_a_score_ranks_like_random_or_not_or_one_cannot_tell(area, random, verdict):
    assert score_verdicts.ranking(area, random) is verdict


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (Interval(0.03, 0.001, 0.06), DifficultyVerdict.BEYOND),
        (Interval(0.03, 0.0, 0.06), DifficultyVerdict.CANNOT_TELL),
        (Interval(0.0, -0.01, 0.019), DifficultyVerdict.NOT_BEYOND),
        (Interval(-0.05, -0.08, -0.02), DifficultyVerdict.NOT_BEYOND),
        (UNDEFINED, DifficultyVerdict.CANNOT_TELL),
    ],
)
def test_a_gain_is_beyond_difficulty_or_negligible_or_one_cannot_tell(gain, verdict):
    assert score_verdicts.beyond_difficulty(gain) is verdict


def test_a_paired_difference_is_that_of_scikit_learn_on_every_resample():
    values, positive = drawn_scores(0, 0.7, 40, 50)
    other = np.round(values + np.random.default_rng(1).normal(size=90))  # with ties
    draws = bootstrap.draws_by_label(positive, 200, 2)
    found = differences.auroc(values, positive, draws).minus(differences.auroc(other, positive, draws))

    def gain(rows: np.ndarray) -> float:
        return sk.roc_auc_score(positive[rows], values[rows]) - sk.roc_auc_score(positive[rows], other[rows])

    resampled = [gain(np.repeat(np.arange(90), drawn.astype(int))) for drawn in draws]
    assert found.value == pytest.approx(gain(np.arange(90)))
    assert [found.low, found.high] == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist())


def test_f1_is_compared_with_always_answering_on_the_same_resamples():
    positive = np.arange(300) < 120
    draws = bootstrap.draws_by_label(positive, 200, 0)
    rng = np.random.default_rng(3)
    predicted = rng.random(300) < np.where(positive, 0.8, 0.2)
    found = score_verdicts.against_always(predicted, positive, draws)
    resampled = []
    for drawn in draws:
        rows = np.repeat(np.arange(300), drawn.astype(int))
        always = sk.f1_score(positive[rows], np.ones(300, bool))
        resampled.append(sk.f1_score(positive[rows], predicted[rows]) - always)
    assert found.verdict is AlwaysVerdict.BETTER
    assert found.f1_difference.value == pytest.approx(sk.f1_score(positive, predicted) - 240 / 420)
    ends = [found.f1_difference.low, found.f1_difference.high]
    assert ends == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist())
    assert score_verdicts.against_always(~predicted, positive, draws).verdict is AlwaysVerdict.WORSE
    assert score_verdicts.against_always(rng.random(300) < 0.9, positive, draws).verdict is not AlwaysVerdict.BETTER
    same = score_verdicts.against_always(np.ones(300, bool), positive, draws)
    assert same.verdict is AlwaysVerdict.CANNOT_TELL and same.f1_difference == Interval(0, 0, 0)


@pytest.mark.parametrize(
    ("n_positive", "n_negative", "random_q95"), [(272, 116, None), (40, 60, 0.58), (184, 204, 0.58), (40, 60, None)]
)
def test_four_of_five_draws_of_the_smallest_area_are_called_ranks(n_positive, n_negative, random_q95):
    power = score_verdicts.ranking_power(n_positive, n_negative, random_q95)
    called, n = 0, 200
    for seed in range(n):
        values, positive = drawn_scores(seed, power.smallest_auroc, n_positive, n_negative)
        draws = bootstrap.draws_by_label(positive, 250, seed)
        area = differences.auroc(values, positive, draws).interval
        called += score_verdicts.ranking(area, random_q95) is RankingVerdict.RANKS
    assert called / n == pytest.approx(0.8, abs=3 * np.sqrt(0.16 / n) + 0.01)
    assert f"an AUROC of {power.smallest_auroc:.2f} would have been called “ranks” in 80 % of draws" in power.words


def test_what_too_few_problems_can_show_is_said_in_words():
    for power in (score_verdicts.ranking_power(0, 5), score_verdicts.ranking_power(20, 20, random_q95=0.999)):
        assert power.smallest_auroc is None and "no AUROC would have been called" in power.words


def test_the_standard_error_is_that_of_hanley_and_mcneil():
    """Their own example: 51 abnormal and 58 normal images, area 0.893, standard error 0.032."""
    assert score_verdicts.standard_error(0.893, 51, 58) == pytest.approx(0.032, abs=1e-3)
    values, positive = drawn_scores(0, 0.7, 200, 300)
    area, variance = delong_variance(values, positive)
    assert score_verdicts.standard_error(area, 200, 300) == pytest.approx(np.sqrt(variance), rel=0.1)
