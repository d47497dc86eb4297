"""Covers phase5_attribution_graphs/replacement/influence.py: beside plain dense series in double precision."""

import dataclasses

import numpy as np
import pytest
import torch
from small_graphs import KINDS, SKIP, TINY, Traced, organism_traced, tiny_traced

from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.influence import influence, row_shares, scores, signed_effect

CASES = {
    "organism, addition": lambda: organism_traced("addition"),
    "organism, capitals": lambda: organism_traced("capitals"),
    **{name: lambda name=name: tiny_traced(name) for name in TINY},
}


def square(graph: Graph, *, constants: bool) -> tuple[np.ndarray, np.ndarray, slice]:
    """The whole matrix [to, from] of all nodes, targets last; the targets' weights; where the targets are."""
    stop = graph.edges.shape[1] if constants else graph.token_columns.stop
    n, n_targets = graph.n_latents, len(graph.weights)
    whole = np.zeros((stop + n_targets, stop + n_targets))
    whole[:n, :stop] = graph.edges[:n, :stop].double().numpy()
    whole[stop:, :stop] = graph.edges[n:, :stop].double().numpy()
    weights = np.zeros(len(whole))
    weights[stop:] = graph.weights.double().numpy()
    return whole, weights, slice(stop, None)


def normalised(whole: np.ndarray) -> np.ndarray:
    sums = np.abs(whole).sum(1, keepdims=True)
    return np.abs(whole) / np.where(sums > 0, sums, 1)


def series(matrix: np.ndarray, start: np.ndarray, n_layers: int) -> np.ndarray:
    """start (A + A^2 + ...), which ends, since a node reads earlier layers alone."""
    step, total = start @ matrix, np.zeros_like(start)
    for _ in range(n_layers + 2):
        total += step
        step = step @ matrix
    assert not step.any()
    return total


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("constants", [False, True])
def test_influence_is_the_series_of_powers_of_the_normalised_matrix(name, constants):
    graph = CASES[name]().graph
    whole, weights, targets = square(graph, constants=constants)
    expected = series(normalised(whole), weights, graph.n_layers)[: targets.start]
    found = influence(graph, constants=constants).double().numpy()
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_the_whole_matrix(name):
    """circuit-tracer's definitions, over all nodes, computed from the square matrix."""
    graph = CASES[name]().graph
    whole, weights, _ = square(graph, constants=False)
    shares = normalised(whole)
    reached = series(shares, weights, graph.n_layers)
    errors, tokens, n = reached[graph.error_columns].sum(), reached[graph.token_columns].sum(), graph.n_latents
    explained = 1 - shares[:, graph.error_columns].sum(1)
    output = reached + weights
    has_inputs = np.concatenate([np.arange(n), np.arange(graph.token_columns.stop, len(whole))])
    found = scores(graph)
    assert found.replacement == pytest.approx(tokens / (tokens + errors), rel=1e-5)
    assert found.completeness == pytest.approx((output * explained).sum() / output.sum(), rel=1e-5)
    nodes = (output * explained)[has_inputs].sum() / output[has_inputs].sum()
    assert found.completeness_of_nodes == pytest.approx(nodes, rel=1e-5)
    whole, weights, _ = square(graph, constants=True)
    reached = series(normalised(whole), weights, graph.n_layers)[: graph.edges.shape[1]]
    assert found.errors_influence == pytest.approx(reached[graph.error_columns].sum() / reached[n:].sum(), rel=1e-5)
    constants = reached[graph.constant_columns].sum()
    assert found.constants_influence == pytest.approx(constants / reached[n:].sum(), rel=1e-5)
    direct = graph.edges[n, graph.error_columns].double().sum() / graph.edges[n].double().sum()
    assert found.errors_direct == pytest.approx(float(direct), rel=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_the_signed_effect_is_the_series_of_edges_by_activation(name):
    graph = CASES[name]().graph
    whole, weights, targets = square(graph, constants=True)
    whole[: graph.n_latents] /= graph.activation.double().numpy()[:, None]
    for target in range(2):
        start = np.zeros(len(whole))
        start[targets.start + target] = 1
        expected = series(whole, start, graph.n_layers)[: targets.start]
        found = signed_effect(graph, target).double().numpy()
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def from_roots(found: Traced, target: int) -> tuple[float, float]:
    """What roots and encoder biases add to a target, and the size of what cancels among them."""
    graph, n = found.graph, found.graph.n_latents
    effect = signed_effect(graph, target).double()
    biases = torch.stack(
        [
            found.transcoders[layer].b_enc[latent]
            for layer, latent in zip(graph.layer.tolist(), graph.latent.tolist(), strict=True)
        ]
    )
    parts = torch.cat([effect[n:], effect[:n] * biases.double() / graph.activation.double()])
    return float(parts.sum()), float(parts.abs().sum())


@pytest.mark.parametrize("name", CASES)
def test_signed_effects_of_roots_and_encoder_biases_add_up_to_the_target(name):
    found = CASES[name]()
    for target in range(len(found.targets)):
        total, size = from_roots(found, target)
        assert abs(total - float(found.graph.values[found.graph.n_latents + target])) < 1e-5 * size


@pytest.mark.parametrize("kind", KINDS)
def test_they_add_up_with_transcoders_of_every_kind(kind):
    found = tiny_traced("qwen2", kind)
    total, size = from_roots(found, 0)
    assert abs(total - float(found.graph.values[found.graph.n_latents])) < 1e-5 * size
    assert kind != SKIP or found.transcoders[0].W_skip is not None


def test_the_signed_effect_of_a_latent_is_what_setting_it_to_zero_takes_away():
    """In the linear model, where downstream latents' writing follows their pre-activations, gates as they are.

    Nothing is downstream of a latent of the last layer, so the effect is its edge; of one in the layer before, it is
    its edge and what each latent behind it writes for its share.
    """
    graph = tiny_traced("llama").graph
    n, effect = graph.n_latents, signed_effect(tiny_traced("llama").graph)
    is_last = graph.layer == graph.n_layers - 1
    assert torch.allclose(effect[:n][is_last], graph.edges[n, :n][is_last])
    behind = (graph.edges[:n][is_last] * (graph.edges[n, :n][is_last] / graph.activation[is_last])[:, None]).sum(0)
    is_before = graph.layer == graph.n_layers - 2
    expected = (graph.edges[n] + behind)[:n][is_before]
    assert torch.allclose(effect[:n][is_before], expected, rtol=1e-4, atol=1e-5)


def test_row_shares_are_one_over_the_sum_of_absolute_edges():
    edges = torch.randn(600, 70, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(row_shares(edges), 1 / edges.abs().sum(1)) and len(row_shares(edges[:0])) == 0
    assert torch.equal(row_shares(edges[:, :50]), row_shares(edges[:, :50].clone()))


def test_targets_of_no_weight_have_no_influence():
    graph = tiny_traced("llama").graph
    alone = dataclasses.replace(graph, weights=torch.eye(len(graph.weights))[0])
    cut = dataclasses.replace(
        graph,
        weights=torch.ones(1),
        edges=graph.edges[: graph.n_latents + 1],
        values=graph.values[: graph.n_latents + 1],
    )
    assert torch.allclose(influence(alone), influence(cut))
