"""Covers common/model/grouped_attention.py: attention is what transformers computes, Gemma-2's and torch's own."""

import pytest
import torch
from architectures import small
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from common.model.eager_attention import eager
from common.model.grouped_attention import GROUPED, SDPA, use_grouped_attention
from common.model.language_model import LanguageModel
from common.model.loading import load_model


def grouped(**settings) -> LanguageModel:
    lm = small("gemma2", sliding_window=8, attn_logit_softcapping=5.0, **settings)
    use_grouped_attention(lm.model)
    assert lm.model.config._attn_implementation == GROUPED
    return lm


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_softcap_mask_and_windows_are_those_of_transformers(n_kv_heads, dtype):
    lm = grouped(num_key_value_heads=n_kv_heads)
    model = lm.model.to(dtype)
    ids = torch.randint(5, 900, (3, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :7] = 0
    with torch.inference_mode():
        found = model(input_ids=ids, attention_mask=mask, output_attentions=True)
        with eager(lm):
            expected = model(input_ids=ids, attention_mask=mask)
    bound = 1e-5 if dtype == torch.float32 else 3e-2
    for one, other in zip([found.logits, *found.attentions], [expected.logits, *expected.attentions], strict=True):
        torch.testing.assert_close(
            one[mask.bool()] if one.ndim == 3 else one,
            other[mask.bool()] if other.ndim == 3 else other,
            rtol=bound,
            atol=bound,
        )
    model.to(torch.float32)


def test_a_gemma_2_is_loaded_with_it_and_others_as_they_are(tiny_gemma, tmp_path):
    from tiny_models import save_tiny_qwen

    assert load_model(str(tiny_gemma), "cpu", threads=1).model.config._attn_implementation == GROUPED
    assert load_model(str(save_tiny_qwen(tmp_path)), "cpu", threads=1).model.config._attn_implementation == "sdpa"


def test_keys_and_values_are_not_repeated(monkeypatch):
    lm = grouped(num_key_value_heads=2)
    monkeypatch.setattr("transformers.models.gemma2.modeling_gemma2.repeat_kv", lambda *_: pytest.fail("a copy"))
    with torch.inference_mode():
        lm.model(input_ids=torch.tensor([[5, 6, 7]]))


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torchs_attention_is_to_the_bit_what_it_is_with_copies(family, dtype):
    """Of padded prompts, and of several tokens behind what a cache holds."""
    lm = small(family, num_key_value_heads=1)
    assert lm.model.config._attn_implementation == SDPA
    model = lm.model.to(dtype)
    ids = torch.randint(5, 900, (3, 20), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :7] = 0

    def logits() -> list[torch.Tensor]:
        with torch.inference_mode():
            first = model(input_ids=ids[:, :12], attention_mask=mask[:, :12], use_cache=True)
            behind = model(input_ids=ids[:, 12:], attention_mask=mask, past_key_values=first.past_key_values)
        return [first.logits[mask[:, :12].bool()], behind.logits]

    use_grouped_attention(model)
    found = logits()
    AttentionInterface.register(SDPA, sdpa_attention_forward)
    expected = logits()
    use_grouped_attention(model)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_torchs_attention_reads_shared_heads_in_place(monkeypatch):
    lm = small("qwen2", num_key_value_heads=1)
    use_grouped_attention(lm.model)
    monkeypatch.setattr("transformers.integrations.sdpa_attention.repeat_kv", lambda *_: pytest.fail("a copy"))
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[0, :2] = 0
    with torch.inference_mode():
        lm.model(input_ids=torch.full((2, 6), 5), attention_mask=mask)
