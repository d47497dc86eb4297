"""Covers discovery.py: which latents are chosen, how they are weighed, and what the whole procedure is worth."""

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from support import WHOLE_SWEEPS

from common.errors import ConfigError
from phase4_anomaly_detection.discovery import KS, DiscoveryConfig, FeatureDiscovery, auroc_of_best_layer, contents

N, D = 200, 40
RISING, FALLING, GENERAL = [3, 11, 29], 5, 17
STRENGTHS = [10.0**k for k in range(-3, 2)]


def acts_of(rng: np.random.Generator, incorrect: np.ndarray, strengths: dict[int, float]) -> torch.Tensor:
    """Latents that fire on about a third of the texts; those in `strengths` more on what fails, or less."""
    acts = rng.normal(size=(len(incorrect), D)) - 0.5
    for latent, strength in strengths.items():
        acts[incorrect if strength > 0 else ~incorrect, latent] += abs(strength)
    acts = np.maximum(acts, 0).astype(np.float32)
    acts[:, 20] = 0.0
    return torch.from_numpy(acts)


@pytest.fixture(scope="module")
def planted() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Three latents fire more on what fails, one less, and the strongest of all fires on general text too."""
    rng = np.random.default_rng(0)
    incorrect = rng.random(N) < 0.45
    strengths = dict(zip([*RISING, GENERAL, FALLING], (1.5, 1.0, 0.8, 3.0, -2.0), strict=True))
    rates = np.full(D, 0.01)
    rates[GENERAL] = 0.5
    return acts_of(rng, incorrect, strengths), incorrect, rates


def welch(x: np.ndarray, incorrect: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(ttest_ind(x[incorrect], x[~incorrect], equal_var=False).statistic)


def best_by_sklearn(x: np.ndarray, incorrect: np.ndarray) -> tuple[float, int, float]:
    """Mean AUROC over five folds, k and C of the best regression on the latents with the largest |t|."""
    folds = list(StratifiedKFold(5, shuffle=True, random_state=42).split(x, incorrect))
    found = []
    for k in (k for k in KS if k <= x.shape[1]):
        for strength in STRENGTHS:
            areas = []
            for own, held_out in folds:
                latents = np.argsort(-np.abs(welch(x[own], incorrect[own])), kind="stable")[:k]
                scaler = StandardScaler().fit(x[own][:, latents])
                model = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
                model.fit(scaler.transform(x[own][:, latents]), incorrect[own])
                scores = model.decision_function(scaler.transform(x[held_out][:, latents]))
                areas.append(roc_auc_score(incorrect[held_out], scores))
            found.append((np.mean(areas), -k, -strength))
    area, k, strength = max(found)
    return area, -k, -strength


def test_the_probe_is_the_one_that_scikit_learn_finds(planted):
    acts, incorrect, rates = planted
    found = FeatureDiscovery().find(acts, incorrect, rates)
    usable = [latent for latent in range(D) if latent not in (GENERAL, 20)]
    x = acts.numpy()[:, usable].astype(np.float64)
    area, k, strength = best_by_sklearn(x, incorrect)
    assert (found.auroc, len(found.latents), found.strength) == (pytest.approx(area, abs=1e-6), k, strength)
    t = welch(x, incorrect)
    order = np.argsort(-np.abs(t), kind="stable")[:k]
    assert found.latents.tolist() == [usable[place] for place in order] and found.t == pytest.approx(t[order])
    scaler = StandardScaler().fit(x[:, order])
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(scaler.transform(x[:, order]), incorrect)
    assert found.weights == pytest.approx(model.coef_[0] / scaler.scale_, abs=1e-5)
    assert found.counts == {"latents": D, "not general text": D - 1, "of these not the same on all texts": D - 2}


def test_latents_of_either_sign_are_added_up_and_general_text_is_not(planted):
    acts, incorrect, rates = planted
    found = FeatureDiscovery().find(acts, incorrect, rates)
    assert {*RISING[:2], FALLING} <= {*found.latents.tolist()} and GENERAL not in found.latents
    weight = dict(zip(found.latents.tolist(), found.weights.tolist(), strict=True))
    assert weight[FALLING] < 0 < weight[RISING[0]]
    assert found.t[found.latents == FALLING] < 0
    free = FeatureDiscovery(DiscoveryConfig(general_text_limit=1)).find(acts, incorrect)
    assert free.latents[0] == GENERAL and free.general_text_rate is None
    few = FeatureDiscovery(DiscoveryConfig(top_k=2)).find(acts, incorrect, rates)
    assert len(few.latents) <= 2
    listed = contents(found)
    assert [entry["latent"] for entry in listed] == found.latents.tolist()
    assert set(listed[0]) == {"latent", "t", "weight", "general_text_rate"}


def test_ace_is_rising_latents_weighed_by_their_share_of_t(planted):
    acts, incorrect, rates = planted
    found = FeatureDiscovery(DiscoveryConfig(rule="ace")).find(acts, incorrect, rates)
    t = welch(acts.numpy().astype(np.float64), incorrect)
    t[GENERAL] = 0
    expected = [latent for latent in np.argsort(-t, kind="stable") if t[latent] >= 2]
    assert found.latents.tolist() == expected and FALLING not in expected
    assert found.weights == pytest.approx(t[expected] / t[expected].sum()) and found.strength is None
    with pytest.raises(ConfigError, match=r"--rule ace leaves out .*0\.02.*\nLeave out --general-text-limit"):
        FeatureDiscovery(DiscoveryConfig(rule="ace", general_text_limit=1)).find(acts, incorrect)
    with pytest.raises(ConfigError, match=r"t >= 2: the largest t is .*\n.*--rule ace"):
        FeatureDiscovery(DiscoveryConfig(rule="ace")).find(acts[:, [FALLING]], incorrect, rates[:1])


def test_a_filter_that_leaves_nothing_is_named(planted):
    acts, incorrect, rates = planted
    strict = FeatureDiscovery(DiscoveryConfig(general_text_limit=0.02))
    with pytest.raises(ConfigError, match=r"(?s)all 40 fire on more than 0.02.*--general-text-limit"):
        strict.find(acts, incorrect, np.ones(D))
    with pytest.raises(ConfigError, match=r"(?s)no firing rates on general text are given.*--general-text-limit 1"):
        strict.find(acts, incorrect, None)
    with pytest.raises(ConfigError, match="the same on all texts"):
        strict.find(torch.zeros(N, 3), incorrect, rates[:3])


@pytest.mark.parametrize("rule", ["probe", "ace"])
def test_of_several_layers_the_one_that_knows_is_chosen_in_every_fold(planted, rule):
    acts, incorrect, rates = planted
    noise = acts_of(np.random.default_rng(5), incorrect, {})
    discovery = FeatureDiscovery(DiscoveryConfig(rule=rule))
    judged = {layer: discovery.judge(own, incorrect, rates) for layer, own in enumerate((noise, acts))}
    assert (judged[1].inner > judged[0].inner).all()
    area = auroc_of_best_layer(judged, incorrect)
    own = judged[1]
    areas = [roc_auc_score(incorrect[own.fold == fold], own.scores[own.fold == fold]) for fold in range(5)]
    pairs = [incorrect[own.fold == fold].sum() * (~incorrect)[own.fold == fold].sum() for fold in range(5)]
    assert area.value == pytest.approx(np.average(areas, weights=pairs)) and area.low > 0.7


@pytest.mark.sweep
def test_what_is_said_of_the_procedure_is_honest_where_nothing_is_to_be_found():
    """The best layer's own AUROC, by which it was chosen, flatters; the nested one does not."""
    nested, flattering = [], []
    for seed in range(200 if WHOLE_SWEEPS else 12):
        rng = np.random.default_rng(seed)
        incorrect = rng.random(120) < 0.45
        discovery = FeatureDiscovery(DiscoveryConfig(top_k=8))
        layers = {layer: acts_of(rng, incorrect, {}) for layer in range(3)}
        judged = {layer: discovery.judge(acts, incorrect, np.zeros(D)) for layer, acts in layers.items()}
        nested.append(auroc_of_best_layer(judged, incorrect).value)
        flattering.append(max(discovery.find(acts, incorrect, np.zeros(D)).auroc for acts in layers.values()))
    error = np.std(nested) / np.sqrt(len(nested))
    assert abs(np.mean(nested) - 0.5) < 4 * error < np.mean(flattering) - 0.5


