"""Covers phase5_attribution_graphs/replacement: rows add up and edges are what interventions do, in every architecture
that is supported, with transcoders of every kind.
"""

import pytest
import torch
from reading_sites import hooks_of
from small_graphs import (
    BEHAVIOURS,
    JUMPRELU,
    KINDS,
    TINY,
    Traced,
    organism_traced,
    random_tokens,
    random_transcoders,
    tiny_model,
    tiny_traced,
    traced,
)

from phase5_attribution_graphs.replacement.interventions import LINEAR, Change, in_double
from phase5_attribution_graphs.replacement.verify import RANDOM_BOUND, ROWS_BOUND, STRONGEST_BOUND, source, verify

N_PROMPTS = 2  # of each behaviour


def assert_exact(found: Traced) -> None:
    verified = verify(found.graph, found.model, found.targets, found.runner)
    assert verified.exact, verified
    assert verified.rows <= ROWS_BOUND and verified.zero_change == 0
    assert verified.strongest.n == verified.random.n == 50 and verified.random.weakest > 0
    assert verified.strongest.largest <= STRONGEST_BOUND and verified.random.largest <= RANDOM_BOUND


@pytest.mark.parametrize("number", range(N_PROMPTS))
@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_graph_of_the_organism_is_exact(behaviour, number):
    assert_exact(organism_traced(behaviour, number))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TINY)
def test_a_graph_of_each_architecture_and_kind_is_exact(name, kind):
    assert_exact(tiny_traced(name, kind))


@pytest.mark.parametrize("name", ["qwen2", "gemma2"])
@pytest.mark.parametrize("with_gain", [False, True])
def test_transcoders_read_the_norm_with_or_without_its_gain(name, with_gain):
    lm = tiny_model(name)
    assert_exact(traced(lm, random_tokens(), random_transcoders(lm, with_gain=with_gain)))


@pytest.mark.parametrize("without", [(0,), (1,), (2,), (0, 2)])
def test_a_layer_without_a_transcoder_is_an_error_as_a_whole(without):
    lm = tiny_model("llama")
    found = traced(lm, random_tokens(), random_transcoders(lm, without=without))
    assert_exact(found)
    for layer in without:
        assert torch.equal(found.model.errors[layer, 1:], found.run.blocks[layer].mlp_out[1:])
        assert not (found.graph.layer == layer).any()


@pytest.mark.parametrize("name", ["qwen2", "gemma2"])
def test_every_edge_into_every_row_is_what_doubling_its_source_does(name):
    """The whole matrix against the model's own modules, tokens and errors included."""
    found = tiny_traced(name, JUMPRELU)
    graph, model = found.graph, found.model
    changes = [Change(adds=(source(graph, model, column),)) for column in range(graph.token_columns.stop)]
    with in_double(found.lm):
        outcome = found.runner.outcomes([Change(), *changes], LINEAR)
    reads = model.read_vectors(torch.arange(graph.n_latents)).double()
    moved = [
        (outcome.resid_mid[layer][1:, pos] - outcome.resid_mid[layer][0, pos]) @ read
        for layer, pos, read in zip(graph.layer.tolist(), graph.pos.tolist(), reads, strict=True)
    ]
    final = (outcome.resid_final[1:, -1] - outcome.resid_final[0, -1]) * found.run.final_factor.double()
    moved += [final @ target.direction.double() for target in found.targets]
    claimed = graph.edges[:, : graph.token_columns.stop].double()
    largest = claimed.abs().amax(1, keepdim=True)
    assert ((torch.stack(moved) - claimed).abs() / largest).max() < 1e-5


def test_a_latent_reads_only_layers_before_and_positions_not_after_its_own():
    graph = tiny_traced("llama").graph
    n = graph.n_latents
    reads = graph.edges[:n, :n] != 0
    assert reads.any() and not reads[graph.layer[:, None] <= graph.layer].any()
    assert not reads[graph.pos[:, None] < graph.pos].any()
    errors = (graph.edges[:n, graph.error_columns] != 0).unflatten(1, (graph.n_layers, graph.n_pos))
    assert not errors[:, :, 0].any(), "the sink has no nodes"


def test_the_run_leaves_no_hooks_and_float32_comes_back_bit_for_bit():
    lm = tiny_model("gemma2")
    before, hooks = [parameter.clone() for parameter in lm.model.parameters()], hooks_of(lm.model)
    implementation = lm.model.config._attn_implementation
    found = tiny_traced("gemma2")
    verify(found.graph, found.model, found.targets, found.runner)
    assert hooks_of(lm.model) == hooks and lm.model.config._attn_implementation == implementation
    assert all(map(torch.equal, before, lm.model.parameters()))


def test_a_capped_graph_is_verified_without_its_rows():
    lm = tiny_model("qwen3")
    found = traced(lm, random_tokens(), random_transcoders(lm), max_latents=30)
    verified = verify(found.graph, found.model, found.targets, found.runner)
    assert found.graph.is_capped and verified.rows is None and verified.exact


def test_the_sliding_windows_of_the_test_model_are_shorter_than_its_prompt():
    patterns = [block.pattern for block in tiny_traced("gemma2").run.blocks]
    windowed = [not pattern[:, -1, 0].any() for pattern in patterns]
    assert any(windowed) and not all(windowed)
