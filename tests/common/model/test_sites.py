"""Covers common/model/sites.py, hooks.py, traces.py and block_parts.py: what attention and the MLP add to the residual
stream of small models of many architectures, and what the MLP reads.
"""

import copy

import pytest
import torch
from architectures import OTHERWISE_WITHOUT, PARALLEL, WITH_RESID_MID, small
from reading_sites import IDS, LAYER, at, hooks_of, in_16_bit, passed, read, zeroed
from torch import nn

from common.errors import UnknownHookError
from common.model.block_parts import Branch
from common.model.hooks import change_sites, decoder_blocks, parts_of_blocks, read_sites
from common.model.sites import (
    ATTN_OUT,
    HEADS,
    KINDS,
    MLP_NORMALIZED,
    MLP_OUT,
    NEURONS,
    RESID_MID,
    RESID_POST,
    RESID_PRE,
)

# By module names, which the code under test does not know: what writes each branch, and what reads the norm before the
# MLP. Only the last word of a path differs from the block's child where the block's child writes the sum.
ATTENTION = {
    "self_attn": "llama gemma qwen2 qwen3 olmo starcoder2 stablelm granite mistral mixtral qwen2_moe gpt_oss nemotron "
    "persimmon phi3 xglm biogpt opt phi cohere cohere2",
    "self_attention.dense": "bloom",
    "self_attention": "falcon",
    "attention": "gpt_neox",
    "post_self_attn_layernorm": "glm4",
    "post_attention_layernorm": "gemma2 gemma3_text olmo2",
    "attn": "gpt2 gpt_bigcode gpt_neo mpt gptj codegen",
}
MLP = {
    "mlp": "llama gemma qwen2 qwen3 olmo starcoder2 stablelm granite mistral mixtral qwen2_moe gpt_oss nemotron "
    "persimmon phi3 gpt2 gpt_bigcode gpt_neo gptj codegen gpt_neox falcon phi cohere cohere2",
    "mlp.dense_4h_to_h": "bloom",
    "post_mlp_layernorm": "glm4",
    "post_feedforward_layernorm": "gemma2 gemma3_text olmo2",
    "ffn.down_proj": "mpt",
    "fc2": "xglm biogpt opt",
}
BY_NAME = [
    {model: module for module, models in table.items() for model in models.split()} for table in (ATTENTION, MLP)
]
BRANCHED = [*WITH_RESID_MID, *PARALLEL]
NAMED = [architecture for architecture in BRANCHED if architecture in BY_NAME[0]]
NO_NORM = ["olmo2"]  # its MLP reads the stream as it is


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", BRANCHED)
def test_the_stream_is_what_came_in_and_what_attention_and_mlp_add(architecture, dtype):
    model = small(architecture).model if dtype == "float32" else in_16_bit(architecture)
    tolerance = {"rtol": 4 * torch.finfo(getattr(torch, dtype)).eps}
    for layer in range(len(decoder_blocks(model))):
        pre, attn, mlp, post = read(model, RESID_PRE, ATTN_OUT, MLP_OUT, RESID_POST, layer=layer)
        assert attn.shape == mlp.shape == pre.shape and attn.dtype == mlp.dtype == pre.dtype
        atol = tolerance["rtol"] * (pre.abs() + attn.abs() + mlp.abs()).max().item()
        assert torch.allclose(pre + attn + mlp, post, **tolerance, atol=atol)
        assert all(part.abs().max() > 0.01 for part in (attn, mlp))
        if architecture in WITH_RESID_MID:
            (mid,) = read(model, RESID_MID, layer=layer)
            assert torch.equal(pre + attn, mid) and torch.equal(mid + mlp, post)


@pytest.mark.parametrize("architecture", NAMED)
@pytest.mark.parametrize("branch", [ATTN_OUT, MLP_OUT])
def test_a_branch_set_to_zero_is_a_branch_removed(architecture, branch):
    """Removed by the module's name, which the code under test does not know."""
    model = small(architecture).model
    module = decoder_blocks(model)[LAYER].get_submodule(BY_NAME[branch == MLP_OUT][architecture])
    with zeroed(module):
        expected = passed(model)
    with change_sites(model, {at(branch): torch.zeros_like}):
        found = passed(model)
    assert torch.allclose(found, expected, atol=1e-5) and not torch.allclose(found, passed(model), atol=1e-3)


@pytest.mark.parametrize("architecture", BRANCHED)
@pytest.mark.parametrize("branch", [ATTN_OUT, MLP_OUT])
def test_a_branch_put_back_as_it_was_changes_nothing(architecture, branch):
    model = small(architecture).model
    with change_sites(model, {at(branch): torch.clone}):
        found = passed(model)
    assert torch.equal(found, passed(model))


