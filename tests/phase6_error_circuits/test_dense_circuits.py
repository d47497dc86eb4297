"""Covers phase 6.4b's nodes, ranking and circuits: what must be exact, and a planted circuit that is found."""

import numpy as np
import pytest
import torch
from architectures import small
from error_pairs import CODE_START, DIFF, END, made_pairs
from routed_model import routed

from common.errors import UnknownHookError
from phase6_error_circuits.arms import Arms, arms_of
from phase6_error_circuits.dense.circuits import circuit_metrics, direction_metrics
from phase6_error_circuits.dense.nodes import HEAD, Node, Nodes, nodes_of
from phase6_error_circuits.dense.ranking import Ranking, ranking_of

MODELS = ["gemma2", "qwen2", "gpt2", "gpt_neox"]
N_PAIRS = 4


def made(architecture: str, n_midpoints: int = 4) -> tuple[Arms, Nodes, Ranking]:
    arms = arms_of(small(architecture), made_pairs(N_PAIRS))
    nodes = nodes_of(arms)
    return arms, nodes, ranking_of(arms, nodes, n_midpoints, 3)


@pytest.mark.parametrize("architecture", MODELS)
def test_everything_kept_is_the_clean_run_and_nothing_kept_the_corrupted_one(architecture):
    arms, nodes, ranking = made(architecture)
    every = np.ones(nodes.n, dtype=bool)
    everything, nothing, differing = circuit_metrics(arms, nodes, [every, ~every, ranking.differs], 64)
    assert np.allclose(everything, arms.clean.metric, atol=1e-4) and np.allclose(
        nothing, arms.corrupted.metric, atol=1e-4
    )
    assert np.allclose(differing, arms.clean.metric, atol=1e-4), "what does not differ is the same either way"
    assert np.abs(arms.total).min() > 1e-2


@pytest.mark.parametrize("architecture", MODELS)
def test_no_node_before_the_first_difference_differs(architecture):
    _, nodes, ranking = made(architecture)
    for _, own in nodes.split(ranking.differs):
        assert not own[: DIFF - CODE_START].any()


def test_a_circuit_is_the_same_whatever_is_computed_beside_it():
    arms, nodes, ranking = made("gemma2")
    masks = [ranking.top(size) for size in (10, 100, 400)]
    together = circuit_metrics(arms, nodes, masks, 64)
    alone = [circuit_metrics(arms, nodes, [mask], 2)[0] for mask in masks]
    assert np.allclose(together, alone, atol=1e-5)


def test_the_planted_circuit_is_found_and_is_all_of_it():
    """In this model head 0 of layer 1 takes what differs to the end, and nothing else writes."""
    arms = arms_of(routed(), made_pairs(N_PAIRS))
    nodes = nodes_of(arms)
    ranking = ranking_of(arms, nodes, 4, 8)
    end = Node(HEAD, 1, 0, END - CODE_START)
    assert nodes.node(int(np.argmax(np.abs(ranking.importance)))) == end
    only = np.zeros(nodes.n, dtype=bool)
    only[np.argmax(np.abs(ranking.importance))] = True
    kept, lost = circuit_metrics(arms, nodes, [only, ~only], 64)
    assert np.allclose(kept, arms.clean.metric, atol=1e-5) and np.allclose(lost, arms.corrupted.metric, atol=1e-5)
    reaching = [nodes.node(index) for index in np.flatnonzero(np.abs(ranking.importance) > 1e-7).tolist()]
    assert reaching == [end], "what does not reach the end has no importance"


def test_importances_of_a_full_cut_sum_to_the_total():
    """In the planted model the one head is a full cut; but what it reads is normalised, so its line is not straight."""
    arms = arms_of(routed(), made_pairs(N_PAIRS))
    ranking = ranking_of(arms, nodes_of(arms), 20, 8)
    assert ranking.importance.sum() == pytest.approx(float(arms.total.mean()), rel=0.05)


def test_an_importance_is_difference_times_gradient_where_the_difference_is_small():
    arms, nodes, ranking = made("llama", n_midpoints=8)
    order = np.argsort(-np.abs(ranking.importance))[:5]
    masks = []
    for index in order:
        mask = np.ones(nodes.n, dtype=bool)
        mask[index] = False
        masks.append(mask)
    lost = arms.clean.metric.numpy() - circuit_metrics(arms, nodes, masks, 64)
    assert (np.sign(lost.mean(1)) == np.sign(ranking.importance[order])).mean() >= 0.8


def test_random_nodes_are_as_many_of_every_layer_kind_and_position():
    _, nodes, ranking = made("gemma2")
    top = ranking.top(200)
    drawn = nodes.alike(top, ranking.differs, np.random.default_rng(0))
    again = nodes.alike(top, ranking.differs, np.random.default_rng(0))
    assert (drawn == again).all() and (drawn & top).sum() < 200 and not (drawn & ~ranking.differs).any()
    for (_, own), (_, other) in zip(nodes.split(top), nodes.split(drawn), strict=True):
        assert (own.sum(1) == other.sum(1)).all()


def test_a_node_has_a_place_and_heads_are_counted():
    _, nodes, _ = made("gemma2")
    first = nodes.parts[0]
    assert nodes.node(0) == Node(HEAD, 0, 0, 0) and nodes.node(first.n_units) == Node(HEAD, 0, 0, 1)
    mask = np.zeros(nodes.n, dtype=bool)
    mask[[0, 3, nodes.n - 1]] = True
    assert nodes.n_heads(mask) == 2 and nodes.node(nodes.n - 1).kind == "neuron"
    with pytest.raises(IndexError):
        nodes.node(nodes.n)


def test_by_absolute_importance_nodes_against_the_answer_come_early():
    ranking = Ranking(np.array([0.5, -2.0, 0.0, 1.0]), np.array([True, True, False, True]))
    assert ranking.order.tolist() == [1, 3, 0]
    assert ranking.top(2).tolist() == [False, True, False, True]
    assert Ranking(ranking.importance, ranking.differs, by="positive").order.tolist() == [3, 0, 1]


def test_the_whole_difference_at_the_end_of_the_last_layer_is_all_of_it():
    arms = arms_of(small("gemma2"), made_pairs(6))
    end, before = END - CODE_START, DIFF - CODE_START
    held_out = arms.of_pairs(3, 6)
    last = direction_metrics(arms.of_pairs(0, 3), held_out, arms.replay.n_layers - 1, [before, end])
    assert np.allclose(last[1, 1], held_out.clean.metric, atol=1e-5)
    assert np.allclose(last[0], held_out.corrupted.metric, atol=1e-5)


def test_a_direction_of_pairs_that_all_differ_alike_brings_all_of_it_back():
    """In the planted model's embeddings one token is always changed to the same other one."""
    pairs = made_pairs(6)
    for pair in pairs:
        pair.clean_ids[DIFF : DIFF + 2], pair.corrupted_ids[DIFF : DIFF + 2] = [200, 201], [300, 201]
    arms = arms_of(routed(), pairs)
    found = direction_metrics(arms.of_pairs(0, 3), arms.of_pairs(3, 6), 0, [DIFF - CODE_START])
    assert np.allclose(found[0, 0], found[0, 1], atol=1e-4)
    assert np.allclose(found[0, 1], arms.of_pairs(3, 6).clean.metric, atol=1e-4)


def test_a_mixture_of_experts_is_refused_by_name():
    arms = arms_of(small("mixtral"), made_pairs(2))
    with pytest.raises(UnknownHookError, match="behind the neurons"), torch.no_grad():
        nodes_of(arms)
