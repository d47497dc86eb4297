"""Covers phase5_attribution_graphs/replacement/head_loadings.py: an edge is what heads carry and what bypasses them."""

import dataclasses

import pytest
import torch
from small_graphs import RELU, SKIP, Traced, organism_traced, random_tokens, random_transcoders, tiny_model, tiny_traced
from small_graphs import traced as traced_anew
from torch import Tensor

from phase5_attribution_graphs.replacement.head_loadings import HeadLoadings, head_loadings
from phase5_attribution_graphs.replacement.interventions import LINEAR, Change, Interventions, in_double
from phase5_attribution_graphs.replacement.verify import source

CASES = {
    "organism": lambda: organism_traced("capitals"),
    "qwen2": lambda: tiny_traced("qwen2"),
    "qwen2, skip": lambda: tiny_traced("qwen2", SKIP),
    "llama with output bias": lambda: tiny_traced("llama with output bias", RELU),
    "gemma2": lambda: tiny_traced("gemma2"),
}


def loadings_of(found: Traced, row: int, column: int) -> HeadLoadings:
    return head_loadings(found.graph, found.model, found.targets, row, column)


def strongest(found: Traced, columns: slice, n: int = 10) -> list[tuple[int, int]]:
    edges = found.graph.edges[:, columns]
    places = edges.abs().flatten().topk(n).indices
    return [(int(place) // edges.shape[1], int(place) % edges.shape[1] + columns.start) for place in places]


def assert_adds_up(split: HeadLoadings, n_heads: int) -> None:
    if not split.layers:
        return
    assert split.heads.shape == (len(split.layers), n_heads) and split.bypass.shape == (len(split.layers),)
    size = split.heads.abs().sum(1) + split.bypass.abs()
    missed = (split.heads.sum(1) + split.bypass - split.edge).abs()
    assert (missed <= 1e-5 * size + 1e-9).all(), (split, missed)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", ["latents", "errors", "tokens"])
def test_heads_and_bypass_of_every_layer_add_up_to_the_edge(name, kind):
    found = CASES[name]()
    graph = found.graph
    columns = {"latents": slice(0, graph.n_latents), "errors": graph.error_columns, "tokens": graph.token_columns}[kind]
    for row, column in strongest(found, columns):
        if kind == "latents" or row >= graph.n_latents:
            assert_adds_up(loadings_of(found, row, column), found.lm.model.config.num_attention_heads)


@pytest.mark.parametrize("name", CASES)
def test_an_edge_of_constants_is_split_behind_the_biases_themselves(name):
    found = CASES[name]()
    graph = found.graph
    for layer in range(graph.n_layers - 1):
        split = loadings_of(found, graph.n_latents, graph.constant_columns.start + layer)
        assert split.layers == list(range(layer + 1, graph.n_layers))
        assert_adds_up(split, found.lm.model.config.num_attention_heads)


def moved_through(found: Traced, layer: int, kept: list[int], target: int, column: int) -> float:
    """What doubling a source moves in a target, by the model itself, when these heads of a layer alone hand it on."""
    blocks = list(found.run.blocks)
    pattern = torch.zeros_like(blocks[layer].pattern)
    pattern[kept] = blocks[layer].pattern[kept]
    blocks[layer] = dataclasses.replace(blocks[layer], pattern=pattern)
    runner = Interventions(found.lm, dataclasses.replace(found.run, blocks=blocks), found.transcoders)
    change = Change(adds=(source(found.graph, found.model, column),))
    final = runner.outcomes([Change(), change], LINEAR).resid_final[:, -1]
    direction = found.targets[target].direction.double() * found.run.final_factor.double()
    return float((final[1] - final[0]) @ direction)


@pytest.mark.parametrize("name", ["organism", "qwen2"])
def test_a_head_carries_what_the_model_hands_on_with_it_alone(name):
    found = CASES[name]()
    graph = found.graph
    column = int(graph.edges[graph.n_latents, : graph.n_latents].abs().argmax())
    early = int(graph.edges[graph.n_latents, graph.token_columns].abs().argmax()) + graph.token_columns.start
    for source_column in (column, early):
        split = loadings_of(found, graph.n_latents, source_column)
        with in_double(found.lm):
            for place, layer in enumerate(split.layers):
                bypass = moved_through(found, layer, [], 0, source_column)
                assert split.bypass[place].item() == pytest.approx(bypass, rel=1e-4, abs=1e-5)
                for head in range(split.heads.shape[1]):
                    alone = moved_through(found, layer, [head], 0, source_column) - bypass
                    assert split.heads[place, head].item() == pytest.approx(alone, rel=1e-4, abs=1e-5)


def test_an_edge_between_positions_never_bypasses_attention_everywhere():
    """From one position to another it must run through a head of some layer; within one it may run past all."""
    found = tiny_traced("llama")
    graph, n = found.graph, found.graph.n_latents
    is_next_layer = graph.layer[:, None] == graph.layer + 1
    is_elsewhere = graph.pos[:, None] != graph.pos
    row, column = ((graph.edges[:n, :n] != 0) & is_next_layer & is_elsewhere).nonzero()[0].tolist()
    split = loadings_of(found, row, column)
    assert split.layers == [int(graph.layer[row])] and split.bypass.item() == 0


def test_a_capped_graph_has_the_same_loadings_of_the_same_edge():
    lm = tiny_model("llama")
    whole, capped = (
        traced_anew(lm, random_tokens(), random_transcoders(lm), max_latents=limit) for limit in (10**6, 20)
    )
    row, column = strongest(capped, slice(0, capped.graph.n_latents), 1)[0]
    other = [place_in(whole, capped, place) for place in (row, column)]
    one, two = loadings_of(capped, row, column), loadings_of(whole, *other)
    assert one.edge == pytest.approx(two.edge, rel=1e-5) and torch.allclose(one.heads, two.heads, rtol=1e-5)


def place_in(whole: Traced, capped: Traced, place: int) -> int:
    graph = capped.graph
    if place >= graph.n_latents:
        return place - graph.n_latents + whole.graph.n_latents
    numbers: list[Tensor] = [graph.layer, graph.pos, graph.latent]
    return whole.model.index_of(*(int(tensor[place]) for tensor in numbers))


def test_an_edge_that_passes_no_attention_has_no_layers():
    found = tiny_traced("llama")
    graph = found.graph
    is_last = (graph.layer == graph.n_layers - 1) & (graph.pos == graph.n_pos - 1)
    column = int(is_last.nonzero()[0])
    split = loadings_of(found, graph.n_latents, column)
    assert split.edge != 0 and not split.layers and not len(split.bypass)
    assert loadings_of(found, 0, column).layers == [] and loadings_of(found, 0, column).edge == 0
