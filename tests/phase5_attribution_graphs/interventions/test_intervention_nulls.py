"""Covers the random sets of phase 5.5: that they match, that ranks and p are what they say, and that noise has none."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare
from statsmodels.stats.multitest import multipletests

from common.evaluation.statistics import benjamini_hochberg
from phase5_attribution_graphs.interventions.nulls import (
    null_sets,
    p_of_means,
    p_of_rank,
    partners,
    pooled_p,
    rank,
    seed_of,
)


def graph_of(n_layers: int = 3, n_pos: int = 4, n_each: int = 30, seed: int = 0) -> SimpleNamespace:
    """So many active latents at each layer and position, with random activations."""
    n = n_layers * n_pos * n_each
    places = torch.arange(n) // n_each
    activation = torch.rand(n, generator=torch.Generator().manual_seed(seed)) + 0.1
    return SimpleNamespace(layer=places // n_pos, pos=places % n_pos, activation=activation, n_latents=n)


def cell(graph, index: int) -> tuple[int, int]:
    return int(graph.layer[index]), int(graph.pos[index])


def nearest(graph, index: int, without: set[int]) -> list[int]:
    """Other latents of the same layer and position by their distance in activation, one by one."""
    others = [i for i in range(graph.n_latents) if cell(graph, i) == cell(graph, index) and i not in without]
    return sorted(others, key=lambda i: abs(float(graph.activation[i]) - float(graph.activation[index])))


def test_a_null_set_has_a_near_latent_of_the_same_layer_and_position_for_each_named_one():
    graph, named = graph_of(), torch.tensor([3, 40, 41, 42, 43, 300])
    found = null_sets(graph, named, 50, seed=1)
    for one in found.sets:
        assert [cell(graph, i) for i in one.tolist()] == [cell(graph, i) for i in named.tolist()]
        taken = {*named.tolist()}
        for index, drawn in zip(named.tolist(), one.tolist(), strict=True):
            assert drawn in nearest(graph, index, taken)[:10]
            taken.add(drawn)
    ratio = np.mean([graph.activation[one].mean() for one in found.sets]) / graph.activation[named].mean()
    assert found.activation_ratio == pytest.approx(float(ratio), rel=1e-5) and found.unmatched == 0


def test_a_null_set_matches_on_the_organism_too(circuit):
    graph, named = circuit.graph, circuit.top_signed
    found = null_sets(graph, named, 19, seed=1)
    for one in found.sets:
        assert sorted(cell(graph, i) for i in one.tolist()) == sorted(cell(graph, i) for i in named.tolist())
        assert not {*one.tolist()} & {*named.tolist()} and len({*one.tolist()}) == len(one)


def test_all_of_the_ten_nearest_are_drawn_about_as_often():
    graph, named = graph_of(), torch.tensor([3])
    drawn = [int(one[0]) for one in null_sets(graph, named, 2000, seed=5).sets]
    counts = [drawn.count(i) for i in nearest(graph, 3, {3})[:10]]
    assert sum(counts) == 2000 and chisquare(counts).pvalue > 1e-3


def test_draws_depend_on_the_prompt_and_the_purpose_alone():
    graph, named = graph_of(), torch.tensor([3, 40, 300])
    sets = [
        null_sets(graph, named, 9, seed_of(*which)) for which in ((1, 5, 0), (1, 5, 0), (1, 6, 0), (1, 5, 1), (2, 5, 0))
    ]
    as_lists = [[one.tolist() for one in each.sets] for each in sets]
    assert as_lists[0] == as_lists[1] and all(as_lists[0] != other for other in as_lists[2:])


def test_a_latent_without_others_at_its_place_is_counted():
    graph = graph_of(n_each=30)
    graph.pos[7] = 99
    found = null_sets(graph, torch.tensor([7, 40]), 5, seed=0)
    assert found.unmatched == 1 and {cell(graph, int(one[0])) for one in found.sets} == {cell(graph, 40)}
    assert [len(one) for one in found.sets] == [1] * 5


def test_where_nothing_matches_there_is_an_empty_set():
    graph = graph_of(n_layers=1, n_pos=1, n_each=3)
    found = null_sets(graph, torch.arange(3), 2, seed=0)
    assert [len(one) for one in found.sets] == [0, 0] and found.unmatched == 3 and np.isnan(found.activation_ratio)
    assert len(found.members) == 0


def test_partners_are_other_latents_none_twice_and_none_of_the_excluded():
    graph, named = graph_of(), torch.tensor([0, 1, 2, 100])
    kept = torch.cat([named, torch.arange(3, 10)])
    found = partners(graph, named, kept, 3, seed=0).tolist()
    assert len(found) == len({*found}) == 12 and not {*found} & {*kept.tolist()}
    assert sorted(cell(graph, i) for i in found) == sorted([cell(graph, 0)] * 9 + [cell(graph, 100)] * 3)


def test_ranks_count_from_the_largest_and_ties_count_against():
    null = np.array([0.5, 2.0, 1.0, 1.0])
    assert [rank(own, null) for own in (3.0, 2.0, 1.5, 1.0, -1.0)] == [1, 2, 2, 4, 5]
    assert p_of_rank(1, 199) == 0.005


def test_p_of_a_behaviour_compares_means_with_the_means_of_the_first_sets_and_so_on():
    rng = np.random.default_rng(0)
    own, null = rng.normal(0.3, 1, 7), rng.normal(0, 1, (7, 39))
    n_as_large = sum(sum(null[i][j] for i in range(7)) / 7 >= sum(own) / 7 for j in range(39))
    assert p_of_means(own, null) == pytest.approx((1 + n_as_large) / 40)


def test_pooled_p_counts_one_by_one():
    rng = np.random.default_rng(1)
    own, null = rng.integers(0, 9, 30).astype(float), rng.integers(0, 9, 50).astype(float)
    expected = [(1 + sum(value >= one for value in null)) / 51 for one in own]
    assert pooled_p(own, null) == pytest.approx(expected)
    assert pooled_p(own, np.zeros(0)).tolist() == [1.0] * 30


def test_a_set_that_was_itself_drawn_so_ranks_as_chance_would_have_it():
    """Latents of random effect: the named set is one among equals."""
    ranks = []
    for trial in range(400):
        graph = graph_of(seed=trial)
        effects = np.random.default_rng(trial).normal(size=graph.n_latents)
        start = torch.randperm(graph.n_latents, generator=torch.Generator().manual_seed(trial))[:5]
        own = null_sets(graph, start, 1, seed=trial).sets[0]
        sets = null_sets(graph, own, 19, seed=trial + 1).sets
        ranks.append(rank(effects[own].sum(), np.array([effects[one].sum() for one in sets])))
    assert binomtest(sum(one == 1 for one in ranks), 400, 1 / 20).pvalue > 1e-3
    assert binomtest(sum(one <= 10 for one in ranks), 400, 1 / 2).pvalue > 1e-3


def test_benjamini_hochberg_is_that_of_statsmodels():
    rng = np.random.default_rng(2)
    for n in (1, 5, 40):
        p = np.round(rng.random(n) ** 3, 2).tolist()
        assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1].tolist())
    assert benjamini_hochberg([]) == []
