"""Covers phase5_attribution_graphs/replacement/sweep.py, graph.py, targets.py: chunks, the cap, targets, the file."""

import pytest
import torch
from small_graphs import (
    KINDS,
    Traced,
    organism,
    organism_traced,
    random_tokens,
    random_transcoders,
    tiny_model,
    tiny_traced,
    traced,
)
from torch import Tensor

from phase5_attribution_graphs.replacement.graph import TENSORS, Graph
from phase5_attribution_graphs.replacement.influence import influence
from phase5_attribution_graphs.replacement.sweep import _Sweep, build_graph
from phase5_attribution_graphs.replacement.targets import MASS, MOST_LOGITS, contrast, likeliest


def assert_same_rows(one: Tensor, other: Tensor) -> None:
    """Products of other shapes round differently."""
    largest = other.abs().amax(1, keepdim=True)
    assert one.shape == other.shape and ((one - other).abs() / largest).max() < 2e-6


def rebuilt(found: Traced, **options: float) -> Graph:
    return build_graph(found.model, found.targets, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_memory_mb", [0.001, 0.1, 0.4])
def test_chunks_of_every_size_give_the_same_rows(kind, max_memory_mb):
    found = tiny_traced("qwen2", kind)
    sizes = [_Sweep(found.model, found.targets, mb).chunk_size for mb in (max_memory_mb, 1000.0)]
    assert sizes[0] < found.graph.n_latents < sizes[1]
    assert_same_rows(rebuilt(found, max_memory_mb=max_memory_mb).edges, rebuilt(found, max_memory_mb=1000.0).edges)


def test_a_chunk_holds_no_more_than_its_memory():
    found = tiny_traced("llama")
    small, large = (_Sweep(found.model, found.targets, mb).chunk_size for mb in (1.0, 2.0))
    assert small > 1 and abs(large - 2 * small) <= 1
    assert _Sweep(found.model, found.targets, 1e-6).chunk_size == 1


@pytest.mark.parametrize("limit", [1, 40, 100])
@pytest.mark.parametrize("max_memory_mb", [0.05, 32.0])
def test_a_capped_graph_has_the_rows_of_the_whole_one(limit, max_memory_mb):
    found = tiny_traced("gemma2")
    whole, capped = found.graph, rebuilt(found, max_latents=limit, max_memory_mb=max_memory_mb)
    assert capped.n_latents == limit < whole.n_latents == capped.n_active and capped.is_capped
    places = zip(capped.layer.tolist(), capped.pos.tolist(), capped.latent.tolist(), strict=True)
    kept = torch.tensor([found.model.index_of(*place) for place in places])
    assert torch.equal(kept, kept.sort().values)
    rows = torch.cat([kept, torch.arange(whole.n_latents, len(whole.edges))])
    columns = torch.cat([kept, torch.arange(whole.n_latents, whole.edges.shape[1])])
    assert_same_rows(capped.edges, whole.edges[rows][:, columns])
    assert torch.equal(capped.values, whole.values[rows]) and torch.equal(capped.activation, whole.activation[kept])


def test_the_cap_keeps_nearly_as_much_influence_as_the_best_choice_would():
    found = organism_traced("addition")
    capped = rebuilt(found, max_latents=400)
    reached = influence(found.graph)[: found.graph.n_latents]
    places = zip(capped.layer.tolist(), capped.pos.tolist(), capped.latent.tolist(), strict=True)
    kept = torch.tensor([found.model.index_of(*place) for place in places])
    assert reached[kept].sum() > 0.95 * reached.topk(400).values.sum()


def test_a_limit_that_is_not_reached_caps_nothing():
    found = tiny_traced("llama")
    graph = rebuilt(found, max_latents=found.graph.n_latents)
    assert not graph.is_capped and torch.equal(graph.edges, found.graph.edges)


@pytest.mark.parametrize("max_latents", [10**6, 30])
def test_a_graph_comes_back_from_its_file_as_it_was(tmp_path, max_latents):
    graph = rebuilt(tiny_traced("qwen3"), max_latents=max_latents)
    path = tmp_path / "graph.safetensors"
    path.write_bytes(graph.to_bytes())
    read = Graph.read(path)
    assert all(torch.equal(getattr(read, name), getattr(graph, name)) for name in TENSORS)
    facts = ("names", "target_tokens", "n_layers", "n_active", "is_capped", "n_pos", "error_columns")
    assert all(getattr(read, name) == getattr(graph, name) for name in facts)
    assert read.to_bytes() == graph.to_bytes() and torch.equal(read.unexplained(), graph.unexplained())


def test_rows_miss_their_values_by_what_is_planted():
    graph = tiny_traced("llama").graph
    changed = graph.edges.clone()
    changed[3, 0] += 0.5 * graph.edges[3].abs().sum()
    read = Graph(**{**vars(graph), "edges": changed})
    assert read.unexplained()[3] > 0.2 and read.unexplained()[4] < 2e-5


def test_columns_stand_in_the_order_that_is_said():
    graph = tiny_traced("llama").graph
    slices = [slice(0, graph.n_latents), graph.error_columns, graph.token_columns, graph.constant_columns]
    assert all(one.stop == other.start for one, other in zip(slices, slices[1:], strict=False))
    assert slices[-1].stop == graph.edges.shape[1] and len(graph.edges) == graph.n_latents + len(graph.weights)
    keys = (graph.layer * graph.n_pos + graph.pos) * 10**6 + graph.latent
    assert (keys.diff() > 0).all() and (graph.pos > 0).all()


def test_likeliest_targets_reach_the_mass_or_are_ten():
    lm, _ = organism()
    for behaviour in ("agreement", "capitals", "addition"):
        run = organism_traced(behaviour).run
        targets, chances = likeliest(run, lm), torch.softmax(run.logits, -1).sort(descending=True)
        total = sum(target.weight for target in targets)
        assert len(targets) == MOST_LOGITS or (total >= MASS and total - targets[-1].weight < MASS)
        assert [target.tokens[0] for target in targets] == chances.indices[: len(targets)].tolist()
        assert not any(target.is_contrast for target in targets)
    assert len(likeliest(run, lm, most=3, mass=1.0)) == 3


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_a_target_s_value_is_its_logit_before_the_cap_less_the_mean(name):
    lm = tiny_model(name)
    found = traced(lm, random_tokens(), random_transcoders(lm))
    cap = getattr(lm.model.config, "final_logit_softcapping", None)
    logits = found.run.logits if cap is None else cap * torch.atanh(found.run.logits / cap)
    values = found.graph.values[found.graph.n_latents :]
    assert values[0].item() == pytest.approx((logits[5] - logits[6]).item(), rel=1e-3, abs=1e-4)
    expected = torch.stack([logits[target.tokens[0]] for target in found.targets[1:]]) - logits.mean()
    assert torch.allclose(values[1:], expected, rtol=1e-3, atol=1e-3)


def test_a_contrast_says_both_tokens():
    lm, _ = organism()
    target = contrast(organism_traced("addition").run, lm, *lm.tokenizer(" is are")["input_ids"][1:3])
    assert target.is_contrast and target.name == '" is" - " are"' and target.weight == 1
