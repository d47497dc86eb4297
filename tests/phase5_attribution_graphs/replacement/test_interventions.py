"""Covers phase5_attribution_graphs/replacement/interventions.py beside TransformerLens, hooks of our own, nothing."""

import pytest
import torch
from reading_sites import hooks_of
from small_graphs import Traced, organism_traced, tiny_traced
from support import ROOT
from torch import Tensor

from common.model.hooks import change_sites, read_sites
from common.saes.encoder import LayerSae, load_sae
from common.saes.sources import transcoder_source
from phase5_attribution_graphs.replacement.influence import signed_effect
from phase5_attribution_graphs.replacement.interventions import (
    EMBEDDING,
    FREE,
    LINEAR,
    Add,
    Change,
    Fixed,
    SetLatents,
)
from phase5_attribution_graphs.replacement.verify import set_to, zero_change

EVERY_FIXED = [FREE, Fixed(attention=True), Fixed(norms=True), Fixed(attention=True, norms=True), LINEAR]


def strongest(found: Traced, n: int = 10) -> Tensor:
    """The latents with the largest signed effects."""
    return signed_effect(found.graph)[: found.graph.n_latents].abs().topk(n).indices


@pytest.fixture(scope="module")
def saes() -> list[LayerSae]:
    """The organism's transcoders in another form than the one under test."""
    source = transcoder_source("auto", "organism")
    return [load_sae(source, layer) for layer in range(6)]


def test_an_ablation_changes_logits_as_transformer_lens_does(saes):
    """A second implementation of the model, its hooks and the transcoders: latents are set to zero, errors kept."""
    from transformer_lens.model_bridge import TransformerBridge

    from common.model.loading import load_model

    found = organism_traced("capitals")
    graph, cut = found.graph, strongest(found)
    lm = load_model("organism", "cpu", "float32", threads=1)
    folder = str(ROOT / "model_organism/weights/model")
    bridge = TransformerBridge.boot_transformers(folder, device="cpu", hf_model=lm.model, tokenizer=lm.tokenizer)
    read: dict[int, Tensor] = {}
    hooks = []
    for layer, sae in enumerate(saes):
        own = cut[graph.layer[cut] == layer]

        def keep(x, hook, layer=layer):
            read[layer] = x

        def ablate(wrote, hook, layer=layer, sae=sae, own=own):
            wrote = wrote.clone()
            for pos, latent in zip(graph.pos[own].tolist(), graph.latent[own].tolist(), strict=True):
                wrote[0, pos] -= sae.encode(read[layer][0, pos])[latent] * sae.W_dec[latent]
            return wrote

        hooks += [(f"blocks.{layer}.ln2.hook_normalized", keep), (f"blocks.{layer}.hook_mlp_out", ablate)]
    with torch.no_grad():
        plain = bridge(found.run.tokens[None])[0, -1]
        theirs = bridge.run_with_hooks(found.run.tokens[None], fwd_hooks=hooks)[0, -1]
    ours = found.runner.outcomes([Change(), set_to(graph, cut, 0.0)]).logits
    assert (ours[0] - plain).abs().max() < 1e-4 and (ours[1] - theirs).abs().max() < 1e-4
    assert (ours[1] - ours[0]).abs().max() > 0.5


def test_transcoders_in_place_of_mlps_write_as_hooks_of_our_own_have_them(saes):
    found = organism_traced("agreement")
    ids, read, changes = found.run.tokens[None], {}, {}
    for sae in saes:

        def put(wrote: Tensor, sae: LayerSae = sae) -> Tensor:
            x = read[sae.site][0]
            return torch.cat([wrote[:, :1], sae.reconstruct(x, sae.encode(x))[None, 1:]], 1)

        changes[sae.site_out] = put
    with torch.inference_mode(), read_sites(found.lm.model, [sae.site for sae in saes], read.__setitem__):
        with change_sites(found.lm.model, changes):
            expected = found.lm.model(input_ids=ids, use_cache=False).logits[0, -1]
    outcome = found.runner.outcomes([Change()], replace_mlps=True)
    assert (outcome.logits[0] - expected).abs().max() < 1e-4
    assert (outcome.logits[0] - found.run.logits).abs().max() > 0.1


@pytest.mark.parametrize("name", ["gemma2", "qwen2", "gpt-oss"])
@pytest.mark.parametrize("fixed", EVERY_FIXED)
def test_without_a_change_the_model_computes_what_was_recorded(name, fixed):
    found = tiny_traced(name)
    outcome = found.runner.outcomes([Change(), Change()], fixed)
    for block, mid in zip(found.run.blocks, outcome.resid_mid, strict=True):
        assert torch.allclose(mid[0], block.resid_mid, atol=1e-4)
    assert torch.allclose(outcome.resid_final[1], found.run.resid_final, atol=1e-4)
    assert torch.allclose(outcome.logits[0], found.run.logits, atol=1e-4)


