"""Covers phase5_attribution_graphs/replacement/virtual_weights.py: products of weights beside the edges of a prompt."""

import dataclasses

import pytest
import torch
from small_graphs import SKIP, Traced, organism_traced, tiny_traced

from phase5_attribution_graphs.replacement.head_loadings import head_loadings
from phase5_attribution_graphs.replacement.interventions import LINEAR, Change, Interventions, in_double
from phase5_attribution_graphs.replacement.pruning import prune
from phase5_attribution_graphs.replacement.verify import source
from phase5_attribution_graphs.replacement.virtual_weights import VirtualWeights, virtual_weights

CASES = {"organism": lambda: organism_traced("capitals"), "qwen2": lambda: tiny_traced("qwen2")}


def weights_of(found: Traced) -> VirtualWeights:
    """Of the latents that pruning keeps; of all where there are few, since random transcoders leave errors alone."""
    graph = found.graph
    latents = prune(graph).latents(graph) if graph.n_latents > 1000 else torch.arange(graph.n_latents)
    return virtual_weights(graph, found.model, latents)


def with_attention_silent(found: Traced) -> Interventions:
    """The model itself, whose heads hand nothing on."""
    silent = [dataclasses.replace(block, pattern=torch.zeros_like(block.pattern)) for block in found.run.blocks]
    return Interventions(found.lm, dataclasses.replace(found.run, blocks=silent), found.transcoders)


@pytest.mark.parametrize("name", CASES)
def test_a_virtual_weight_is_the_product_of_two_latents_weights(name):
    found, weights = CASES[name](), weights_of(CASES[name]())
    graph = found.graph
    for target, to in list(enumerate(weights.latents.tolist()))[::40]:
        for place, at in list(enumerate(weights.latents.tolist()))[::7]:
            reads, writes = (found.transcoders[int(graph.layer[node])] for node in (to, at))
            gain = found.run.blocks[int(graph.layer[to])].mlp_gain if reads.with_gain else 1
            product = (reads.W_enc[:, graph.latent[to]] * gain) @ writes.W_dec[graph.latent[at]]
            expected = float(product) if graph.layer[to] > graph.layer[at] else 0
            assert weights.virtual[target, place].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_direct_path_is_what_is_left_without_attention(name):
    """Sources are doubled in the model's own modules, in double precision, while no head hands anything on."""
    found, weights = CASES[name](), weights_of(CASES[name]())
    graph, sources = found.graph, weights.latents[::9]
    changes = [Change(adds=(source(graph, found.model, int(column)),)) for column in sources]
    with in_double(found.lm):
        outcome = with_attention_silent(found).outcomes([Change(), *changes], LINEAR)
    reads = found.model.read_vectors(weights.latents).double()
    places = zip(graph.layer[weights.latents].tolist(), graph.pos[weights.latents].tolist(), reads, strict=True)
    mid = outcome.resid_mid
    moved = torch.stack([(mid[layer][1:, pos] - mid[layer][0, pos]) @ read for layer, pos, read in places])
    assert torch.allclose(weights.direct[:, ::9].double(), moved, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_direct_path_is_zero_between_positions_and_some_within(name):
    found, weights = CASES[name](), weights_of(CASES[name]())
    pos = found.graph.pos[weights.latents]
    is_edge = weights.edges != 0
    assert torch.equal(weights.edges, found.graph.edges[weights.latents][:, weights.latents])
    between = weights.direct[is_edge & (pos[:, None] != pos)]
    assert len(between) and (between == 0).all()
    within = weights.direct[is_edge & (pos[:, None] == pos)]
    assert within.isfinite().all() and (within != 0).any()


def test_from_a_layer_to_the_next_the_direct_path_is_what_bypasses_the_heads():
    found, weights = CASES["qwen2"](), weights_of(CASES["qwen2"]())
    graph = found.graph
    is_neighbour = (graph.layer[:, None] == graph.layer + 1) & (graph.pos[:, None] == graph.pos)
    for row, column in is_neighbour.nonzero()[::20].tolist():
        split = head_loadings(graph, found.model, found.targets, row, column)
        assert split.bypass.item() == pytest.approx(weights.direct[row, column].item(), rel=1e-4, abs=1e-6)


def test_a_skip_transcoder_is_no_part_of_the_direct_path():
    found = tiny_traced("qwen2", SKIP)
    plain = dataclasses.replace(
        found.model, transcoders=[dataclasses.replace(one, W_skip=None) for one in found.transcoders]
    )
    latents = torch.arange(found.graph.n_latents)
    with_skip, without = (virtual_weights(found.graph, model, latents) for model in (found.model, plain))
    assert torch.equal(with_skip.direct, without.direct) and (with_skip.direct != 0).any()
