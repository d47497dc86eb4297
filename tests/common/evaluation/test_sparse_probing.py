"""Covers common/evaluation/sparse_probing.py and logistic.py: against scikit-learn, under the null, and with power."""

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support import WHOLE_SWEEPS

from common.errors import ConfigError
from common.evaluation.logistic import logistic_series
from common.evaluation.separation import layer_statistics
from common.evaluation.sparse_probing import (
    Grid,
    auroc_over_folds,
    by_abs_t,
    chosen,
    fold_of,
    nested,
    t_without_fold,
)

SEED = 7
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
NULL_RUNS = 200 if WHOLE_SWEEPS else 12


def abs_welch_t(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # columns that never fire here
        return np.nan_to_num(np.abs(ttest_ind(x[y], x[~y], equal_var=False).statistic))


def sparse_acts(rng: np.random.Generator, n: int, d: int, incorrect: np.ndarray) -> np.ndarray:
    """Latents that fire on few and on many rows; of the first six, three rise and three fall with the label."""
    shift = np.zeros(d)
    shift[:6] = (0.9, -0.8, 0.7, -0.6, 0.5, -0.4)
    acts = rng.normal(size=(n, d)) + incorrect[:, None] * shift - rng.uniform(-1, 2, d)
    acts[:, 8] = -1.0  # never fires
    return np.maximum(acts, 0).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    incorrect = rng.random(160) < 0.4
    return sparse_acts(rng, 160, 60, incorrect), incorrect


def searched(x: np.ndarray, y: np.ndarray, ks: tuple[int, ...]) -> GridSearchCV:
    """What `chosen` does, by scikit-learn alone."""
    steps = make_pipeline(SelectKBest(abs_welch_t), StandardScaler(), LogisticRegression(max_iter=10_000, tol=1e-10))
    folds = StratifiedKFold(5, shuffle=True, random_state=SEED)
    grid = {"selectkbest__k": ks, "logisticregression__C": STRENGTHS}
    return GridSearchCV(steps, grid, scoring="roc_auc", cv=folds).fit(x.astype(float), y)


@pytest.mark.parametrize("shape", [(80, 1), (80, 30), (30, 80)])
def test_weights_are_those_of_scikit_learn(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    y = x[:, 0] + rng.normal(size=shape[0]) > 0.3
    weights, intercepts = logistic_series(x, y, STRENGTHS)
    for strength, own, intercept in zip(STRENGTHS, weights, intercepts, strict=True):
        found = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)
        np.testing.assert_allclose(own, found.coef_[0], atol=1e-7)
        np.testing.assert_allclose(intercept, found.intercept_[0], atol=1e-7)


@pytest.mark.filterwarnings("ignore")  # scikit-learn doubts itself there
@pytest.mark.parametrize("strength", [1e-2, 10.0, 1e4, 1e7])
@pytest.mark.parametrize("shift, size", [(0, 1), (1e6, 1), (0, 1e4)])
def test_odd_rows_of_many_columns_have_the_minimum_too(strength, shift, size):
    """Rows that are there twice, with both labels; columns far from zero; activations in the tens of thousands."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(18, 80))
    y = rng.random(27) < 0.5
    x = np.vstack([x, x[:9]]) * size + shift
    [weights], [intercept] = logistic_series(x, y, [strength])

    def loss(weights, intercept):
        odds = (x - shift) @ weights + intercept
        return weights @ weights / 2 + strength * (np.logaddexp(0, odds) - y * odds).sum()

    found = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x - shift, y)
    assert (y[:9] != y[18:]).any()
    assert loss(weights, intercept + shift * weights.sum()) <= loss(found.coef_[0], found.intercept_[0]) * (1 + 1e-7)


def test_separable_rows_have_the_penalised_minimum_too():
    x = np.linspace(-1, 1, 40)[:, None] * [1.0, 1000.0]
    weights, intercepts = logistic_series(x, x[:, 0] > 0, [1e-3, 1.0, 1e6])
    probability = 1 / (1 + np.exp(-(x @ weights.T + intercepts)))
    residual = probability - (x[:, :1] > 0)
    np.testing.assert_allclose(x.T @ residual + weights.T / [1e-3, 1.0, 1e6], 0, atol=1e-6)


def test_t_without_each_fold_is_the_layer_statistic(rows):
    x, incorrect = rows
    fold = fold_of(incorrect, SEED)
    for place, t in enumerate(t_without_fold(x, incorrect, fold)):
        own = fold != place
        expected = layer_statistics(torch.from_numpy(x[own]), 1.0 - incorrect[own])["t"]
        np.testing.assert_allclose(t, expected, rtol=1e-9, atol=1e-9)


def test_what_never_varies_has_no_t_and_what_separates_has_endless_t():
    incorrect = np.arange(40) % 2 == 0
    x = np.zeros((40, 4), dtype=np.float32)
    x[:, 1], x[:, 2], x[:, 3] = 3.3, incorrect, np.random.default_rng(0).random(40)
    t = t_without_fold(x, incorrect, fold_of(incorrect, SEED))
    assert (t[:, :2] == 0).all() and np.isposinf(t[:, 2]).all()
    assert (by_abs_t(t, 2) == [2, 3]).all()


@pytest.mark.parametrize("k", [1, 4])
def test_out_of_fold_scores_are_those_of_a_nested_search_by_scikit_learn(rows, k):
    x, incorrect = rows
    found = nested(x, incorrect, Grid((k,), STRENGTHS, SEED))
    expected = np.empty(len(x))
    for own, held_out in StratifiedKFold(5, shuffle=True, random_state=SEED).split(x, incorrect):
        expected[held_out] = searched(x[own], incorrect[own], (k,)).decision_function(x[held_out].astype(float))
    np.testing.assert_allclose(found.scores[0], expected, atol=1e-4)
    areas = [roc_auc_score(incorrect[found.fold == place], expected[found.fold == place]) for place in range(5)]
    pairs = [incorrect[found.fold == place].sum() * (~incorrect[found.fold == place]).sum() for place in range(5)]
    area = auroc_over_folds(found.scores[0], incorrect, found.fold)
    assert area.value == pytest.approx(np.average(areas, weights=pairs), abs=1e-12)


def test_the_final_probe_is_the_one_that_scikit_learn_chooses(rows):
    x, incorrect = rows
    probe, inner = chosen(x, incorrect, Grid((1, 4, 16), STRENGTHS, SEED))
    search = searched(x, incorrect, (1, 4, 16))
    assert inner == pytest.approx(search.best_score_, abs=1e-12)
    best = search.best_params_
    assert (len(probe.latents), probe.strength) == (best["selectkbest__k"], best["logisticregression__C"])
    np.testing.assert_allclose(probe.log_odds(x), search.decision_function(x.astype(float)), atol=1e-4)
    t = layer_statistics(torch.from_numpy(x), 1.0 - incorrect)["t"][probe.latents]
    assert (np.diff(np.abs(t)) <= 0).all() and (t > 0).any() and (t < 0).any(), "both signs, largest first"


def test_k_is_chosen_inside_each_fold(rows):
    x, incorrect = rows
    grid = Grid((1, 4, 16), STRENGTHS, SEED)
    found = nested(x, incorrect, grid)
    for place in range(5):
        own = found.fold == place
        row = found.inner[place].argmax()
        assert (found.of_best_k()[own] == found.scores[row, own]).all()
        probe, inner = chosen(x[~own], incorrect[~own], grid)
        assert inner == found.inner[place, row] and probe.strength == found.strengths[place, row]
        np.testing.assert_allclose(probe.log_odds(x[own]), found.of_best_k()[own], atol=1e-9)


def test_all_columns_are_an_ordinary_probe():
    rng = np.random.default_rng(1)
    incorrect = rng.random(60) < 0.5
    x = rng.normal(size=(60, 90)) + incorrect[:, None] * 0.3
    probe, _ = chosen(x, incorrect, Grid((90,), (0.1,), SEED))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-12, solver="newton-cholesky"))
    np.testing.assert_allclose(probe.log_odds(x), model.fit(x, incorrect).decision_function(x), atol=1e-6)


def test_too_few_rows_of_a_label_are_refused():
    with pytest.raises(ConfigError, match=r"^4 of 30 texts are incorrect: .* needs 5 of each label\n"):
        nested(np.zeros((30, 3)), np.arange(30) < 4, Grid())


@pytest.mark.sweep
def test_permuted_labels_have_an_auroc_of_a_half_on_average():
    """The latents of every run are the best of 300 by chance; read outside their folds they tell nothing."""
    rng = np.random.default_rng(5)
    x, areas, above = sparse_acts(rng, 200, 300, np.zeros(200, dtype=bool)), [], 0
    for _ in range(NULL_RUNS):
        incorrect = rng.permutation(np.arange(200) < 90)
        found = nested(x, incorrect, Grid((1, 8), (0.1, 1.0), SEED))
        each = [auroc_over_folds(scores, incorrect, found.fold) for scores in (*found.scores, found.of_best_k())]
        areas.append([area.known for area in each])
        above += sum(area.low is not None and area.low > 0.5 for area in each)
    error = np.std(areas, axis=0) / np.sqrt(NULL_RUNS)
    assert (np.abs(np.mean(areas, axis=0) - 0.5) <= 3.5 * error).all(), (np.mean(areas, axis=0), error)
    assert above <= 0.13 * 3 * NULL_RUNS, "8 % are said in auroc_over_folds: folds share their rows"


@pytest.mark.sweep
def test_knowledge_of_several_latents_is_found_and_not_overstated():
    """Six planted latents: the out-of-fold AUROC is, on average, that of the probe on fresh rows."""
    differences = []
    for run in range(40 if WHOLE_SWEEPS else 6):
        rng = np.random.default_rng(run)
        incorrect, fresh = rng.random(400) < 0.4, rng.random(4000) < 0.4
        both = sparse_acts(rng, 4400, 300, np.concatenate([incorrect, fresh]))
        x, new = both[:400], both[400:]
        found = nested(x, incorrect, Grid((1, 4, 16), (0.1, 1.0), SEED))
        probe, _ = chosen(x, incorrect, Grid((1, 4, 16), (0.1, 1.0), SEED))
        area = auroc_over_folds(found.of_best_k(), incorrect, found.fold)
        differences.append(area.known - roc_auc_score(fresh, probe.log_odds(new)))
        assert area.low is not None and area.low > 0.55
    assert abs(np.mean(differences)) < 0.02, np.mean(differences)