@pytest.mark.parametrize("behaviour", ["agreement", "addition"])
def test_a_change_of_zero_changes_no_bit(behaviour):
    found = organism_traced(behaviour)
    nothing = torch.zeros(found.lm.d_model)
    adds = tuple(Add(layer, 2, nothing) for layer in range(EMBEDDING, 6))
    for fixed in EVERY_FIXED:
        logits = found.runner.outcomes([Change(), Change(adds=adds), Change()], fixed).logits
        assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])
    assert zero_change(found.graph, found.runner) == 0


def test_every_latent_set_to_what_it_was_leaves_the_logits():
    found = organism_traced("capitals")
    graph = found.graph
    same = Change(SetLatents(graph.layer, graph.pos, graph.latent, graph.activation))
    logits = found.runner.outcomes([Change(), same]).logits
    assert (logits[1] - logits[0]).abs().max() < 5e-5


def test_a_latent_of_the_last_layer_moves_the_target_by_its_edge():
    """Before the final norm's scale is recomputed and the cap is put on: both are fixed here."""
    found = organism_traced("capitals")
    graph, n = found.graph, found.graph.n_latents
    is_last = (graph.layer == 5) & (graph.pos == graph.n_pos - 1)
    column = int((graph.edges[n, :n].abs() * is_last).argmax())
    index = torch.tensor([column])
    outcome = found.runner.outcomes([Change(), set_to(graph, index, 0.0), set_to(graph, index, 3.0)])
    direction = found.targets[0].direction * found.run.final_factor
    moved = (outcome.resid_final[:, -1] - outcome.resid_final[0, -1]) @ direction
    edge, activation = graph.edges[n, column].item(), graph.activation[column].item()
    assert moved[1].item() == pytest.approx(-edge, rel=1e-3)
    assert moved[2].item() == pytest.approx(edge * (3.0 - activation) / activation, rel=1e-3)


def test_a_latent_set_again_below_a_change_gets_its_value_whatever_it_is_by_then():
    """Its activation now is taken off, not the recorded one: with transcoders alone the latent then has the value."""
    found = tiny_traced("llama")
    graph = found.graph
    early, late = (int(((graph.layer == layer) & (graph.pos == 4)).nonzero()[0]) for layer in (0, 2))
    value, transcoder = 2.5, found.transcoders[2]
    steering = Add(0, 4, 3 * torch.ones(found.lm.d_model))
    latents = set_to(graph, torch.tensor([late]), value).latents
    changes = [Change(adds=(steering,)), Change(latents, adds=(steering,)), set_to(graph, torch.tensor([early]), 0.0)]
    outcome = found.runner.outcomes(changes, replace_mlps=True)
    block = found.run.blocks[2]
    mid = outcome.resid_mid[2][0, 4]
    x = mid * torch.rsqrt(mid.square().mean() + found.lm.model.config.rms_norm_eps) * block.mlp_gain
    number = int(graph.latent[late])
    now = transcoder.gated(transcoder.pre_acts(x))[number]
    moved = outcome.resid_final[1, 4] - outcome.resid_final[0, 4]
    assert torch.allclose(moved, (value - now) * transcoder.W_dec[number], atol=1e-4)
    assert not torch.allclose(now, graph.activation[late], rtol=1e-3)


def test_batches_of_every_size_give_the_same_in_the_same_order():
    found = tiny_traced("qwen2")
    changes = [set_to(found.graph, index[None], 0.0) for index in strongest(found, 9)]
    whole = found.runner.outcomes(changes)
    parts = found.runner.outcomes(changes, at_once=2)
    assert torch.allclose(whole.logits, parts.logits, atol=1e-5) and len(whole.logits) == 9
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole.resid_mid, parts.resid_mid, strict=True))
    assert len({tuple(row.tolist()) for row in whole.logits}) == 9


def test_a_change_of_one_row_leaves_the_others():
    found = tiny_traced("gemma2")
    vector = torch.ones(found.lm.d_model)
    changes = [Change(), Change(adds=(Add(EMBEDDING, 3, vector),)), Change(adds=(Add(1, 5, vector),))]
    outcome = found.runner.outcomes(changes)
    first, second = (outcome.resid_mid[layer] for layer in (0, 2))
    assert torch.equal(first[0], first[2]) and torch.equal(first[0, :3], first[1, :3])
    assert torch.equal(second[0, :5], second[2, :5]) and not torch.allclose(second[0, 5], second[2, 5])


def test_hooks_are_removed_when_a_change_fails():
    found = tiny_traced("llama")
    before = hooks_of(found.lm.model)
    with pytest.raises(IndexError):
        found.runner.outcomes([Change(adds=(Add(1, 99, torch.zeros(found.lm.d_model)),))], LINEAR)
    assert hooks_of(found.lm.model) == before