@pytest.mark.parametrize("architecture", BRANCHED)
def test_what_is_added_to_a_branch_is_added_to_the_stream(architecture):
    model = small(architecture).model
    delta = torch.randn(64, generator=torch.Generator().manual_seed(1))
    plain_mlp, plain = read(model, MLP_OUT, RESID_POST)
    with change_sites(model, {at(MLP_OUT): lambda added: added + delta}):
        (found,) = read(model, RESID_POST)
    assert torch.allclose(found, plain + delta, atol=1e-4)
    with change_sites(model, {at(ATTN_OUT): lambda added: added + delta}):
        mlp, found = read(model, MLP_OUT, RESID_POST)
    assert torch.allclose(found, plain + delta + (mlp - plain_mlp), atol=1e-4)
    assert torch.equal(mlp, plain_mlp) == (architecture in PARALLEL)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", [one for one in BRANCHED if one not in NO_NORM])
def test_what_the_mlp_reads_is_the_normalised_stream_times_gain_plus_bias(architecture, dtype):
    model = small(architecture).model if dtype == "float32" else in_16_bit(architecture)
    norm = parts_of_blocks(model)[LAYER].mlp_norm
    assert norm is not None
    module, written = decoder_blocks(model)[LAYER].get_submodule(norm.module), []
    with module.register_forward_hook(lambda _m, _a, out: written.append(out.float())):
        (normalized,) = read(model, MLP_NORMALIZED)
    assert normalized.dtype == torch.float32 and normalized.shape == (*IDS.shape, 64)
    size = normalized - normalized.mean(-1, keepdim=True) if norm.centred else normalized
    assert torch.allclose(size.pow(2).mean(-1), torch.ones(IDS.shape), atol=2e-2)
    weight, bias = (getattr(module, name, None) for name in ("weight", "bias"))
    gain = torch.ones(64) if weight is None else weight.float()
    if "gemma" in architecture or architecture == "nemotron":
        gain = 1 + gain
    expected = normalized * gain + (0 if bias is None else bias.float())
    loose = 1e-5 if dtype == "float32" else 2e-2
    assert torch.allclose(written[0].reshape(expected.shape), expected, rtol=loose, atol=loose)


def test_the_norm_is_read_between_gains_that_are_not_one():
    """Gains of one would hide that they were left in."""
    for architecture, centred in (("llama", False), ("gpt2", True), ("gemma2", False), ("gpt_neox", True)):
        model = copy.deepcopy(small(architecture).model)
        for name, parameter in model.named_parameters():
            if "norm" in name or ".ln_" in name:
                parameter.copy_(torch.randn_like(parameter))
        norm = parts_of_blocks(model)[LAYER].mlp_norm
        stream = RESID_MID if architecture in WITH_RESID_MID else RESID_PRE
        x, normalized = read(model, stream, MLP_NORMALIZED)
        assert norm is not None and norm.centred == centred
        x = x - x.mean(-1, keepdim=True) if centred else x
        eps = getattr(model.config, {True: "layer_norm_eps"}.get(architecture == "gpt_neox", "rms_norm_eps"), 1e-5)
        assert torch.allclose(normalized, x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt(), rtol=1e-5, atol=1e-6)


def test_a_norm_that_holds_its_epsilon_in_its_code_is_found_out():
    """OLMo's LayerNorm has no attribute for it."""
    norm = parts_of_blocks(small("olmo").model)[LAYER].mlp_norm
    assert norm is not None and (norm.centred, norm.eps) == (True, 1e-5)


@pytest.mark.parametrize("architecture", [*OTHERWISE_WITHOUT, "olmo2", "opt"])
def test_a_block_without_a_site_says_so(architecture):
    model = small(architecture, **({"do_layer_norm_before": False} if architecture == "opt" else {})).model
    before = hooks_of(model)
    lacking = {MLP_NORMALIZED} if architecture == "olmo2" else {RESID_MID, ATTN_OUT, MLP_OUT, MLP_NORMALIZED}
    for kind in lacking:
        with pytest.raises(
            UnknownHookError, match=rf"'{at(kind)}': nothing in \w+ .*\nGive .*resid_pre or .*resid_post"
        ):
            read(model, kind)
    assert hooks_of(model) == before


@pytest.mark.parametrize("site", ["blocks.1.hook_mlp_in", "blocks.3.hook_mlp_out", "hook_mlp_out", "blocks.1.ln2"])
def test_a_misspelt_site_is_an_error_that_names_those_there_are(site):
    model = small("llama").model
    message = r"blocks\.0 to blocks\.2\n.*hook_resid_mid.*hook_attn_out, hook_mlp_out, ln2\.hook_normalized"
    with pytest.raises(UnknownHookError, match=message), read_sites(model, [site], print):
        pass


