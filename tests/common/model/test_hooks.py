"""Covers common/model/hooks.py: reading and changing in one pass, in whatever order, and passes that are stopped."""

import gc
import weakref
from contextlib import ExitStack

import pytest
import torch
from architectures import small
from reading_sites import IDS, LAYER, at, hooks_of, passed, read, zeroed

from common.model.hooks import change_sites, decoder_blocks, parts_of_blocks, read_sites
from common.model.sites import ATTN_OUT, MLP_NORMALIZED, MLP_OUT, RESID_MID, RESID_POST, RESID_PRE


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt_neox", "phi", "opt", "mixtral"])
def test_a_transcoder_takes_the_place_of_the_mlp(architecture):
    """One that computes what the MLP does changes nothing, though it reads in the pass that it changes."""
    model = small(architecture).model
    parts = parts_of_blocks(model)[LAYER]
    block = decoder_blocks(model)[LAYER]
    assert parts.mlp_norm is not None and parts.mlp is not None
    pairs = dict(zip(*(read(model, kind)[0].flatten(0, 1) for kind in (MLP_NORMALIZED, MLP_OUT)), strict=True))
    expected, kept = passed(model), []

    def transcoded(_added: torch.Tensor) -> torch.Tensor:
        (read_now,) = kept
        rows = torch.stack(list(pairs))
        nearest = torch.cdist(read_now.flatten(0, 1), rows).argmin(-1)
        return torch.stack(list(pairs.values()))[nearest].reshape(read_now.shape)

    def keep(_site: str, normalized: torch.Tensor) -> None:
        kept[:] = [normalized]

    handle = zeroed(block.get_submodule(parts.mlp.module))  # so what counts is the transcoder alone
    with handle, read_sites(model, [at(MLP_NORMALIZED)], keep), change_sites(model, {at(MLP_OUT): transcoded}):
        assert torch.allclose(passed(model), expected, atol=1e-5)


def test_what_is_opened_later_sees_what_was_changed_before():
    model = small("llama").model
    (plain,) = read(model, MLP_OUT)
    before, after = [], []
    with ExitStack() as stack:
        stack.enter_context(read_sites(model, [at(MLP_OUT)], lambda _site, added: before.append(added)))
        stack.enter_context(change_sites(model, {at(MLP_OUT): lambda added: added + 1}))
        stack.enter_context(read_sites(model, [at(MLP_OUT)], lambda _site, added: after.append(added)))
        stack.enter_context(change_sites(model, {at(MLP_OUT): lambda added: added + 1}))
        passed(model)
    assert torch.equal(before[0], plain) and torch.equal(after[0], plain + 1)


@pytest.mark.parametrize("kind", [RESID_MID, ATTN_OUT, MLP_OUT])
def test_the_output_of_a_block_is_read_with_what_is_changed_inside_it(kind):
    """However the contexts are nested: the change at resid_mid came too late for a reader opened before."""
    model = small("llama").model
    (plain,) = read(model, RESID_POST)
    inner, outer = [], []
    with read_sites(model, [at(RESID_POST)], lambda _site, resid: outer.append(resid)):
        with change_sites(model, {at(kind): lambda resid: resid + 1}):
            with read_sites(model, [at(RESID_POST)], lambda _site, resid: inner.append(resid)):
                passed(model)
    assert torch.equal(inner[0], outer[0]) and not torch.allclose(outer[0], plain, atol=0.1)


def test_gradients_flow_through_what_was_put_in_the_place_of_a_branch():
    model = small("granite").model
    steer = torch.zeros(64, requires_grad=True)
    with change_sites(model, {at(MLP_OUT): lambda added: added + steer}):
        model(input_ids=IDS).logits[:, -1].logsumexp(-1).sum().backward()
    assert steer.grad is not None and steer.grad.abs().max() > 0
    h = 1e-2 * torch.randn(64, generator=torch.Generator().manual_seed(0))
    both = []
    for sign in (1, -1):
        with change_sites(model, {at(MLP_OUT): lambda added, sign=sign: added + sign * h}):
            both.append(passed(model)[:, -1].logsumexp(-1).sum())
    assert torch.allclose((both[0] - both[1]) / 2, steer.grad @ h, rtol=2e-2)


