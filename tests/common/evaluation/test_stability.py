"""Covers repeated selections: the draws, that they choose as phase 2 does, what is stable, and the time they take."""

import time

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

from common.evaluation.separation import layer_statistics
from common.evaluation.stability import STATISTIC, Selections, redrawn
from phase2_sae_analysis.selection import DIRECTIONS, best

N, N_SELECTED = 240, 200


def some_activations(seed: int, d_sae: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(N, d_sae)) - 0.8, 0).astype(np.float32)


def some_labels(seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 1]).random(N) < 0.45


def some_draws(n_seeds: int = 4) -> np.ndarray:
    rng = np.random.default_rng(5)
    return redrawn(rng.integers(1, 8, N).astype(float), np.arange(N), N_SELECTED, range(n_seeds))


def test_a_draw_has_the_wanted_size_follows_complexity_and_parts_no_group():
    rng = np.random.default_rng(0)
    complexity, group = rng.integers(1, 9, 586).astype(float), np.arange(586)
    group[rng.permutation(586)[:60]] = np.repeat(np.arange(20), 3) + 1000
    draws = redrawn(complexity, group, 489, range(30))
    assert np.abs(draws.sum(axis=1) - 489).max() <= 20 and draws.sum(axis=1).mean() == pytest.approx(489, abs=5)
    assert np.abs(redrawn(complexity, np.arange(586), 489, range(30)).sum(axis=1) - 489).max() <= 1
    for value in np.unique(complexity):
        own = complexity == value
        assert draws[:, own].mean() == pytest.approx(489 / 586, abs=0.03)
    for name in np.unique(group):
        assert (draws[:, group == name].min(axis=1) == draws[:, group == name].max(axis=1)).all()
    assert (draws.mean(axis=0) > 0.5).all() and not (draws[0] == draws[1]).all()
    assert (draws == redrawn(complexity, group, 489, range(30))).all()


def test_every_draw_chooses_the_latent_that_phase_2_would_choose():
    incorrect, draws = some_labels(0), some_draws()
    layers = {layer: some_activations(layer) for layer in (2, 5)}
    kept = np.arange(40) % 5 != 0
    selections = Selections(incorrect, draws)
    for layer, activations in layers.items():
        selections.add(layer, activations, kept)
    assert list(STATISTIC) == list(DIRECTIONS) and all(STATISTIC[name] == DIRECTIONS[name][:2] for name in STATISTIC)
    for name in STATISTIC:
        found = selections.stability(name, 2, 0)
        for draw, chosen in zip(draws, found.chosen, strict=True):
            parts = []
            for layer, activations in layers.items():
                columns = layer_statistics(torch.from_numpy(activations[draw]), 1.0 - incorrect[draw])
                place = {"layer": np.full(40, layer), "latent": np.arange(40), "kept": kept}
                parts.append(columns | place)
            joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
            (row,) = best(joined, name, 1)
            assert (chosen.layer, chosen.latent) == (joined["layer"][row], joined["latent"][row])
            values = layers[chosen.layer][~draw, chosen.latent]
            truth = incorrect[~draw] == name.endswith("_incorrect")
            assert chosen.auroc.value == pytest.approx(roc_auc_score(truth, values))
        areas = [chosen.auroc.value for chosen in found.chosen]
        quantiles = np.quantile(areas, [0.025, 0.975])
        assert [found.auroc.value, found.auroc.low, found.auroc.high] == pytest.approx([np.mean(areas), *quantiles])
        assert found.same_layer == sum(chosen.layer == 2 for chosen in found.chosen)
        assert found.selected_on + found.read_on == N and abs(found.selected_on - N_SELECTED) <= 2


def test_the_statistic_of_all_draws_is_scipys():
    incorrect, draws, activations = some_labels(1), some_draws(), some_activations(3)
    t, separation = Selections(incorrect, draws)._statistics(activations.astype(np.float64))
    for row, draw in enumerate(draws):
        bad, good = activations[draw & incorrect], activations[draw & ~incorrect]
        assert t[row] == pytest.approx(ttest_ind(bad.astype(float), good.astype(float), equal_var=False).statistic)
        assert separation[row] == pytest.approx((good > 0).mean(axis=0) - (bad > 0).mean(axis=0))


def test_a_planted_latent_is_stable_and_noise_is_not():
    incorrect, draws, activations = some_labels(2), some_draws(10), some_activations(4)
    planted = activations.copy()
    planted[:, 7] = np.maximum(np.random.default_rng(8).normal(size=N) + 2 * incorrect, 0)
    every = np.ones(40, dtype=bool)
    for values, (low, high) in ((planted, (10, 10)), (activations, (0, 9))):
        selections = Selections(incorrect, draws)
        selections.add(3, values, every)
        found = selections.stability("predict_incorrect", 3, 7)
        assert low <= found.same_latent <= high and found.same_layer == 10
        assert (found.auroc.value > 0.85) == (low == 10)


def test_a_draw_that_finds_no_latent_counts_as_another_choice():
    incorrect, draws = some_labels(3), some_draws()
    selections = Selections(incorrect, draws)
    selections.add(0, np.zeros((N, 5), dtype=np.float32), np.ones(5, dtype=bool))
    found = selections.stability("predict_correct", 0, 1)
    assert (found.same_latent, found.same_layer, found.auroc.value) == (0, 0, None)
    assert [chosen.latent for chosen in found.chosen] == [None] * 4
    selections = Selections(np.arange(N) == 0, draws)  # one problem of a label: no draw has a variance
    selections.add(0, some_activations(0), np.ones(40, dtype=bool))
    assert selections.stability("steer_incorrect", 0, 1).chosen == found.chosen


def test_six_layers_of_6144_latents_take_a_few_seconds():
    rng = np.random.default_rng(0)
    incorrect = rng.random(586) < 0.45
    draws = redrawn(rng.integers(1, 9, 586).astype(float), np.arange(586), 489, range(10))
    selections = Selections(incorrect, draws)
    activations = np.where(rng.random((586, 6144)) < 0.01, 1, 0).astype(np.float32)
    began = time.process_time()
    for layer in range(6):
        selections.add(layer, activations, np.ones(6144, dtype=bool))
    assert time.process_time() - began < 8