def test_the_normalised_stream_cannot_be_changed():
    model = small("llama").model
    with pytest.raises(UnknownHookError, match=r"ln2.hook_normalized.* read, not changed\n.*hook_mlp_out"):
        with change_sites(model, {at(MLP_NORMALIZED): torch.zeros_like}):
            pass


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scale", [0.22, 0.2236])
def test_a_branch_that_is_scaled_is_read_scaled(scale, dtype):
    """Granite's block adds its branches times a number, which is found out to its last digit."""
    settings = {"residual_multiplier": scale}
    model = small("granite", **settings).model if dtype == "float32" else in_16_bit("granite", **settings)
    parts = parts_of_blocks(model)
    assert {part.attn for part in parts} == {Branch("self_attn", scale)}
    assert {part.mlp for part in parts} == {Branch("mlp", scale)}
    outputs = []
    with decoder_blocks(model)[LAYER].mlp.register_forward_hook(lambda _m, _a, out: outputs.append(out)):
        (added,) = read(model, MLP_OUT)
    assert torch.equal(added, outputs[0] * scale)


def test_attention_is_the_branch_that_looks_at_other_positions():
    """Side by side the two branches are told apart by what they do, not by their order."""

    class MlpFirst(nn.Module):
        def __init__(self, block):
            super().__init__()
            self.a, self.b, self.norm = block.mlp, block.self_attn, block.input_layernorm

        def forward(self, hidden_states, **arguments):
            read = self.norm(hidden_states)
            added = self.a(read)
            return hidden_states + self.b(hidden_states=read, **arguments)[0] + added

    model = copy.deepcopy(small("cohere").model)
    blocks = decoder_blocks(model)
    for layer, block in enumerate(blocks):
        blocks[layer] = MlpFirst(block)
    expected = Branch("b", 1.0), Branch("a", 1.0), "norm"
    for parts in parts_of_blocks(model):
        assert parts.mlp_norm is not None and (parts.attn, parts.mlp, parts.mlp_norm.module) == expected


def test_what_is_read_stays_as_it_was_read():
    """Falcon adds attention's output to the MLP's in place."""
    model = small("falcon").model
    alone: list[torch.Tensor] = []
    with decoder_blocks(model)[LAYER].mlp.register_forward_hook(lambda _m, _a, out: alone.append(out.clone())):
        (found,) = read(model, MLP_OUT)
    assert torch.equal(found, alone[0])
    given = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    before = given.clone()
    with change_sites(model, {at(MLP_OUT): lambda _added: given}):
        passed(model)
    assert torch.equal(given, before)


# --- the independent implementation

# The bridge knows no Persimmon and BioGPT, and computes another attention than transformers for Cohere. It has no
# hook_attn_out where attention's place may be another's (LFM2, Jamba, Bamba), no ln2 where attention and MLP share
# their norm (GPT-J, Falcon, Phi, CodeGen); OLMo-2's MLP reads the stream itself, and its ln2 stands behind the MLP.
# Mixtures of experts have no one product behind their neurons.
UNKNOWN = ["persimmon", "biogpt", "cohere", "cohere2"]
WITHOUT = {ATTN_OUT: ["lfm2", "jamba", "bamba"], MLP_NORMALIZED: ["gptj", "falcon", "phi", "codegen", "olmo2"]}
WITHOUT |= {HEADS: WITHOUT[ATTN_OUT], NEURONS: ["mixtral", "qwen2_moe", "gpt_oss", "olmoe", "jamba"]}
WITHOUT[RESID_MID] = PARALLEL


@pytest.mark.parametrize("architecture", [one for one in [*BRANCHED, "olmoe"] if one not in UNKNOWN])
def test_the_sites_are_those_of_transformer_lens(architecture, tmp_path):
    from transformer_lens.model_bridge import TransformerBridge

    lm = small(architecture, **({"residual_multiplier": 0.22} if architecture == "granite" else {}))
    model, generator = copy.deepcopy(lm.model), torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "norm" in name or "ln_" in name:  # gains of one would hide what is before them and what behind
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    tokenizer = type(lm.tokenizer).from_pretrained(tmp_path)
    bridge = TransformerBridge.boot_transformers(
        str(tmp_path), device="cpu", hf_model=copy.deepcopy(model), tokenizer=tokenizer
    )
    with torch.no_grad():
        _, cache = bridge.run_with_cache(IDS)
    for kind in KINDS:
        if architecture not in WITHOUT.get(kind, []):
            for layer in (0, 1):
                (found,) = read(model, kind, layer=layer)
                theirs = cache[at(kind, layer)].reshape(found.shape)
                assert torch.allclose(found, theirs, rtol=1e-4, atol=1e-4), kind
