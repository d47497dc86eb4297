"""Covers edges between neighbouring layers (phase6_error_circuits/circuits): sums, parts, circuits of edges."""

import dataclasses

import pytest
import torch
from error_circuit_toys import (
    D_MODEL,
    D_SAE,
    a_sae,
    linear_decoder,
    planted,
    random_decoder,
    random_dictionaries,
    random_pairs,
)

from common.model.sites import ATTN_OUT, RESID_POST
from phase6_error_circuits.circuits.edge_circuits import PathPatched, all_links, path_patched, random_links, run_links
from phase6_error_circuits.circuits.edge_steps import beside_exact, rows_of
from phase6_error_circuits.circuits.edges import Edge, edges_of, layer_pairs
from phase6_error_circuits.latents.cutting import cut_of, kept
from phase6_error_circuits.latents.dictionaries import SiteDictionaries
from phase6_error_circuits.latents.gradients import corrupted_of, first_order, midpoints
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.split_arms import SplitArms, batches_of


@pytest.fixture(scope="module")
def arms() -> SplitArms:
    lm = random_decoder()
    return batches_of(lm, random_dictionaries(lm), random_pairs(), 8)[0]


def nodes_in(layer: int, n_pos: int) -> list[Node]:
    return [Node(layer, pos, one) for pos in range(n_pos) for one in [None, *range(D_SAE)]]


def test_edges_out_of_a_node_sum_to_its_first_order_importance(arms):
    importance = first_order([arms], corrupted_of([arms]), 0.0)
    sources = [node for node in importance.nodes() if node.layer == 0][:6]
    edges = edges_of([arms], [*sources, *nodes_in(1, arms.n_pos)], [0.0])
    for source in sources:
        total = sum(edge.weight for edge in edges if edge.source == source)
        assert total == pytest.approx(importance.of(source), abs=1e-5)


def test_without_edges_into_errors_they_do_not(arms):
    importance = first_order([arms], corrupted_of([arms]), 0.0)
    source = next(node for node in importance.nodes() if node.layer == 0)
    latents = [node for node in nodes_in(1, arms.n_pos) if not node.is_error]
    edges = edges_of([arms], [source, *latents], [0.0])
    assert abs(sum(edge.weight for edge in edges) - importance.of(source)) > 1e-3


def test_an_edge_is_the_sum_of_its_parts(arms):
    circuit = [*first_order([arms], corrupted_of([arms]), 0.0).nodes()][:30]
    edges = edges_of([arms], circuit, midpoints(2))
    assert edges
    for edge in edges:
        assert edge.attention is not None and edge.mlp is not None
        assert edge.skip + edge.attention + edge.mlp == pytest.approx(edge.weight, abs=1e-5)
        if edge.source.pos != edge.target.pos:
            assert edge.skip == 0.0


def test_no_edge_goes_back_in_the_text(arms):
    circuit = [*first_order([arms], corrupted_of([arms]), 0.0).nodes()][:40]
    assert all(edge.source.pos <= edge.target.pos for edge in edges_of([arms], circuit, [0.0]))


def test_all_pairs_of_a_circuit_as_edges_are_the_circuit_of_its_nodes(arms):
    circuit = [*first_order([arms], corrupted_of([arms]), 0.5).nodes()][::3]
    with torch.no_grad():
        nodes = kept(arms, cut_of(circuit, arms.dictionaries.layers, arms.n_pos, "cpu"), arms.corrupted.values)
    assert torch.allclose(run_links(arms, circuit, all_links(arms, circuit)), nodes, atol=1e-4)
    assert not torch.allclose(nodes, arms.corrupted.metric, atol=1e-3)


def test_without_edges_nothing_arrives(arms):
    circuit = [*first_order([arms], corrupted_of([arms]), 0.5).nodes()][:40]
    assert torch.allclose(run_links(arms, circuit, []), arms.corrupted.metric, atol=1e-5)


