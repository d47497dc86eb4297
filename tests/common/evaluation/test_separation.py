"""Covers common/evaluation/separation.py: every statistic against scipy, scikit-learn and hand-made cases."""

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

from common.evaluation.separation import layer_statistics

N, LATENTS = 150, 240
DEAD, CONSTANT, SEPARATING, ONCE, TIED = range(5)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return (np.random.default_rng(1).random(N) < 0.6).astype(float)


@pytest.fixture(scope="module")
def acts(labels) -> np.ndarray:
    """Latents of every firing rate, and the cases that break formulas; float32, as an SAE gives them."""
    rng = np.random.default_rng(0)
    acts = np.maximum(rng.normal(size=(N, LATENTS)) - rng.uniform(-1, 3, LATENTS), 0) * rng.lognormal(size=LATENTS)
    acts[:, DEAD] = 0
    acts[:, CONSTANT] = 3.3
    acts[:, SEPARATING] = 2.5 * labels
    acts[:, ONCE] = 0
    acts[17, ONCE] = 4.0
    acts[:, TIED] = rng.integers(0, 4, N)
    acts[:, 5] = 1000 + 0.05 * rng.random(N)  # a small spread beside a large mean
    return acts.astype(np.float32)


@pytest.fixture(scope="module")
def found(acts, labels) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return layer_statistics(torch.from_numpy(acts), labels)


@pytest.fixture(scope="module")
def expected(acts, labels):
    wide = acts.astype(np.float64)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ttest_ind(wide[labels == 0], wide[labels == 1], equal_var=False, axis=0)


@pytest.mark.parametrize(("name", "attribute"), [("t", "statistic"), ("p", "pvalue"), ("df", "df")])
def test_welch_s_t_its_p_and_its_degrees_of_freedom_agree_with_scipy(found, expected, name, attribute):
    defined = np.isfinite(expected.statistic)
    assert defined.sum() > 200
    np.testing.assert_allclose(found[name][defined], getattr(expected, attribute)[defined], rtol=1e-6, atol=1e-12)


def test_auroc_agrees_with_scikit_learn(found, acts, labels):
    expected = [roc_auc_score(1 - labels, acts[:, latent]) for latent in range(LATENTS)]
    np.testing.assert_allclose(found["auroc"], expected, atol=1e-6, rtol=0)


def test_t_over_firing_problems_agrees_with_scipy_or_is_undefined(found, acts, labels):
    n_defined = 0
    for latent in range(LATENTS):
        groups = [acts[(labels == label) & (acts[:, latent] > 0), latent].astype(float) for label in (0, 1)]
        if min(map(len, groups)) < 2:
            assert np.isnan(found["t_active"][latent])
        elif max(group.std() for group in groups) > 0:
            np.testing.assert_allclose(found["t_active"][latent], ttest_ind(*groups, equal_var=False)[0], rtol=1e-6)
            n_defined += 1
    assert n_defined > 100


def test_q_agrees_with_scipy_over_kept_latents_and_is_undefined_for_others(found):
    from scipy.stats import false_discovery_control

    from phase2_sae_analysis.selection import add_family_statistics

    columns = {**found, "kept": np.arange(LATENTS) % 5 > 0}
    add_family_statistics(columns, np.linspace(1, 5, 100))
    kept = columns["kept"]
    family = kept & (found["n_active"] > 0)
    np.testing.assert_allclose(columns["q"][family], false_discovery_control(found["p"][family]), rtol=1e-6)
    assert 0 < family.sum() < kept.sum(), "what never fires on a problem is no part of the family of q"
    assert np.isnan(columns["q"][~family]).all() and np.isnan(columns["p_max"][~kept]).all()


def test_firing_fractions_are_counts_over_group_sizes(found, acts, labels):
    fires = acts > 0
    assert (found["n_active"] == fires.sum(0)).all()
    np.testing.assert_allclose(found["f_correct"], fires[labels == 1].mean(0))
    np.testing.assert_allclose(found["f_incorrect"], fires[labels == 0].mean(0))
    np.testing.assert_allclose(found["separation"], fires[labels == 1].mean(0) - fires[labels == 0].mean(0))


@pytest.mark.parametrize("latent", [DEAD, CONSTANT])
def test_a_latent_that_never_varies_has_defined_results(found, latent):
    values = {name: found[name][latent] for name in ("t", "p", "auroc", "separation", "df")}
    assert values == {"t": 0, "p": 1, "auroc": 0.5, "separation": 0, "df": N - 2}


def test_a_latent_that_is_constant_in_each_group_has_an_infinite_t(found):
    assert found["t"][SEPARATING] == -np.inf and found["p"][SEPARATING] == 0 and found["auroc"][SEPARATING] == 0


def test_a_latent_of_failures_has_positive_t_and_auroc_above_half():
    """A latent that fires more on failures has positive t and AUROC above one half."""
    labels = np.array([1.0, 1, 1, 0, 0, 0])
    acts = torch.tensor([[0.0], [0.0], [1.0], [2.0], [3.0], [0.0]])
    found = layer_statistics(acts, labels)
    assert found["t"][0] > 0 and found["auroc"][0] == pytest.approx(7 / 9)
    assert found["separation"][0] == pytest.approx(1 / 3 - 2 / 3)


@pytest.mark.parametrize("fires", [0.0, 1.0])
def test_a_layer_that_never_or_always_fires_is_no_special_case(fires):
    labels = np.array([1.0] * 10 + [0.0] * 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = layer_statistics(torch.full((22, 3), fires), labels)
    assert (found["t"] == 0).all() and (found["auroc"] == 0.5).all() and (found["n_active"] == 22 * fires).all()


def test_pass_rates_give_the_means_fractions_and_auroc_of_all_samples(acts):
    n_samples, rng = 5, np.random.default_rng(3)
    n_passed = rng.integers(0, n_samples + 1, N)
    found = layer_statistics(torch.from_numpy(acts), n_passed / n_samples)
    samples = np.repeat(acts, n_samples, axis=0)
    correct = (np.arange(n_samples) < n_passed[:, None]).ravel()
    np.testing.assert_allclose(found["f_correct"], (samples[correct] > 0).mean(0))
    np.testing.assert_allclose(found["f_incorrect"], (samples[~correct] > 0).mean(0))
    expected = [roc_auc_score(~correct, samples[:, latent]) for latent in range(LATENTS)]
    np.testing.assert_allclose(found["auroc"], expected, atol=1e-9, rtol=0)


def test_pass_rates_give_welch_s_t_of_weighted_means_and_effective_sizes(acts):
    rate = np.random.default_rng(4).integers(0, 6, N) / 5
    found = layer_statistics(torch.from_numpy(acts), rate)
    a, errors, means = acts[:, 6].astype(float), [], []
    for weight in (1 - rate, rate):
        size = weight.sum() ** 2 / (weight**2).sum()
        means.append(np.average(a, weights=weight))
        errors.append(np.average((a - means[-1]) ** 2, weights=weight) * size / (size - 1) / size)
    assert found["t"][6] == pytest.approx((means[0] - means[1]) / np.sqrt(sum(errors)))
    assert found["t"][CONSTANT] == 0 and found["p"][CONSTANT] == 1 and found["t"][DEAD] == 0
