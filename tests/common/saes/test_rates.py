"""Covers common/saes/rates.py: shares of all documents, and the limit above which a latent is left out."""

import dataclasses

import numpy as np
import pytest
import torch
from planted_saes import planted

from common.evaluation.statistics import wilson_interval
from common.saes.rates import DOCUMENTS_AT_ONCE, firing_rates, settled_limit, undecided

N, D, N_LATENTS = 2 * DOCUMENTS_AT_ONCE + 1, 8, 40


@pytest.fixture
def whole_numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations, encoder and thresholds in whole numbers, whose products are exact, so that many lie on the gate."""
    rng = np.random.default_rng(0)
    return rng.integers(-3, 4, (N, D)), rng.integers(-2, 3, (D, N_LATENTS)), rng.integers(0, 12, N_LATENTS)


def test_rates_are_shares_of_the_documents_above_the_threshold(whole_numbers):
    x, W_enc, threshold = whole_numbers
    sae = planted(torch.from_numpy(W_enc).float(), threshold=torch.from_numpy(threshold).float())
    expected = [sum(int(x[i] @ W_enc[:, j]) > threshold[j] for i in range(N)) / N for j in range(N_LATENTS)]
    rates = firing_rates(sae, torch.from_numpy(x).float())
    assert rates.dtype == np.float64 and rates.tolist() == expected
    assert {0.0, 1.0}.isdisjoint(expected) and (x @ W_enc == threshold).any()


def test_of_the_largest_latents_alone_those_count_that_fire(whole_numbers):
    x, W_enc, _ = whole_numbers
    W_enc = W_enc * N_LATENTS + np.eye(D, N_LATENTS, dtype=int)  # few ties
    sae = dataclasses.replace(planted(torch.from_numpy(W_enc).float()), top_k=3)
    rates = firing_rates(sae, torch.from_numpy(x).float())
    assert rates.sum() <= 3 and rates.sum() == pytest.approx(np.minimum((x @ W_enc > 0).sum(1), 3).mean())


def test_the_automatic_limit_follows_how_dense_the_dictionary_is():
    gemma_scope, dense = np.full(100, 0.0045), np.full(100, 0.022)
    assert settled_limit("auto", gemma_scope) == 0.02 and settled_limit("auto", 0 * dense) == 0.02
    assert settled_limit("auto", dense) == pytest.approx(4.4 * 0.022)
    assert settled_limit("auto", np.full(100, 0.5)) == 1.0
    assert settled_limit(0.02, dense) == 0.02 and settled_limit(1, dense) == 1.0


@pytest.mark.parametrize("limit", [0.01, 0.02, 0.0968, 0.5])
@pytest.mark.parametrize("n", [100, 1000])
def test_undecided_latents_are_those_whose_wilson_interval_holds_the_limit(limit, n):
    counts = np.arange(0, n + 1, max(1, n // 200))
    intervals = [wilson_interval(int(count), n) for count in counts]
    expected = [low <= limit <= high for low, high in intervals]
    assert undecided(counts / n, n, limit).tolist() == expected and 0 < sum(expected) < len(counts)


def test_without_a_limit_nothing_is_undecided():
    assert not undecided(np.array([0.0, 0.999, 1.0]), 1000, 1.0).any()
