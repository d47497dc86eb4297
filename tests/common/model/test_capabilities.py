"""Covers common/model/capabilities.py, forward.py, block_parts.py and hooks.py: what small models of many kinds can do,
and where their residual stream is.
"""

import json
import shutil
import sys

import pytest
import torch
from architectures import OTHERWISE_WITHOUT, PARALLEL, WITH_RESID_MID, small
from tiny_models import SPECIAL
from transformers import LlamaForCausalLM

from common.errors import AssetError, ConfigError, UnknownHookError
from common.model.capabilities import (
    CACHE,
    NEEDED_BY_ALL,
    PADDING,
    RESID_MID,
    RESID_POST,
    RESID_PRE,
    Capabilities,
    find_capabilities,
)
from common.model.forward import new_cache, next_token_logits, select_rows
from common.model.hooks import change_sites, decoder_blocks, parts_of_blocks, read_sites
from common.model.loading import load_model
from common.model.sites import resid_site
from common.model.tokenization import encode_padded

USABLE = [*WITH_RESID_MID, *PARALLEL, *OTHERWISE_WITHOUT]
PROMPTS = ["def f(x):\n    return x", "# Solution:\n", "Write a function that adds two numbers, and test it."]


def read(lm, sites, prompt):
    """The stream at each site, [pos, d_model], of one prompt."""
    found = {}
    ids = encode_padded(lm, [prompt])["input_ids"]
    with torch.inference_mode(), read_sites(lm.model, sites, lambda site, resid: found.update({site: resid[0]})):
        lm.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    return found


def write(lm):
    """Greedy tokens of the prompts, of which the first leaves the batch after two tokens, the second after four."""
    encoded = encode_padded(lm, PROMPTS)
    ids, mask, cache = encoded["input_ids"], encoded["attention_mask"], new_cache(lm)
    written, left = [[] for _ in PROMPTS], list(range(len(PROMPTS)))
    with torch.inference_mode():
        logits = next_token_logits(lm, ids, mask, cache)
        for step in range(6):
            tokens = logits.argmax(-1)
            for row, token in zip(left, tokens.tolist(), strict=True):
                written[row].append(token)
            if step in (1, 3):
                keep = torch.arange(1, len(left))
                select_rows(cache, keep)
                left, tokens, mask = left[1:], tokens[keep], mask[keep]
            mask = torch.cat([mask, mask.new_ones(len(left), 1)], dim=1)
            logits = next_token_logits(lm, tokens[:, None], mask, cache)
    return written


@pytest.mark.parametrize("architecture", USABLE)
def test_an_architecture_meets_what_every_phase_needs(architecture):
    lacks = find_capabilities(small(architecture)).lacks
    assert lacks.keys() <= {RESID_MID}


@pytest.mark.parametrize("architecture", USABLE)
def test_what_is_read_at_a_block_is_what_transformers_calls_hidden_states(architecture):
    lm = small(architecture)
    sites = [resid_site(layer, "resid_post") for layer in range(lm.n_layers - 1)]
    found = read(lm, sites, PROMPTS[0])
    ids = encode_padded(lm, PROMPTS[:1])["input_ids"]
    with torch.inference_mode():
        named = lm.model(input_ids=ids, output_hidden_states=True).hidden_states
    first = len(named) - lm.n_layers - ("mamba" in architecture)  # Mamba's begin with the output of block 0
    for layer, site in enumerate(sites):
        assert torch.equal(found[site], named[first + layer][0])


@pytest.mark.parametrize("architecture", USABLE)
def test_rows_of_a_batch_go_on_as_each_alone(architecture):
    """Rows of a batch go on from the cache as each is written alone."""
    lm = small(architecture)
    with torch.inference_mode():
        for prompt, tokens in zip(PROMPTS, write(lm), strict=True):
            ids = encode_padded(lm, [prompt])["input_ids"]
            whole = torch.cat([ids, torch.tensor([tokens])], dim=1)
            expected = lm.model(input_ids=whole).logits[0, ids.shape[1] - 1 : -1].argmax(-1)
            assert tokens == expected.tolist()