# --- stopping


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gptj", "falcon", "opt", "mixtral"])
@pytest.mark.parametrize("kind", [RESID_POST, MLP_OUT, RESID_PRE])
def test_a_pass_that_is_stopped_computes_nothing_behind_the_deepest_block(architecture, kind):
    model = small(architecture).model
    whole = [read(model, kind, layer=layer)[0] for layer in (0, 1)]
    before, computed, found = hooks_of(model), [], {}
    with ExitStack() as counting:
        for layer, block in enumerate(decoder_blocks(model)):
            for module in block.modules():
                counting.enter_context(module.register_forward_hook(lambda _m, _a, _o, n=layer: computed.append(n)))
        head = model.get_output_embeddings()
        counting.enter_context(head.register_forward_hook(lambda *_: computed.append(99)))
        with torch.inference_mode(), read_sites(model, [at(kind, 1), at(kind, 0)], found.__setitem__, stop=True):
            model(input_ids=IDS, use_cache=False)
            pytest.fail("the pass was not stopped")
    assert set(computed) == {0, 1}
    assert all(torch.equal(found[at(kind, layer)], whole[layer]) for layer in (0, 1))
    assert hooks_of(model) == before
    assert torch.is_inference_mode_enabled() is False and passed(model).shape == (2, 11, 1024)


def test_a_pass_stopped_at_the_last_block_leaves_the_output_layer_out():
    model = small("llama").model
    with model.get_output_embeddings().register_forward_hook(lambda *_: pytest.fail("the logits were computed")):
        with read_sites(model, [at(RESID_POST, 2)], lambda *_: None, stop=True):
            model(input_ids=IDS)


def test_an_error_in_a_stopped_pass_is_not_swallowed():
    model = small("llama").model
    before = hooks_of(model)
    with pytest.raises(ZeroDivisionError), read_sites(model, [at(RESID_POST)], lambda *_: 1 / 0, stop=True):
        model(input_ids=IDS)
    with pytest.raises(ZeroDivisionError), read_sites(model, [at(RESID_POST)], lambda *_: None, stop=True):
        raise ZeroDivisionError
    assert hooks_of(model) == before


def test_the_inner_of_two_stopped_readers_ends_alone():
    model, seen = small("llama").model, []
    with read_sites(model, [at(RESID_POST, 2)], lambda site, _resid: seen.append(site), stop=True):
        with read_sites(model, [at(RESID_POST, 0)], lambda site, _resid: seen.append(site), stop=True):
            model(input_ids=IDS)
        seen.append("between")
        model(input_ids=IDS)
        seen.append("never")
    assert seen == [at(RESID_POST, 0), "between", at(RESID_POST, 2)]


def test_a_stopped_pass_keeps_nothing_alive():
    """Its exception would hold the frames of the model's forward, with all that they had computed."""
    model, held = small("llama").model, []
    gc.collect()
    gc.disable()
    try:
        with read_sites(model, [at(RESID_POST)], lambda _s, resid: held.append(weakref.ref(resid)), stop=True):
            passed(model)
        assert held[0]() is None
    finally:
        gc.enable()


def test_a_stopped_pass_runs_the_blocks_up_to_its_site_and_no_other():
    """Counted, not timed: a slow machine runs as many."""
    model = small("llama", num_hidden_layers=24).model

    def blocks_of_a_pass(layer: int | None) -> list[int]:
        ran: list[int] = []
        with torch.inference_mode(), ExitStack() as stack:
            for index, block in enumerate(decoder_blocks(model)):
                hook = block.register_forward_pre_hook(lambda *_, index=index: ran.append(index))
                stack.callback(hook.remove)
            if layer is not None:
                stack.enter_context(read_sites(model, [at(RESID_POST, layer)], lambda *_: None, stop=True))
            model.get_decoder()(input_ids=IDS, use_cache=False)
        return ran

    assert blocks_of_a_pass(None) == list(range(24))
    assert [blocks_of_a_pass(layer) for layer in (0, 5, 11, 23)] == [list(range(n)) for n in (1, 6, 12, 24)]
