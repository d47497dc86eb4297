"""Covers what a text's wording tells, and what a score adds to covariates, against scikit-learn and statsmodels."""

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union

from common.evaluation import bootstrap, text_score
from common.evaluation.difficulty import beyond_difficulty, partial_z
from common.evaluation.text_score import TextScores
from common.handoffs.score_verdicts import DifficultyVerdict

SIZES = {"learn": 300, "read": 250}
N = sum(SIZES.values())
LEARN = np.arange(N) < SIZES["learn"]


def some_texts(seed: int, n: int = 120) -> tuple[list[str], np.ndarray]:
    """Sentences in which one word speaks for a failure, and labels."""
    rng = np.random.default_rng(seed)
    incorrect = rng.random(n) < 0.5
    words = np.array(["list", "sum", "string", "sorted", "tuple", "count", "first", "second"])
    texts = [
        " ".join([*rng.choice(words, 4), "matrix" if rng.random() < 0.3 + 0.4 * bad else "number"]) for bad in incorrect
    ]
    return texts, incorrect


def test_the_score_of_a_text_is_that_of_scikit_learns_pipeline():
    texts, incorrect = some_texts(0)
    own = np.arange(len(texts)) < 90
    scores = TextScores(texts, incorrect, seed=3)
    union = make_union(TfidfVectorizer(), TfidfVectorizer(analyzer="char", ngram_range=(2, 4)))
    model = make_pipeline(union, LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=3)
    grid = {"logisticregression__C": text_score.STRENGTHS}
    first = np.array(texts, dtype=object)[own]
    search = GridSearchCV(model, grid, scoring="roc_auc", cv=folds).fit(first, incorrect[own])
    strength = scores.strength(own)
    assert strength == search.best_params_["logisticregression__C"]
    assert scores.fitted_on(own, strength) == pytest.approx(search.decision_function(texts), abs=1e-4)
    outside = cross_val_predict(search.best_estimator_, first, incorrect[own], cv=folds, method="decision_function")
    crossed = scores.cross_fitted(own, strength)
    assert crossed[own] == pytest.approx(outside, abs=1e-4)
    assert crossed[~own] == pytest.approx(search.decision_function(texts)[~own], abs=1e-4)


def some_covariates(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Two covariates that tell the label, one that never varies; a hidden quantity besides; and labels."""
    rng = np.random.default_rng(seed)
    length, complexity, hidden = rng.normal(size=N), rng.integers(1, 7, N).astype(float), rng.normal(size=N)
    positive = rng.random(N) < 1 / (1 + np.exp(-(0.8 * length + 0.4 * (complexity - 3.5) + hidden)))
    return {"length": length, "complexity": complexity, "constant": np.ones(N)}, hidden, positive


def test_the_gain_is_that_of_two_regressions_fitted_by_statsmodels():
    import statsmodels.api as sm  # takes seconds, and one test needs it

    covariates, hidden, positive = some_covariates(0)
    draws = bootstrap.draws_by_label(positive[~LEARN], 100, 1)
    found = beyond_difficulty(covariates, hidden, positive, LEARN, ~LEARN, draws)
    alone = sm.add_constant(np.column_stack([covariates["length"], covariates["complexity"]]))
    odds = []
    for design in (alone, np.column_stack([alone, hidden])):
        fitted = sm.Logit(positive[LEARN], design[LEARN]).fit(disp=0)
        odds.append(design[~LEARN] @ fitted.params)
    truth = positive[~LEARN]
    areas = [sk.roc_auc_score(truth, values) for values in odds]
    assert [found.auroc_of_covariates.value, found.auroc_with_score.value] == pytest.approx(areas)
    resampled = []
    for drawn in draws:
        rows = np.repeat(np.arange(len(truth)), drawn.astype(int))
        one, both = (sk.roc_auc_score(truth[rows], values[rows]) for values in odds)
        resampled.append(both - one)
    assert found.gain.value == pytest.approx(areas[1] - areas[0])
    assert [found.gain.low, found.gain.high] == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist())
    fitted = sm.Logit(truth, np.column_stack([alone, hidden])[~LEARN]).fit(disp=0)
    assert found.partial_z == pytest.approx(fitted.tvalues[-1], rel=1e-5)
    assert found.verdict is DifficultyVerdict.BEYOND and found.covariates == ["length", "complexity"]


def test_a_score_that_is_a_sum_of_covariates_adds_nothing():
    covariates, _, positive = some_covariates(1)
    draws = bootstrap.draws_by_label(positive[~LEARN], 100, 1)
    found = beyond_difficulty(
        covariates, covariates["length"] + covariates["complexity"], positive, LEARN, ~LEARN, draws
    )
    assert found.verdict is DifficultyVerdict.NOT_BEYOND and found.partial_z is None
    assert found.gain.value == pytest.approx(0, abs=1e-9)


def test_a_dead_score_adds_nothing_and_has_no_z():
    covariates, _, positive = some_covariates(1)
    draws = bootstrap.draws_by_label(positive[~LEARN], 100, 1)
    found = beyond_difficulty(covariates, np.zeros(N), positive, LEARN, ~LEARN, draws)
    assert found.gain.value == found.gain.low == found.gain.high == 0 and found.partial_z is None


def test_a_score_that_parts_the_labels_has_a_gain_and_no_z():
    covariates, _, positive = some_covariates(2)
    draws = bootstrap.draws_by_label(positive[~LEARN], 100, 1)
    found = beyond_difficulty(covariates, positive.astype(float), positive, LEARN, ~LEARN, draws)
    assert found.auroc_with_score.value == 1 and found.partial_z is None
    assert found.verdict is DifficultyVerdict.BEYOND


def test_without_covariates_the_gain_is_over_chance():
    _, hidden, positive = some_covariates(0)
    draws = bootstrap.draws_by_label(positive[~LEARN], 100, 1)
    found = beyond_difficulty({}, hidden, positive, LEARN, ~LEARN, draws)
    assert found.auroc_of_covariates.value == 0.5 and found.covariates == []
    assert found.gain.value == pytest.approx(sk.roc_auc_score(positive[~LEARN], hidden[~LEARN]) - 0.5)


def test_the_partial_z_is_normal_where_the_score_says_nothing_more():
    found = []
    for seed in range(60):
        covariates, _, positive = some_covariates(seed)
        score = covariates["length"] + np.random.default_rng([seed, 1]).normal(size=N)
        found.append(partial_z(np.column_stack([*covariates.values(), score]), positive))
    assert np.mean(np.abs(np.array(found)) > 1.96) < 0.15 and abs(np.mean(found)) < 0.5


def test_a_fitted_score_enters_by_its_out_of_fold_values():
    """In-sample values of noise look like knowledge: the regression then trusts them, and loses by it."""
    covariates, _, positive = some_covariates(3)
    rng = np.random.default_rng(10)
    own, noise = positive.astype(float), rng.normal(size=N)
    overfitted = np.where(LEARN, own + 0.5 * noise, noise)
    draws = bootstrap.draws_by_label(positive[~LEARN], 100, 1)
    spoilt = beyond_difficulty(covariates, overfitted, positive, LEARN, ~LEARN, draws)
    honest = beyond_difficulty(covariates, noise, positive, LEARN, ~LEARN, draws)
    assert spoilt.gain.high < 0 and honest.gain.value > spoilt.gain.value
