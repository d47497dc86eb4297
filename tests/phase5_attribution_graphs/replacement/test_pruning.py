"""Covers phase5_attribution_graphs/replacement/pruning.py: beside a plain pruning of the whole square matrix."""

import numpy as np
import pytest
from small_graphs import organism_traced, tiny_traced

from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.influence import influence
from phase5_attribution_graphs.replacement.pruning import prune
from phase5_attribution_graphs.settings import EDGE_SHARE, NODE_SHARE

CASES = {
    "organism": lambda: organism_traced("addition").graph,
    "llama": lambda: tiny_traced("llama").graph,
}


def plainly_pruned(graph: Graph, node_share: float, edge_share: float) -> tuple[set[int], set[tuple[int, int]]]:
    """Columns and (row, column) links, by the steps that circuit-tracer takes, on all nodes, in double precision."""
    n, stop, n_targets = graph.n_latents, graph.token_columns.stop, len(graph.weights)
    whole = np.zeros((stop + n_targets, stop + n_targets))
    whole[:n, :stop], whole[stop:, :stop] = graph.edges[:n, :stop].numpy(), graph.edges[n:, :stop].numpy()
    weights = np.concatenate([np.zeros(stop), graph.weights.numpy().astype(float)])
    always = np.zeros(len(whole), bool)
    always[stop - graph.n_pos :] = True
    influences = reached(whole, weights)
    nodes = (influences >= cut(influences[:stop], node_share)) | always
    whole[~nodes], whole[:, ~nodes] = 0, 0
    score = shares(whole) * (reached(whole, weights) + weights)[:, None]
    links = (score >= cut(score, edge_share)) & (score > 0)
    is_latent = np.arange(len(whole)) < n
    while True:
        leads_on = links.any(0) | always
        fed = links.any(1) | ~is_latent
        if (nodes == nodes & leads_on & fed).all():
            break
        nodes = nodes & leads_on & fed
        links[~nodes], links[:, ~nodes] = False, False
    rows, columns = links.nonzero()
    rows = np.where(rows < n, rows, rows - stop + n)
    return set(nodes[:stop].nonzero()[0].tolist()), set(zip(rows.tolist(), columns.tolist(), strict=True))


def shares(whole: np.ndarray) -> np.ndarray:
    sums = np.abs(whole).sum(1, keepdims=True)
    return np.abs(whole) / np.where(sums > 0, sums, 1)


def reached(whole: np.ndarray, weights: np.ndarray) -> np.ndarray:
    matrix, total = shares(whole), np.zeros(len(whole))
    step = weights @ matrix
    while step.any():
        total += step
        step = step @ matrix
    return total


def cut(values: np.ndarray, share: float) -> float:
    ranked = np.sort(values.flatten())[::-1]
    return ranked[np.searchsorted(ranked.cumsum() / ranked.sum(), share)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("node_share, edge_share", [(NODE_SHARE, EDGE_SHARE), (0.5, 0.8), (0.99, 0.9)])
def test_the_same_nodes_and_links_are_kept_as_by_plain_steps(name, node_share, edge_share):
    graph = CASES[name]()
    columns, links = plainly_pruned(graph, node_share, edge_share)
    pruned = prune(graph, node_share, edge_share)
    assert set(pruned.columns.tolist()) == columns
    assert {tuple(link) for link in pruned.links.tolist()} == links
    assert pruned.latents(graph).tolist() == sorted(column for column in columns if column < graph.n_latents)


def test_tokens_stay_and_every_kept_latent_leads_on_and_is_led_to():
    graph = organism_traced("capitals").graph
    pruned = prune(graph)
    kept = set(pruned.columns.tolist())
    assert set(range(graph.token_columns.start, graph.token_columns.stop)) <= kept
    rows, columns = set(pruned.links[:, 0].tolist()), set(pruned.links[:, 1].tolist())
    latents = pruned.latents(graph).tolist()
    assert 50 < len(latents) < graph.n_latents / 4 and set(latents) <= rows & columns
    assert columns <= kept and {row for row in rows if row < graph.n_latents} <= kept


def test_cumulative_influence_rises_to_one_in_the_order_of_influence():
    graph = organism_traced("addition").graph
    cumulative = prune(graph).cumulative
    assert len(cumulative) == graph.token_columns.stop and cumulative.max().item() == pytest.approx(1, abs=1e-5)
    n_kept = int((cumulative <= NODE_SHARE).sum())
    assert 10 < n_kept < len(cumulative) / 2
    in_order = cumulative[influence(graph).argsort(descending=True)]
    assert (in_order.diff() >= 0).all()
