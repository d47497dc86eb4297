"""Covers common/saes/rates.py: shares of all documents, however many are encoded together."""

import dataclasses

import numpy as np
import pytest
import torch
from planted_saes import planted

from common.saes.rates import DOCUMENTS_AT_ONCE, firing_rates

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
