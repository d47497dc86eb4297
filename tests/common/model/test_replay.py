"""Covers common/model/replay.py, logit_difference.py and projections.py: a decoder is run from the middle, and what it
says of two tokens is what the model says, in small models of many architectures.
"""

import copy

import pytest
import torch
from architectures import OTHERWISE_WITHOUT, PARALLEL, WITH_RESID_MID, small
from reading_sites import IDS, at, hooks_of, in_16_bit, passed, zeroed

from common.errors import ConfigError, UnknownHookError
from common.model.hooks import change_sites, decoder_blocks, projections_in_blocks, read_sites
from common.model.logit_difference import LogitDifference
from common.model.replay import Replay, _filled
from common.model.sites import ATTN_OUT, HEADS, MLP_OUT, NEURONS, resid_post_site

ASKED_FOR = ["gemma2", "gemma3_text", "qwen2", "qwen3", "llama", "gpt2", "gpt_neox"]
BRANCHED = [*WITH_RESID_MID, *PARALLEL]
MIXTURES = ["mixtral", "qwen2_moe", "gpt_oss", "jamba"]  # of experts: no one product makes what they add
N_SHARED = 7
RIGHT, WRONG = torch.tensor([5, 600]), torch.tensor([77, 8])


def prompts() -> torch.Tensor:
    ids = IDS.clone()
    ids[:, :N_SHARED] = ids[:1, :N_SHARED]
    return ids


def model_says(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[:, -1].float()
    rows = torch.arange(len(ids))
    return logits[rows, RIGHT] - logits[rows, WRONG]


def replayed(replay: Replay, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return replay.logit_difference(replay.run_from(0, replay.embedded(ids)), RIGHT, WRONG)


@pytest.mark.parametrize("n_shared", [0, N_SHARED])
@pytest.mark.parametrize("architecture", [*BRANCHED, *OTHERWISE_WITHOUT])
def test_a_replay_of_all_blocks_gives_the_models_own_logits(architecture, n_shared):
    model = small(architecture).model
    replay = Replay(model, prompts(), n_shared)
    assert torch.allclose(replayed(replay, prompts()), model_says(model, prompts()), atol=1e-5)
    assert replay.n_positions in (11, 11 - n_shared)


@pytest.mark.parametrize("architecture", ASKED_FOR)
def test_a_replay_from_any_layer_gives_the_models_own_logits(architecture):
    model = small(architecture).model
    replay = Replay(model, prompts())
    streams, expected = replay.streams(replay.embedded(prompts())), model_says(model, prompts())
    for layer, resid in enumerate(streams):
        found = replay.logit_difference(replay.run_from(layer + 1, resid), RIGHT, WRONG)
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ASKED_FOR)
def test_a_stream_changed_in_a_replay_gives_what_a_hook_in_the_model_gives(architecture):
    model, ids = small(architecture).model, prompts()
    replay = Replay(model, ids, N_SHARED)
    resid = replay.streams(replay.embedded(ids))[1]
    changed = resid.clone()
    changed[:, 2] *= -1
    found = replay.logit_difference(replay.run_from(2, changed), RIGHT, WRONG)

    def turn(stream):
        stream = stream.clone()
        stream[:, N_SHARED + 2] *= -1
        return stream

    with change_sites(model, {resid_post_site(1): turn}):
        expected = model_says(model, ids)
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, model_says(model, ids), atol=1e-3)


def test_shared_tokens_longer_than_the_sliding_window_are_read_as_the_model_reads_them():
    model = small("gemma2", sliding_window=4).model
    assert torch.allclose(
        replayed(Replay(model, prompts(), N_SHARED), prompts()), model_says(model, prompts()), atol=1e-5
    )