@pytest.mark.parametrize("architecture", ["gpt2", "bloom", "falcon", "mamba", "lfm2"])
def test_rows_of_a_batch_are_written_as_transformers_generates_them(architecture):
    lm = small(architecture)
    ids = encode_padded(lm, PROMPTS[:1])["input_ids"]
    expected = lm.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=2,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert write(lm)[0] == expected[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("architecture", WITH_RESID_MID)
def test_resid_mid_is_resid_pre_and_what_attention_adds(architecture):
    """Found independently: without its MLP's branch a block gives resid_mid."""
    lm = small(architecture)
    assert {parts.reads_mid for parts in parts_of_blocks(lm.model)} == {WITH_RESID_MID[architecture]}
    sites = [resid_site(1, kind) for kind in ("resid_pre", "resid_mid", "resid_post")]
    pre, mid, post = read(lm, sites, PROMPTS[0]).values()
    block = decoder_blocks(lm.model)[1]
    names = (
        "post_feedforward_layernorm",
        "post_mlp_layernorm",
        "feed_forward",
        "block_sparse_moe",
        "mlp",
        "ffn",
        "fc2",
    )
    last = next(getattr(block, name) for name in names if hasattr(block, name))
    if architecture in ("bloom", "mpt"):  # whose MLPs add the stream themselves
        last = block.mlp.dense_4h_to_h if architecture == "bloom" else block.ffn.down_proj
    handle = last.register_forward_hook(
        lambda _m, _a, out: (out[0] * 0, *out[1:]) if isinstance(out, tuple) else out * 0
    )
    without = read(lm, [resid_site(1, "resid_post")], PROMPTS[0])[resid_site(1, "resid_post")]
    handle.remove()
    assert torch.allclose(without, mid, atol=1e-6)
    assert not torch.allclose(mid, pre, atol=1e-3) and not torch.allclose(mid, post, atol=1e-3)


@pytest.mark.parametrize("architecture", WITH_RESID_MID)
def test_what_is_added_at_resid_mid_reaches_the_mlp_and_the_output(architecture):
    lm = small(architecture)
    site, after = resid_site(1, "resid_mid"), resid_site(1, "resid_post")
    plain = read(lm, [site, after], PROMPTS[0])
    delta = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(0))
    with change_sites(lm.model, {site: lambda resid: resid + delta}):
        changed = read(lm, [after], PROMPTS[0])[after]
    with change_sites(lm.model, {site: lambda resid: resid + 0 * delta}):
        same = read(lm, [after], PROMPTS[0])[after]
    assert torch.equal(same, plain[after])
    moved = changed - plain[after]
    assert not torch.allclose(moved, delta.expand_as(moved), atol=1e-3)  # the MLP has read it
    assert torch.cosine_similarity(moved, delta.expand_as(moved), dim=-1).mean() > 0.2  # and it has gone past the MLP


@pytest.mark.parametrize("architecture", [*PARALLEL, *OTHERWISE_WITHOUT])
def test_a_block_without_a_place_between_attention_and_mlp_has_no_resid_mid(architecture):
    lm = small(architecture)
    with pytest.raises(UnknownHookError, match=r"blocks\.1\.hook_resid_mid(.|\n)*hook_resid_pre or hook_resid_post"):
        read(lm, [resid_site(1, "resid_mid")], PROMPTS[0])
    with pytest.raises(ConfigError, match=rf"(?s)^phase 3\.2 .*tiny {architecture} .*attention.*MLP.*\n.*--model"):
        find_capabilities(lm).require("phase 3.2", RESID_POST, RESID_MID)


