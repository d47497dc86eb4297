"""Covers common/evaluation/permutation.py: against a brute-force loop, and its false positives under the null."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, ttest_ind

from common.evaluation.permutation import RELATIVE_ERROR, NullMaximum, family_wise_p, permuted_labels
from common.evaluation.separation import layer_statistics
from phase2_sae_analysis.selection import add_family_statistics


def sparse_acts(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Latents that fire on few and on many problems, two that never vary, and one with a large mean."""
    acts = np.maximum(rng.normal(size=(n, d)) - rng.uniform(-1, 2.2, d), 0) * rng.lognormal(size=d)
    acts[:, 0], acts[:, 1], acts[:, 2] = 0, 2.5, 500 + 0.1 * rng.random(n)
    return acts.astype(np.float32)


def labels_of(rng: np.random.Generator, n: int, n_correct: int) -> np.ndarray:
    return rng.permutation(np.arange(n) < n_correct).astype(float)


@pytest.mark.parametrize(("n", "n_correct"), [(60, 37), (60, 30), (45, 10), (45, 35)])
def test_the_largest_t_of_every_permutation_is_scipy_s(n, n_correct):
    """The largest t of every permutation agrees with a loop of scipy's tests."""
    rng = np.random.default_rng(n_correct)
    layers, labels = [sparse_acts(rng, n, 50) for _ in range(2)], labels_of(rng, n, n_correct)
    null = NullMaximum(labels, 100, seed=3)
    for acts in layers:
        null.add(torch.from_numpy(acts))
    together = np.concatenate([acts[:, 2:] for acts in layers], axis=1).astype(float)
    together = together[:, together.std(0) > 0]
    brute = []
    for row in permuted_labels(labels, 100, seed=3).numpy():
        t = ttest_ind(together[row == 0], together[row == 1], equal_var=False, axis=0).statistic
        brute.append(np.abs(t).max())
    np.testing.assert_allclose(null.max_abs_t, brute, rtol=RELATIVE_ERROR)

    observed = np.abs(ttest_ind(together[labels == 0], together[labels == 1], equal_var=False, axis=0).statistic)
    by_hand = [(1 + sum(largest >= t * (1 - RELATIVE_ERROR) for largest in brute)) / 101 for t in observed]
    np.testing.assert_allclose(family_wise_p(observed, null.max_abs_t), by_hand)


def test_pass_rates_are_permuted_like_labels():
    rng = np.random.default_rng(5)
    acts, rate = torch.from_numpy(sparse_acts(rng, 80, 40)), rng.integers(0, 6, 80) / 5
    null = NullMaximum(rate, 100, seed=0)
    null.add(acts)
    rows = permuted_labels(rate, 100, seed=0).double().numpy()
    brute = [np.abs(layer_statistics(acts, row)["t"]).max() for row in rows]
    np.testing.assert_allclose(null.max_abs_t, brute, rtol=RELATIVE_ERROR)


def test_rounding_stays_far_below_what_is_allowed_for():
    """Rounding stays far below what is allowed for at real sizes and large t."""
    rng = np.random.default_rng(6)
    n, labels = 489, labels_of(rng, 489, 300)
    acts = sparse_acts(rng, n, 300)
    acts[:, 3] = 5 * (1 - labels) + 2 * rng.random(n)
    null = NullMaximum(labels, 30, seed=1)
    null.labels[0] = torch.from_numpy(labels)  # the error of t grows with t^2 / n
    null.add(torch.from_numpy(acts))
    rows = null.labels.double().numpy()
    exact = np.array([np.abs(layer_statistics(torch.from_numpy(acts), row)["t"]).max() for row in rows])
    assert exact[0] > 80
    np.testing.assert_allclose(null.max_abs_t, exact, rtol=RELATIVE_ERROR / 5)


def test_permutations_keep_the_labels_and_depend_on_the_seed_alone():
    labels = labels_of(np.random.default_rng(0), 50, 20)
    rows = permuted_labels(labels, 200, seed=7)
    assert (rows.sum(1) == 20).all() and len(rows.unique(dim=0)) == 200
    assert torch.equal(rows, permuted_labels(labels, 200, seed=7))
    assert not torch.equal(rows, permuted_labels(labels, 200, seed=8))


def test_latents_left_out_of_the_family_do_not_raise_the_maximum():
    rng = np.random.default_rng(2)
    acts, labels = sparse_acts(rng, 60, 40), labels_of(rng, 60, 30)
    some, all_ = NullMaximum(labels, 100, 0), NullMaximum(labels, 100, 0)
    included = np.arange(40) % 2 == 0
    some.add(torch.from_numpy(acts), included)
    all_.add(torch.from_numpy(acts[:, included]))
    np.testing.assert_allclose(some.max_abs_t, all_.max_abs_t, rtol=1e-6)
    assert some.n_latents == all_.n_latents < included.sum()  # those that never vary cannot be extreme


def test_the_family_wise_p_counts_equal_maxima_and_is_never_zero():
    maxima = np.array([2.0, 3.0, 3.0, 4.0])
    found = family_wise_p(np.array([1.0, 3.0, 4.0, 5.0, np.inf]), maxima)
    np.testing.assert_allclose(found, [1.0, 4 / 5, 2 / 5, 1 / 5, 1 / 5])


def test_two_hundred_null_data_sets_give_five_percent_of_false_positives():
    rng = np.random.default_rng(0)
    n_false = 0
    for _ in range(200):
        labels = labels_of(rng, 60, 35)
        null, parts = NullMaximum(labels, 199, seed=int(rng.integers(2**31))), []
        for _layer in range(2):
            acts = torch.from_numpy(sparse_acts(rng, 60, 60))
            parts.append(layer_statistics(acts, labels))
            null.add(acts)
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        columns["kept"] = np.ones(120, dtype=bool)
        add_family_statistics(columns, null.max_abs_t)
        n_false += columns["p_max"].min() <= 0.05
    assert binomtest(int(n_false), 200, 0.05).pvalue > 0.01, f"{n_false} of 200"
    assert n_false > 0
