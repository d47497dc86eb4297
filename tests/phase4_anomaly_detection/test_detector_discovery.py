"""Covers discovery.py: which latents are chosen, what each filter says, and how they are weighted."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from common.errors import ConfigError
from phase4_anomaly_detection.discovery import DiscoveryConfig, FeatureDiscovery, contents

N, D = 200, 40
PLANTED = [3, 11, 29]


@pytest.fixture(scope="module")
def planted() -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Activations in which three latents fire more on what fails, one on what passes, and one is general text."""
    rng = np.random.default_rng(0)
    incorrect = rng.random(N) < 0.45
    acts = np.maximum(rng.normal(size=(N, D)) - 0.5, 0).astype(np.float32)
    for latent, strength in zip([*PLANTED, 17], (1.5, 1.0, 0.8, 3.0), strict=True):
        acts[incorrect, latent] += strength
    acts[~incorrect, 5] += 2.0
    acts[:, 20] = 0.0
    rates = np.full(D, 0.01)
    rates[17] = 0.5
    return torch.from_numpy(acts), incorrect, rates


def test_the_latents_are_those_with_the_largest_welch_t_without_general_ones(planted):
    acts, incorrect, rates = planted
    found = FeatureDiscovery(DiscoveryConfig(top_k=10)).select(acts, incorrect, rates)
    own = acts.numpy().astype(np.float64)
    with np.errstate(all="ignore"):
        t = np.nan_to_num(ttest_ind(own[incorrect], own[~incorrect], equal_var=False).statistic)
    t[17] = 0
    expected = [latent for latent in np.argsort(-t)[:10] if t[latent] > 0]
    assert found.latents.tolist() == expected and set(found.latents[:3]) == set(PLANTED)
    assert found.t == pytest.approx(t[expected]) and 5 not in found.latents
    assert found.counts["latents"] == D and found.counts["not general text"] == D - 1
    assert found.counts["t"] == (t > 0).sum()


def test_top_k_min_t_and_significance_cut(planted):
    acts, incorrect, rates = planted

    def chosen(**settings) -> list[int]:
        return FeatureDiscovery(DiscoveryConfig(**settings)).select(acts, incorrect, rates).latents.tolist()

    assert len(chosen(top_k=2)) == 2 and chosen(top_k=2) == chosen(top_k=40)[:2]
    assert set(chosen(min_t=4.0)) == set(PLANTED)
    for rule in ("bonferroni", "permutation"):
        assert set(chosen(significance=rule)) == set(PLANTED)
    assert 17 in chosen(general_text_limit=1.0) and 17 not in chosen(general_text_limit="auto")


def test_noise_is_seldom_significant():
    n_found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        acts = torch.from_numpy(np.maximum(rng.normal(size=(80, 30)), 0).astype(np.float32))
        config = DiscoveryConfig(n_permutations=200)
        found = FeatureDiscovery(config).select(acts, rng.random(80) < 0.5, np.zeros(30))
        n_found += found.counts["significant, permutation"] > 0
    assert n_found <= 4


def test_a_filter_that_leaves_nothing_is_named_with_the_largest_t(planted):
    acts, incorrect, rates = planted

    def refused(match: str, rates=rates, acts=acts, **settings) -> None:
        with pytest.raises(ConfigError, match=match):
            FeatureDiscovery(DiscoveryConfig(**settings)).select(acts, incorrect, rates)

    refused(r"(?s)t >= 50.*largest t is \d+\.\d\d.*--min-t", min_t=50)
    refused(r"(?s)all 40 fire on more than 0.02.*--general-text-limit", rates=np.ones(D), general_text_limit=0.02)
    noise = torch.from_numpy(np.random.default_rng(5).random((N, D)).astype(np.float32))
    refused("significant .permutation, 0.05.", acts=noise, significance="permutation")
    refused(r"(?s)no firing rates on general text are given.*--general-text-limit 1", rates=None)
    assert len(FeatureDiscovery(DiscoveryConfig(general_text_limit=1)).select(acts, incorrect, None).latents)


def test_t_weights_are_the_shares_of_the_sum_of_t(planted):
    acts, incorrect, rates = planted
    discovery = FeatureDiscovery(DiscoveryConfig(top_k=4, weights="t"))
    selection = discovery.select(acts, incorrect, rates)
    x = acts[:, selection.latents].double().numpy()
    found = discovery.weigh(selection.t, x, incorrect, x, incorrect)
    assert found.rule == "t" and found.weights == pytest.approx(selection.t / selection.t.sum())
    assert found.auroc_tuning["t"] == pytest.approx(roc_auc_score(incorrect, x @ found.weights))
    listed = contents(selection, found)
    assert [entry["latent"] for entry in listed] == selection.latents.tolist()
    assert set(listed[0]) == {"latent", "t", "weight", "general_text_rate"}


