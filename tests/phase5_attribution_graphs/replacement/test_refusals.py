"""Covers what no exact graph can be made of: models and dictionaries that are refused, with what to type."""

import dataclasses
from pathlib import Path

import pytest
import torch
from architectures import small
from saved_saes import D_IN, saved
from small_graphs import TINY, random_tokens, random_transcoders, tiny_model

from common.errors import ConfigError
from common.model.language_model import LanguageModel
from common.saes.sources import SaeSource, sae_source, transcoder_source
from phase5_attribution_graphs.replacement.clean_run import clean_run
from phase5_attribution_graphs.replacement.local_model import local_model
from phase5_attribution_graphs.replacement.transcoders import load_transcoders

REFUSED = {
    "gpt2": ({}, "has no input_layernorm, self_attn"),
    "gpt_neox": ({}, "has no self_attn, v_proj, o_proj"),  # attention and MLP side by side
    "olmo2": ({}, "block 0 has no input_layernorm"),  # norms behind attention and MLP alone
    "phi3": ({}, "block 0 has no v_proj"),  # queries, keys and values in one product
    "starcoder2": ({}, r"is no RMS norm with a gain \(LayerNorm\)"),
    "granite": ({"residual_multiplier": 0.5}, "what attention adds in block 0, .* misses what the model computes by"),
    "glm4": ({}, "what attention adds in block 0, .* misses what the model computes by"),
    "mamba": ({}, "has no input_layernorm"),
}


@pytest.mark.parametrize("architecture", REFUSED)
def test_a_model_that_computes_anything_else_is_refused(architecture):
    settings, reason = REFUSED[architecture]
    with pytest.raises(ConfigError, match=rf"no exact graph can be made of .*{reason}.*\nGive a --model"):
        clean_run(small(architecture, **settings), random_tokens())


def test_a_factor_on_the_logits_is_refused_and_none_is_not():
    clean_run(small("granite"), random_tokens())
    with pytest.raises(ConfigError, match="the vector of logits, .* misses what the model computes"):
        clean_run(small("granite", logits_scaling=8.0), random_tokens())


def test_a_model_whose_attention_is_gated_is_refused():
    """No module's name tells of it: numbers alone do."""
    lm = tiny_model("llama")
    attention = lm.model.model.layers[1].self_attn.o_proj
    handle = attention.register_forward_hook(lambda _module, _arguments, output: output * torch.sigmoid(output))
    try:
        with pytest.raises(ConfigError, match="what attention adds in block 1"):
            clean_run(lm, random_tokens())
    finally:
        handle.remove()


def of_width(d_model: int, n_layers: int = 4) -> LanguageModel:
    """Enough of a model for transcoders to be loaded beside it."""
    lm = tiny_model("llama")
    config = dataclasses.replace(lm, model=small("llama", hidden_size=d_model, num_hidden_layers=n_layers).model)
    assert config.d_model == d_model
    return config


def loaded(folder: Path, lm: LanguageModel) -> list:
    return load_transcoders(transcoder_source(str(folder), "organism"), lm)


AT_THE_NORM = {"hook_name": "blocks.3.ln2.hook_normalized"}


SAELENS = ["transcoder", "jumprelu_transcoder", "skip_transcoder", "jumprelu_skip_transcoder"]


@pytest.mark.parametrize("architecture", SAELENS)
@pytest.mark.parametrize("reads, with_gain", [("mlp.hook_in", True), ("ln2.hook_normalized", False)])
def test_a_saved_transcoder_is_read_as_saelens_computes_it(tmp_path, architecture, reads, with_gain):
    import sae_lens

    saved(tmp_path, architecture, metadata={"hook_name": f"blocks.3.{reads}"})
    ours = loaded(tmp_path, of_width(D_IN))
    assert ours[:3] == [None, None, None] and ours[3].with_gain == with_gain
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "layer_3", dtype="float32")
    x = torch.randn(20, D_IN, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(ours[3].gated(ours[3].pre_acts(x)), theirs.encode(x), atol=1e-5)
        assert torch.allclose(ours[3].reconstruction(x), theirs(x), atol=1e-5)


def test_saes_in_the_place_of_transcoders_are_refused(tmp_path):
    saved(tmp_path, "jumprelu")
    with pytest.raises(ConfigError, match="which are SAEs.*\n.*--site mlp"):
        transcoder_source(str(tmp_path), "organism")
    source: SaeSource = sae_source(str(tmp_path), "organism")
    with pytest.raises(ConfigError, match="holds SAEs; a graph needs transcoders.*\n.*--transcoders"):
        load_transcoders(source, of_width(D_IN))


def test_transcoders_of_another_width_are_refused_with_both_widths(tmp_path):
    saved(tmp_path, "transcoder")
    with pytest.raises(ConfigError, match=f"reads {D_IN} and writes {D_IN} dimensions; llama has 32\n.*--transcoders"):
        loaded(tmp_path, of_width(32))


def test_transcoders_that_write_another_width_are_refused(tmp_path):
    saved(tmp_path, "transcoder", d_out=8)
    with pytest.raises(ConfigError, match=f"reads {D_IN} and writes 8 dimensions"):
        loaded(tmp_path, of_width(D_IN))


OTHER_SITES = [
    {"hook_name": "blocks.3.hook_resid_mid"},
    {"hook_name": "blocks.3.hook_resid_pre"},
    {**AT_THE_NORM, "hook_name_out": "blocks.3.hook_attn_out"},
    {**AT_THE_NORM, "hook_name_out": "blocks.4.hook_mlp_out"},
]


@pytest.mark.parametrize("metadata", OTHER_SITES)
def test_a_transcoder_that_reads_or_writes_another_site_is_refused(tmp_path, metadata):
    saved(tmp_path, "transcoder", metadata=metadata)
    with pytest.raises(ConfigError, match=r"cannot stand in for an MLP: it reads blocks.3.*\n.*--transcoders"):
        loaded(tmp_path, of_width(D_IN))


def test_transcoders_of_layers_that_the_model_lacks_are_refused(tmp_path):
    saved(tmp_path, "transcoder")
    with pytest.raises(ConfigError, match="SAEs of layers 3; the model's layers are 0 to 2"):
        loaded(tmp_path, of_width(D_IN, n_layers=3))


def test_a_prompt_without_an_active_latent_is_refused():
    lm = tiny_model("llama")
    silent = [dataclasses.replace(one, b_enc=one.b_enc - 1000) for one in random_transcoders(lm)]
    for transcoders, tokens in ((silent, random_tokens()), (random_transcoders(lm), random_tokens(1))):
        with pytest.raises(ConfigError, match=f"no latent is active on these {len(tokens)} tokens.*\nGive a longer"):
            local_model(clean_run(lm, tokens), transcoders)


def test_a_model_without_any_transcoder_is_refused():
    lm = tiny_model("llama")
    with pytest.raises(ConfigError, match="no latent is active"):
        local_model(clean_run(lm, random_tokens()), [None] * lm.n_layers)


def test_every_architecture_of_the_other_tests_is_taken():
    for name in TINY:
        assert clean_run(tiny_model(name), random_tokens()).n_layers == 3
