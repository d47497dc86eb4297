"""Covers phase5_attribution_graphs/replacement/verify.py: which edges are tried, and how."""

import pytest
import torch
from small_graphs import tiny_traced

from phase5_attribution_graphs.replacement import verify


def test_the_strongest_edges_are_those_of_a_plain_sort():
    graph = tiny_traced("llama").graph
    edges = graph.edges[:, : graph.token_columns.stop]
    places = verify._strongest(graph, 50)
    expected = edges.abs().flatten().sort(descending=True).values[:50]
    assert torch.equal(edges[places[:, 0], places[:, 1]].abs(), expected)


@pytest.mark.parametrize("seed", range(3))
def test_random_edges_are_distinct_and_none_is_zero(seed):
    graph = tiny_traced("llama").graph
    places = verify._random(graph, 200, seed)
    assert len({tuple(place) for place in places.tolist()}) == 200
    assert (graph.edges[places[:, 0], places[:, 1]] != 0).all()
    assert (places[:, 1] < graph.token_columns.stop).all()
    assert torch.equal(places, verify._random(graph, 200, seed))


def test_asked_for_more_edges_than_there_are_all_that_are_not_zero_are_drawn():
    graph = tiny_traced("llama").graph
    edges = graph.edges[:, : graph.token_columns.stop]
    drawn = {tuple(place) for place in verify._random(graph, 10**7, 0).tolist()}
    assert drawn == {tuple(place) for place in edges.nonzero().tolist()}