@pytest.mark.parametrize("settings", [{}, {"sliding_window": 4}], ids=["wide", "sliding"])
@pytest.mark.parametrize("architecture", ["gemma2", "qwen2", "bloom", "gpt2"])
def test_runs_that_begin_like_known_ones_go_on_behind_them(architecture, settings):
    """In each row behind its own tokens, however often the rows come."""
    model, ids = small(architecture, **(settings if architecture == "gemma2" else {})).model, prompts()
    whole = Replay(model, ids, N_SHARED - 5)
    resid = whole.streams(whole.embedded(ids))[0].clone()
    later, first = whole.knowing(ids).replay_from(4)
    assert (first, later.n_positions) == (4, whole.n_positions - 4)
    resid[:, 4:] *= -1
    found = later.run_from(1, resid[:, 4:].repeat(3, 1, 1))
    assert torch.allclose(found, whole.run_from(1, resid)[:, 4:].repeat(3, 1, 1), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("architecture", ["gemma2", "qwen2", "gpt2"])
def test_nothing_goes_on_behind_keys_at_wrong_places(architecture, dtype, monkeypatch):
    """In 16 bits, too, where rounding is large."""
    replay = Replay(copy.deepcopy(small(architecture).model).to(dtype), prompts())
    assert replay.knowing(prompts()).replay_from(4)[1] == 4

    def spoiled(*given) -> list:
        layers = _filled(*given)
        for layer in layers:
            layer.keys = layer.keys.roll(1, -2)
        return layers

    monkeypatch.setattr("common.model.replay._filled", spoiled)
    assert replay.knowing(prompts()).replay_from(4) == (replay, 0)


def test_where_more_than_keys_and_values_is_handed_on_all_positions_are_run():
    replay = Replay(small("mamba").model, prompts())
    assert replay.knowing(prompts()).replay_from(4) == (replay, 0)


@pytest.mark.parametrize("architecture", ["bloom", "llama", "gpt2"])
def test_a_replay_takes_any_number_of_rows(architecture):
    replay = Replay(small(architecture).model, prompts(), N_SHARED)
    resid = replay.embedded(prompts())
    one, four = replay.run_from(0, resid[:1]), replay.run_from(0, torch.cat([resid, resid]))
    assert torch.allclose(one[0], four[0], atol=1e-5) and torch.allclose(one[0], four[2], atol=1e-5)


def test_a_hook_sees_nothing_but_the_blocks_that_are_asked_for():
    replay = Replay(small("bloom").model, prompts())
    resid = replay.embedded(prompts()).repeat(3, 1, 1)
    seen = []
    with read_sites(replay.model, [at(ATTN_OUT)], lambda _, values: seen.append(values.shape[0])):
        replay.block(1, resid)
    assert seen == [6]


def test_a_replay_leaves_no_hooks_behind():
    model = copy.deepcopy(small("llama").model)
    before = hooks_of(model)
    replayed(Replay(model, prompts(), N_SHARED), prompts())
    assert hooks_of(model) == before


def test_the_embedding_has_a_gradient_through_the_replay():
    replay = Replay(small("gemma2").model, prompts(), N_SHARED)
    embedded = replay.embedded(prompts()).requires_grad_(True)
    replay.logit_difference(replay.run_from(0, embedded), RIGHT, WRONG).sum().backward()
    assert embedded.grad is not None and embedded.grad[:, 0].abs().max() > 0


def test_a_model_whose_blocks_read_more_than_the_stream_is_refused(monkeypatch):
    model = copy.deepcopy(small("llama").model)
    block, forward = decoder_blocks(model)[1], decoder_blocks(model)[1].forward
    calls = []

    def counting(hidden_states, **named):
        calls.append(1)
        return forward(hidden_states, **named) + len(calls)

    monkeypatch.setattr(block, "forward", counting)
    with pytest.raises(ConfigError, match="cannot be run from the middle"):
        Replay(model, prompts())


def test_the_metric_of_a_16_bit_model_is_computed_in_32_bits():
    """Its own logits come in steps of up to 1/8; the same stream gives the same metric in either number type."""
    model, wide = in_16_bit("gemma2"), small("gemma2").model
    replay = Replay(model, prompts())
    with torch.no_grad():
        last = replay.run_from(0, replay.embedded(prompts()))
        found = replay.logit_difference(last, RIGHT, WRONG)
        expected = LogitDifference(wide)(last.float(), RIGHT, WRONG)
    assert found.dtype == torch.float32 and torch.allclose(found, expected, atol=0.05)
    own = LogitDifference(copy.deepcopy(model).float())(last.float(), RIGHT, WRONG)
    assert torch.allclose(found, own, atol=1e-5), "but for rounding of the weights"


def test_a_cap_of_the_logits_belongs_to_the_metric():
    model = small("gemma2", final_logit_softcapping=0.5).model
    assert torch.allclose(replayed(Replay(model, prompts()), prompts()), model_says(model, prompts()), atol=1e-5)
    assert model_says(model, prompts()).abs().max() <= 1


def test_a_model_without_one_product_at_its_end_has_no_metric():
    model = copy.deepcopy(small("llama").model)
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(ConfigError, match="does not end in one norm and one product"):
        LogitDifference(model)


@pytest.mark.parametrize(
    ("site", "branch", "architecture"),
    [
        *((HEADS, ATTN_OUT, architecture) for architecture in BRANCHED),
        *((NEURONS, MLP_OUT, architecture) for architecture in BRANCHED if architecture not in MIXTURES),
    ],
)
def test_zero_heads_or_neurons_are_a_branch_without_what_it_reads(architecture, site, branch):
    """But for the bias of the product, which is added whatever it reads."""
    model = small(architecture).model
    product = projections_in_blocks(model)[1]
    name = product.attn if branch == ATTN_OUT else product.mlp
    module = decoder_blocks(model)[1].get_submodule(name)
    with change_sites(model, {at(site): torch.zeros_like}):
        found = passed(model)
    bias = getattr(module, "bias", None)
    with zeroed(module):
        expected = passed(model)
    if bias is None:
        assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, passed(model), atol=1e-3)


@pytest.mark.parametrize("architecture", MIXTURES[:3])
def test_a_mixture_of_experts_has_no_site_of_its_neurons(architecture):
    model = small(architecture).model
    with (
        pytest.raises(UnknownHookError, match="the one product behind the neurons"),
        read_sites(model, [at(NEURONS)], lambda *_: None),
    ):
        passed(model)


def test_an_unknown_site_is_refused_by_name():
    model = small("llama").model
    with (
        pytest.raises(UnknownHookError, match="attn.hook_q"),
        change_sites(model, {"blocks.1.attn.hook_q": torch.clone}),
    ):
        passed(model)