def test_one_switch_of_the_architecture_decides_whether_gpt_neox_has_a_resid_mid():
    assert find_capabilities(small("gpt_neox", use_parallel_residual=False)).lacks == {}
    assert find_capabilities(small("gpt_neox")).lacks.keys() == {RESID_MID}
    assert find_capabilities(small("falcon", parallel_attn=False)).lacks == {}


def test_a_post_norm_block_has_no_resid_mid():
    """OPT-350m normalises the sum, so nothing is added to what the MLP's norm reads."""
    assert find_capabilities(small("opt", do_layer_norm_before=False)).lacks.keys() == {RESID_MID}


@pytest.mark.parametrize(
    "architecture, lacking",
    [("openai-gpt", CACHE), ("rwkv", PADDING), ("recurrent_gemma", CACHE), ("bert", CACHE), ("xlnet", RESID_PRE)],
)
def test_what_the_phases_cannot_use_is_one_message_that_says_why(architecture, lacking):
    capabilities = find_capabilities(small(architecture))
    assert lacking in capabilities.lacks
    with pytest.raises(ConfigError, match=rf"^every phase .*tiny {architecture} .+\(.+\)\n.*--model"):
        capabilities.require("every phase", *NEEDED_BY_ALL)


def test_everything_that_is_lacking_is_named_at_once():
    capabilities = Capabilities("m", {RESID_MID: "first reason", CACHE: "second reason"}, ())
    with pytest.raises(ConfigError, match="first reason.*second reason"):
        capabilities.require("phase 9", RESID_MID, RESID_POST, CACHE)
    capabilities.require("phase 9", RESID_POST)


def test_a_model_that_knows_no_positions_has_no_limit_of_them():
    assert small("bloom").context_length == small("mamba").context_length == sys.maxsize
    assert small("gpt2").context_length == small("mpt").context_length == 512


def test_numbers_that_are_not_finite_are_one_message_with_their_type():
    """A model that computes no finite numbers is one message that names the number type."""
    lm = small("llama", hidden_act="relu")  # a model of its own
    decoder_blocks(lm.model)[1].mlp.down_proj.weight.fill_(float("inf"))
    with pytest.raises(AssetError, match=r"block 1 of tiny llama .*not finite.* float32.*\n.*--dtype .*--model"):
        find_capabilities(lm)


def test_loading_says_what_a_model_lacks(tmp_path):
    lm = small("recurrent_gemma")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"every phase .*\bcache\b.*\n.*--model"):
        load_model(str(tmp_path), "cpu", threads=1)


def test_a_model_with_neither_padding_nor_end_of_sequence_loads(tiny_gemma, tmp_path):
    folder = shutil.copytree(tiny_gemma, tmp_path / "model")
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        held = json.loads((folder / name).read_text())
        for key in [*SPECIAL, "pad_token", "eos_token"]:
            held.pop(key, None)
        (folder / name).write_text(json.dumps(held))
    lm = load_model(str(folder), "cpu", threads=1)
    assert lm.end_of_sequence_ids == frozenset() and lm.pad_token_id == 0


@pytest.mark.parametrize("model_type", ["some_new_thing", None])
def test_code_of_a_repository_is_refused_without_a_question(tiny_gemma, tmp_path, model_type):
    folder = shutil.copytree(tiny_gemma, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": model_type, "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v}))
    with pytest.raises(AssetError, match=r"code .*auto_map.*\n.*--model"):
        load_model(str(folder), "cpu", threads=1)


def test_a_list_of_blocks_is_found_whatever_it_is_called():
    for architecture in ("gpt2", "mpt", "gpt_neox", "opt", "bert"):
        assert len(decoder_blocks(small(architecture).model)) == 3
    model = small("llama").model
    assert decoder_blocks(model) is model.model.layers


def test_a_model_without_one_list_of_blocks_is_one_message():
    model = LlamaForCausalLM(small("llama").model.config)
    model.get_decoder = lambda: torch.nn.Linear(2, 2)
    with pytest.raises(AssetError, match=r"list of 3 blocks.*\n.*--model"):
        decoder_blocks(model)
