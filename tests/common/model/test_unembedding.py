"""Covers common/model/unembedding.py: what a direction adds to the logits, against real passes of many models."""

import hub_models
import huggingface_hub.constants
import pytest
import torch
from architectures import small
from transformers import AutoModelForCausalLM

from common.errors import AssetError
from common.model import unembedding
from common.model.hooks import change_sites
from common.model.sites import resid_post_site
from common.model.unembedding import find_unembedding

N = 1024  # tokens of the small models' vocabulary
IDS = torch.arange(5, 25)[None]
CENTRING = ("gpt2", "gpt_neox", "opt", "bloom", "gptj", "falcon", "phi", "mpt", "starcoder2", "codegen")
ROOT_MEAN_SQUARE = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3", "olmo2", "phi3", "mixtral")


def saved(folder, architecture, **settings):
    """A small model whose norms have gains and biases that cannot hide."""
    model = small(architecture, **settings).model
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if "norm" in name or "ln_" in name:
            parameter.copy_(torch.randn_like(parameter) * 0.3 + 0.5)
    model.save_pretrained(folder)
    return model


def logits_after(model, stream):
    """Of the real model, whose last block's output is set to `stream` [d_model]; without the cap on logits."""
    config = model.config.get_text_config()
    site = resid_post_site(config.num_hidden_layers - 1)
    with torch.inference_mode(), change_sites(model, {site: lambda resid: stream.expand_as(resid)}):
        logits = model(IDS, use_cache=False).logits[0, -1]
    cap = getattr(config, "final_logit_softcapping", None)
    return cap * torch.atanh(logits / cap) if cap else logits


@pytest.mark.parametrize("architecture", [*CENTRING, *ROOT_MEAN_SQUARE])
def test_effects_are_those_of_the_real_model_times_the_norm_s_length(architecture, tmp_path):
    model, found = saved(tmp_path, architecture), find_unembedding(str(tmp_path))
    assert found.centres == (architecture in CENTRING)
    stream = torch.randn(64, generator=torch.Generator().manual_seed(4)) * 2
    real = logits_after(model, stream) - logits_after(model, torch.zeros(64))
    spread = (stream - stream.mean() if found.centres else stream).square().mean().sqrt()
    torch.testing.assert_close(found.effects(stream, N) / spread, real - real.mean(), atol=2e-4, rtol=1e-3)


def test_a_tied_unembedding_is_the_table_of_embeddings_and_another_is_not(tmp_path):
    for name, tied in (("tied", True), ("untied", False)):
        model = saved(tmp_path / name, "llama", tie_word_embeddings=tied)
        found = find_unembedding(str(tmp_path / name))
        assert found.tied == tied and found.tensor == ("model.embed_tokens.weight" if tied else "lm_head.weight")
        direction = torch.randn(64)
        expected = model.get_output_embeddings().weight @ (model.model.norm.weight * direction)
        torch.testing.assert_close(found.effects(direction, N), expected - expected.mean(), atol=1e-4, rtol=1e-4)


def test_a_cap_on_the_logits_is_told(tmp_path):
    for cap in (30.0, None):
        saved(tmp_path / str(cap), "gemma2", final_logit_softcapping=cap)
        assert find_unembedding(str(tmp_path / str(cap))).caps_logits == (cap is not None)


def test_the_vocabulary_is_read_in_blocks_and_rows_without_a_token_do_not_count(tmp_path, monkeypatch):
    model, direction = saved(tmp_path, "llama"), torch.randn(64)
    monkeypatch.setattr(unembedding, "ROWS_AT_ONCE", 300)
    found = find_unembedding(str(tmp_path))
    assert [len(rows) for rows in found._rows(1000)] == [300, 300, 300, 100]
    expected = (model.lm_head.weight @ (model.model.norm.weight * direction))[:1000]
    torch.testing.assert_close(found.effects(direction, 1000), expected - expected.mean(), atol=1e-4, rtol=1e-4)
    assert len(found.effects(direction, 5000)) == N


def test_a_direction_of_no_length_adds_nothing(tmp_path):
    saved(tmp_path, "gemma2")
    assert not find_unembedding(str(tmp_path)).effects(torch.zeros(64), N).any()


@pytest.mark.parametrize(
    "model", ["google/gemma-2-2b", "google/gemma-3-4b-pt", "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-0.6B"]
)
def test_weights_are_found_under_the_names_that_the_hub_s_files_have(model, tmp_path, monkeypatch):
    hub_models.write_model(tmp_path, model, 2)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    found = find_unembedding(model)
    made = AutoModelForCausalLM.from_pretrained(found.file.parent, dtype=torch.float32)
    direction = torch.randn(hub_models.d_model_of(model))
    norm = dict(made.named_modules())[next(n for n, _ in made.named_modules() if n.endswith("model.norm"))]
    with torch.no_grad():
        through = norm(direction) * direction.square().mean().sqrt()
        expected = made.get_output_embeddings().weight @ through
    torch.testing.assert_close(
        found.effects(direction, len(expected)), expected - expected.mean(), atol=1e-2, rtol=1e-3
    )


def test_a_model_that_is_not_here_is_named_with_what_fetches_it(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(AssetError, match="not on this disk\nFetch it with: hf download some/model --revision 0123"):
        find_unembedding("some/model", "0123")


def test_a_model_without_a_final_norm_is_refused(tmp_path):
    saved(tmp_path, "openai-gpt")
    with pytest.raises(AssetError, match="does not end in a norm and one product"):
        find_unembedding(str(tmp_path))


def test_a_torn_file_is_refused(tmp_path):
    saved(tmp_path, "llama")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AssetError, match="cannot be read"):
        find_unembedding(str(tmp_path))