def test_noise_is_seldom_significant(planted):
    n_found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        incorrect = rng.random(80) < 0.5
        discovery = FeatureDiscovery(DiscoveryConfig(n_permutations=200))
        n_found += discovery.count_significant(acts_of(rng, incorrect, {}), incorrect, np.zeros(D)) > 0
    assert n_found <= 4
    assert FeatureDiscovery(DiscoveryConfig(n_permutations=200)).count_significant(*planted) >= 3


def test_groups_that_are_constant_but_differ_have_a_finite_t():
    incorrect = np.arange(40) < 20
    acts = np.zeros((40, 2), dtype=np.float32)
    acts[incorrect, 0] = 1.0
    found = FeatureDiscovery().find(torch.from_numpy(acts), incorrect, np.zeros(2))
    assert found.latents.tolist() == [0] and np.isfinite(found.t).all() and found.weights[0] > 0


@pytest.mark.parametrize("settings", [{"rule": "t-test"}, {"top_k": 0}, {"top_k": 129}])
def test_a_wrong_setting_is_refused(settings):
    with pytest.raises(ConfigError, match="Give"):
        DiscoveryConfig(**settings)


def test_labels_of_0_and_1_and_lists_are_the_booleans(planted):
    acts, incorrect, rates = planted
    discovery = FeatureDiscovery(DiscoveryConfig(top_k=4))
    expected = discovery.find(acts, incorrect, rates)
    for labels in (incorrect.astype(int), incorrect.tolist(), incorrect.astype(int).tolist()):
        found = discovery.find(acts, labels, rates)
        assert found.latents.tolist() == expected.latents.tolist() and found.weights == pytest.approx(expected.weights)
    with pytest.raises(ConfigError, match=r" 200 texts.*shape \[199\]\n"):
        discovery.find(acts, incorrect[1:], rates)
