"""Covers phase 3.4 on other architectures: attention by other names, hybrids, sinks, no BOS, no attention at all."""

import numpy as np
import pytest
import torch
from architectures import small
from tiny_models import make_tokenizer

from common.errors import ArtifactMismatchError, ConfigError
from common.interventions.steered_generation import SteeringVector
from common.model.language_model import LanguageModel
from common.problems.prompt import Prompt, build_prompt
from phase3_validation.attention.heads import eager, find_heads
from phase3_validation.attention.reading import (
    begins_with_bos,
    eager_differs_by,
    encoded_prompts,
    read_attention,
    sections_present,
)
from phase3_validation.attention.sections import LEARNED_SINK, SECTIONS, section_of_tokens, section_words

FIRST = SECTIONS.index("first_token")
ARCHITECTURES = (
    *"gpt2 gptj gpt_neo gpt_neox codegen gpt_bigcode falcon bloom mpt opt phi cohere".split(),
    *"olmo2 glm4 mixtral qwen2_moe gpt_oss gemma3_text lfm2 jamba".split(),
)


def prompts() -> list[Prompt]:
    texts = ["Write a function to add numbers.", "a", "Grüße 🎉 finden. " * 3]
    return [build_prompt(text, [f"assert f({i}) == 2"] * (1 + i)) for i, text in enumerate(texts)]


def plain_attention(lm: LanguageModel, prompt: Prompt, n: int) -> np.ndarray:
    """[layers with attention, heads, sections] of a prompt read alone; what transformers itself calls attentions."""
    encoded = encoded_prompts(lm, [prompt])
    with torch.no_grad(), eager(lm):
        maps = lm.model(input_ids=encoded["input_ids"], output_attentions=True, use_cache=False).attentions
    assert len(maps) == n
    last, sections = np.stack([one[0, :, -1].numpy() for one in maps]), section_of_tokens(encoded, [prompt])[0]
    return np.stack([last[:, :, sections == number].sum(-1) for number in range(len(SECTIONS))], axis=-1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_attention_is_that_of_a_plain_pass_whatever_the_block_calls_it(architecture):
    lm = small(architecture)
    heads = find_heads(lm)
    layers = list(heads.modules)
    steering = SteeringVector(
        "blocks.0.hook_resid_pre", torch.randn(64, generator=torch.Generator().manual_seed(0)) * 5
    )
    found = read_attention(lm, prompts(), [None, steering], layers, heads=heads)
    assert found.shape == (2, 3, len(layers), 4, len(SECTIONS)) and np.abs(found.sum(-1) - 1).max() < 1e-9
    n_tokens = len(SECTIONS) - 1  # all but the learned sink are tokens
    for prompt, own in zip(prompts(), found[0], strict=True):
        expected = plain_attention(lm, prompt, len(layers))
        assert np.abs(own - expected)[..., :n_tokens].max() < 1e-4
    assert np.abs(found[1] - found[0]).max() > 1e-3
    assert (eager_differs_by(lm, prompts()) or 0.0) < 1e-3


def test_the_model_s_own_kind_of_attention_is_put_back():
    for architecture in ("llama", "falcon"):
        lm = small(architecture)
        read_attention(lm, prompts(), [None], [0])
        assert (lm.model.config._attn_implementation, lm.model.config.output_attentions) == ("sdpa", False)


def test_of_a_hybrid_only_the_blocks_with_attention_are_read():
    assert list(find_heads(small("lfm2")).modules) == [1] and list(find_heads(small("jamba")).modules) == [1, 3]


def test_a_model_without_attention_is_refused_in_one_message():
    for architecture in ("mamba", "rwkv"):
        with pytest.raises(ConfigError, match=r"phase 3\.4 needs(.|\n)*none of its blocks does(.|\n)*Leave phase 3\.4"):
            find_heads(small(architecture))


def test_eager_attention_that_adds_its_biases_twice_is_refused():
    """transformers 5.23 does so in Falcon with ALiBi; sdpa adds them once."""
    lm = small("falcon", alibi=True, multi_query=False, parallel_attn=False)
    with pytest.raises(ArtifactMismatchError, match="eager attention is not what tiny falcon computes"):
        eager_differs_by(lm, prompts())


def test_attention_that_goes_nowhere_is_a_section_of_its_own():
    lm = small("gpt_oss")
    heads = find_heads(lm)
    assert sections_present(lm, prompts(), heads) == ["first_token", "description", "tests", "marker", LEARNED_SINK]
    found = read_attention(lm, prompts(), [None], [0], heads=heads)[0]
    assert found[..., SECTIONS.index(LEARNED_SINK)].max() > 1e-3


def without_bos(architecture: str) -> LanguageModel:
    lm = small(architecture)
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    return LanguageModel(lm.model, tokenizer, lm.name, "cpu", "float32", None)


def test_the_first_token_is_told_apart_with_and_without_a_bos_token_and_called_what_it_is():
    with_bos, without = small("llama"), without_bos("llama")
    assert begins_with_bos(with_bos, prompts()) and not begins_with_bos(without, prompts())
    assert section_words(True)["first_token"] == "BOS"
    assert section_words(False)["first_token"] == "first token (attention sink)"
    encoded = encoded_prompts(without, prompts())
    for row, mask in zip(section_of_tokens(encoded, prompts()), encoded["attention_mask"], strict=True):
        assert np.flatnonzero(row == FIRST).tolist() == [int((mask == 0).sum())]
    found = read_attention(without, prompts(), [None], [0, 1, 2])[0]
    for prompt, own in zip(prompts(), found, strict=True):
        ids = encoded_prompts(without, [prompt])["input_ids"]
        with torch.no_grad(), eager(without):
            maps = without.model(input_ids=ids, output_attentions=True, use_cache=False).attentions
        assert own[..., FIRST] == pytest.approx(np.stack([one[0, :, -1, 0].numpy() for one in maps]), abs=1e-5)