def test_l1_weights_rank_as_the_regression_does_and_unused_latents_are_dropped(planted):
    acts, incorrect, rates = planted
    discovery = FeatureDiscovery(DiscoveryConfig(top_k=15, weights="l1"))
    selection = discovery.select(acts, incorrect, rates)
    x = acts[:, selection.latents].double().numpy()
    found = discovery.weigh(selection.t, x, incorrect, x, incorrect)
    assert (found.weights != 0).all() and {0, 1, 2} <= set(found.kept.tolist())
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    margins = [
        LogisticRegression(l1_ratio=1.0, solver="liblinear", C=10.0 ** (k / 2), max_iter=1000, random_state=42)
        .fit(standard, incorrect)
        .decision_function(standard)
        for k in range(-6, 5)
    ]
    own = x[:, found.kept] @ found.weights
    assert max(np.corrcoef(own, margin)[0, 1] for margin in margins if margin.std() > 0) == pytest.approx(1, abs=1e-6)


def test_auto_takes_the_rule_with_the_larger_auroc(planted):
    """Auto takes the rule with the larger AUROC on the tuning texts and t of equal ones."""
    acts, incorrect, rates = planted
    discovery = FeatureDiscovery(DiscoveryConfig(top_k=15))
    selection = discovery.select(acts, incorrect, rates)
    x = acts[:, selection.latents].double().numpy()
    found = discovery.weigh(selection.t, x[:120], incorrect[:120], x[120:], incorrect[120:])
    assert found.rule == max(found.auroc_tuning, key=found.auroc_tuning.get)
    one = np.arange(20.0)[:, None]
    equal = discovery.weigh(np.array([3.0]), one, np.arange(20) > 9, one, np.arange(20) > 9)
    assert equal.rule == "t" and equal.auroc_tuning == {"t": 1.0, "l1": 1.0}


def test_the_layer_that_knows_has_the_larger_cross_validated_auroc(planted):
    acts, incorrect, rates = planted
    discovery = FeatureDiscovery(DiscoveryConfig(top_k=3))
    knows = discovery.cross_validated_auroc(acts, incorrect, rates)
    noise = torch.from_numpy(np.random.default_rng(5).random((N, D)).astype(np.float32))
    assert knows > 0.75 > discovery.cross_validated_auroc(noise, incorrect, rates)
    strict = FeatureDiscovery(DiscoveryConfig(top_k=3, general_text_limit=0.02))
    assert strict.cross_validated_auroc(acts, incorrect, np.ones(D)) == 0.5


def test_groups_that_are_constant_but_differ_have_a_finite_weight():
    incorrect = np.arange(40) < 20
    acts = np.zeros((40, 2), dtype=np.float32)
    acts[incorrect, 0] = 1.0
    found = FeatureDiscovery().select(torch.from_numpy(acts), incorrect, np.zeros(2))
    assert found.latents.tolist() == [0] and np.isfinite(found.t).all()


@pytest.mark.parametrize("settings", [{"weights": "t-test"}, {"significance": "p"}, {"top_k": 0}, {"min_t": -1.0}])
def test_a_wrong_setting_is_refused(settings):
    with pytest.raises(ConfigError, match="Give"):
        DiscoveryConfig(**settings)


def test_a_rule_that_uses_no_latent_is_not_chosen_and_only_alone_refused():
    labels, silent = np.arange(40) % 2 == 0, np.zeros((40, 1))
    falling = np.where(labels, 0.0, 1.0)[:, None]  # t's AUROC is 0, that of no latent at all 0.5
    found = FeatureDiscovery().weigh(np.array([2.0]), silent, labels, falling, labels)
    assert found.rule == "t" and found.weights.tolist() == [1.0] and found.auroc_tuning == {"t": 0.0, "l1": 0.5}
    with pytest.raises(ConfigError, match=r"L1 .*none of .*\n.*--weights t"):
        FeatureDiscovery(DiscoveryConfig(weights="l1")).weigh(np.array([2.0]), silent, labels, falling, labels)


def test_labels_of_0_and_1_and_lists_are_the_booleans(planted):
    acts, incorrect, rates = planted
    discovery = FeatureDiscovery(DiscoveryConfig(top_k=5))
    expected = discovery.select(acts, incorrect, rates)
    x = acts[:, expected.latents].double().numpy()
    weights = discovery.weigh(expected.t, x, incorrect, x, incorrect).weights
    area = discovery.cross_validated_auroc(acts, incorrect, rates)
    for labels in (incorrect.astype(int), incorrect.tolist(), incorrect.astype(int).tolist()):
        assert discovery.select(acts, labels, rates).latents.tolist() == expected.latents.tolist()
        assert discovery.weigh(expected.t, x, labels, x, labels).weights == pytest.approx(weights)
        assert discovery.cross_validated_auroc(acts, labels, rates) == area
    with pytest.raises(ConfigError, match=r" 200 texts.*shape \[199\]\n"):
        discovery.select(acts, incorrect[1:], rates)
    with pytest.raises(ConfigError, match=r" 200 texts.*shape \[199\]\n"):
        discovery.weigh(expected.t, x, incorrect, x, incorrect[1:])