def test_in_a_linear_decoder_a_skip_of_latents_is_exact():
    """Dictionaries whose latents never switch: each edge is what path patching measures."""
    lm = linear_decoder()
    torch.manual_seed(3)
    rotation = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL)).Q
    weights = {
        "W_enc": rotation,
        "b_enc": torch.full((D_MODEL,), 50.0),
        "W_dec": rotation.T.contiguous(),
        "b_dec": -50.0 * rotation.sum(1),
        "threshold": torch.zeros(D_MODEL),
    }
    dictionaries = SiteDictionaries(RESID_POST, {layer: a_sae(layer, **weights) for layer in range(3)})
    [arms] = batches_of(lm, dictionaries, random_pairs(), 8)
    circuit = [*first_order([arms], corrupted_of([arms]), 0.0).nodes()][:40]
    edges = edges_of([arms], circuit, [0.0])[:15]
    for edge in edges:
        assert path_patched([arms], edge) == pytest.approx((edge.weight, edge.weight), abs=1e-4)


def test_latents_that_switch_on_get_an_edge():
    """A JumpReLU that is off in the clean run has no derivative there, and is on for half of the line."""
    lm, dictionaries, pairs = planted()
    last = dictionaries.by_layer[1]
    high = dataclasses.replace(last, threshold=last.threshold + 11 / 14)  # 5 of 7 tokens are below it, 6 of 7 above
    own = SiteDictionaries(RESID_POST, {0: dictionaries.by_layer[0], 1: high})
    swapped = batches_of(lm, own, pairs, 8)[0].swapped()  # the run in which the planted latents are off
    circuit = [Node(0, 2, 0), Node(1, swapped.n_pos - 1, 1)]
    assert edges_of([swapped], circuit, [0.0]) == []
    [edge] = edges_of([swapped], circuit, midpoints(4))
    assert edge.weight == pytest.approx(float(swapped.effect.mean()) / 2, rel=1e-5)
    assert edge.skip == 0.0


def test_weights_are_compared_with_both_directions_since_they_are_of_the_whole_line():
    """An edge that does nothing at the clean end may be the largest of all: its latents are off there."""
    edges = [Edge(Node(0, 1, n), Node(1, 1, n), weight, 0.0, None, None) for n, weight in enumerate((3.0, 2.0, -1.0))]
    exact = [PathPatched(0.0, 6.0), PathPatched(4.0, 0.5), PathPatched(1.0, -3.0)]
    found = beside_exact(edges, exact)
    assert (found.n, found.sign, found.rank_correlation) == (3, 1.0, pytest.approx(1.0))
    assert (found.noising, found.denoising) == (pytest.approx(-0.5), pytest.approx(1.0))
    assert [row[-2:] for row in rows_of(edges, exact[:1])] == [[0.0, 6.0], [None, None], [None, None]]


def test_the_planted_edge_is_the_whole_circuit():
    lm, dictionaries, pairs = planted()
    [arms] = batches_of(lm, dictionaries, pairs, 8)
    circuit = [Node(0, 2, 0), Node(1, arms.n_pos - 1, 1)]
    [edge] = edges_of([arms], circuit, midpoints(4))
    assert torch.allclose(run_links(arms, circuit, [(edge.source, edge.target)]), arms.clean.metric, atol=1e-5)
    assert path_patched([arms], edge) == pytest.approx((edge.weight, edge.weight), rel=1e-5)


def test_edges_are_of_the_residual_stream_alone():
    lm = random_decoder()
    [arms] = batches_of(lm, random_dictionaries(lm, ATTN_OUT), random_pairs(), 8)
    assert layer_pairs(arms) == [] and edges_of([arms], nodes_in(0, 2), [0.0]) == []


def test_layers_without_a_dictionary_lie_between_neighbours():
    lm = random_decoder()
    every = random_dictionaries(lm).by_layer
    [arms] = batches_of(lm, SiteDictionaries(RESID_POST, {0: every[0], 2: every[2]}), random_pairs(), 8)
    assert layer_pairs(arms) == [(0, 2)]
    importance = first_order([arms], corrupted_of([arms]), 0.0)
    source = next(node for node in importance.nodes() if node.layer == 0)
    edges = edges_of([arms], [source, *nodes_in(2, arms.n_pos)], [0.0])
    assert sum(edge.weight for edge in edges) == pytest.approx(importance.of(source), abs=1e-5)


def test_random_edges_come_from_the_same_layers(arms):
    import random

    circuit = [node for layer in range(3) for node in nodes_in(layer, 2)[::20]]
    every = all_links(arms, circuit)
    drawn = random_links(every[:3], every, random.Random(0))
    assert [link[0].layer for link in drawn] == [link[0].layer for link in every[:3]]
