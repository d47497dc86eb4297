"""Covers phase6_error_circuits/arms.py and patching/patches.py: what patches between two runs must give, exactly, and
what they give in a model whose routing is known.
"""

import copy
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from architectures import small
from error_pairs import CODE_START, DIFF, END, RIGHT, WRONG, made_pairs
from routed_model import routed

from common.errors import ConfigError, UnknownHookError
from common.model import replay
from common.model.hooks import read_sites
from common.model.replay import KnownRuns
from common.model.sites import ATTN_OUT, HEADS, MLP_OUT
from phase6_error_circuits.arms import Arms, arms_of
from phase6_error_circuits.patching.jobs import check_sites
from phase6_error_circuits.patching.patches import ALL, DENOISING, DIRECTIONS, NOISING, Patching, Place

LOG = logging.getLogger("tests")
MODELS = ["gemma2", "qwen2", "gpt2", "gpt_neox"]
N_PAIRS = 3


def arms_in(architecture: str) -> Arms:
    return arms_of(small(architecture), made_pairs(N_PAIRS))


def patching(arms: Arms, direction: str = DENOISING, rows: int = 64) -> Patching:
    return Patching(arms, direction, rows, LOG)


def test_pairs_without_an_effect_are_refused():
    """Every share is a ratio to the effect."""
    lm = copy.deepcopy(small("llama"))
    torch.nn.init.zeros_(lm.model.get_output_embeddings().weight)
    assert arms_in("llama").with_effect().pairs
    with pytest.raises(ConfigError, match=rf"of {N_PAIRS} pairs .* 0 alike.*\nGive another --contrast"):
        arms_of(lm, made_pairs(N_PAIRS)).with_effect()


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_patch_before_the_first_difference_changes_anything(architecture, direction):
    arms = arms_in(architecture)
    assert arms.first_difference == DIFF - CODE_START and arms.offset == CODE_START
    one = patching(arms, direction)
    for layer in range(arms.replay.n_layers):
        source, target = one.source.streams[layer], one.target.streams[layer]
        assert torch.equal(source[:, : arms.first_difference], target[:, : arms.first_difference])
        same = one.arms.replay.run_from(layer + 1, target.clone())
        put = target.clone()
        put[:, : arms.first_difference] = source[:, : arms.first_difference]
        assert torch.equal(one.arms.replay.run_from(layer + 1, put), same)


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_at_the_last_layer_the_last_position_is_all_of_it_and_the_others_nothing(architecture, direction):
    arms = arms_in(architecture)
    n = arms.replay.n_positions
    effects = patching(arms, direction).resid(arms.replay.n_layers - 1, [Place(pos) for pos in range(n)])
    assert np.allclose(effects[-1], arms.total, atol=1e-5) and not effects[:-1].any()


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_all_positions_of_any_layer_are_all_of_it(architecture, direction):
    arms = arms_in(architecture)
    for layer in range(arms.replay.n_layers):
        assert np.allclose(patching(arms, direction).resid(layer, [Place(ALL)]), arms.total, atol=1e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_map_of_a_model_with_known_routing_is_known(direction):
    """What differs goes from its positions straight to the end, by head 0 of layer 1, and by nothing else."""
    arms = arms_of(routed(), made_pairs(N_PAIRS))
    one, total = patching(arms, direction), arms.total.numpy()
    everywhere = [Place(pos) for pos in range(arms.replay.n_positions)]
    first, last = one.resid(0, everywhere), one.resid(1, everywhere)
    differ = [DIFF - CODE_START, DIFF + 1 - CODE_START]
    assert not np.delete(first, differ, axis=0).any() and np.abs(first[differ]).min() > 1e-3
    both = one.target.streams[0].clone()
    both[:, differ] = one.source.streams[0][:, differ]
    moved = one.target.metric_from(1, both) - one.target.metric
    assert np.allclose(moved if direction == DENOISING else -moved, total, atol=1e-5)
    assert np.allclose(last[-1], total, atol=1e-5) and not last[:-1].any()
    end = END - CODE_START
    assert np.allclose(
        one.branch(ATTN_OUT, 1, [Place(end), Place(ALL), Place(0)]), [total, total, 0 * total], atol=1e-5
    )
    assert not one.branch(ATTN_OUT, 0, [Place(ALL)]).any() and not one.branch(MLP_OUT, 1, [Place(ALL)]).any()
    heads = one.branch(HEADS, 1, [Place(head=0), Place(head=1)])
    assert np.allclose(heads, [total, 0 * total], atol=1e-5)
    by_gradient = one.heads_first_order()
    assert np.abs(by_gradient[1, 0]).min() > 1e-3 and not by_gradient[0].any() and not by_gradient[1, 1].any()


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_small_patch_of_a_head_is_what_its_gradient_says(architecture, direction):
    """The two arms brought so near to each other that the first order is all there is."""
    arms = arms_in(architecture)
    near = arms.clean.embedded + 1e-2 * (arms.corrupted.embedded - arms.clean.embedded)
    streams = arms.replay.streams(near)
    metric = arms.clean.metric_from(arms.replay.n_layers, streams[-1])
    beside = replace(arms.corrupted, embedded=near, streams=streams, metric=metric)
    one = patching(replace(arms, corrupted=beside), direction)
    first = one.heads_first_order()
    for layer in range(arms.replay.n_layers):
        exact = one.branch(HEADS, layer, [Place(head=head) for head in range(4)])
        assert np.allclose(first[layer], exact, rtol=0.1, atol=2e-5 + 0.05 * np.abs(first).max())


def test_a_patch_is_that_of_transformer_lens(tmp_path):
    from transformer_lens.model_bridge import TransformerBridge

    lm = small("gemma2")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    tokenizer = type(lm.tokenizer).from_pretrained(tmp_path)
    bridge = TransformerBridge.boot_transformers(
        str(tmp_path), device="cpu", hf_model=copy.deepcopy(lm.model), tokenizer=tokenizer
    )
    arms = arms_of(lm, made_pairs(N_PAIRS))
    clean = arms.clean.streams[1]

    def put(value, hook):
        value = value.clone()
        value[:, DIFF] = clean[:, DIFF - CODE_START]
        return value

    with torch.no_grad():
        logits = bridge.run_with_hooks(arms.corrupted.ids, fwd_hooks=[("blocks.1.hook_out", put)])[:, -1]
    expected = logits[:, RIGHT] - logits[:, WRONG] - arms.corrupted.metric
    found = patching(arms).resid(1, [Place(DIFF - CODE_START)])
    assert np.allclose(found[0], expected, atol=1e-5) and np.abs(found).min() > 1e-4


@pytest.mark.parametrize("architecture", [*MODELS, "jamba"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_is_run_from_the_patch_on_is_what_all_positions_give(architecture, direction, monkeypatch):
    one = patching(arms_in(architecture), direction)
    every, layer = [Place(pos) for pos in range(one.arms.replay.n_positions)], 1

    def found() -> list[np.ndarray]:
        return [one.resid(layer, every), *(one.branch(kind, layer, every) for kind in (ATTN_OUT, MLP_OUT, HEADS))]

    short = found()
    monkeypatch.setattr(KnownRuns, "replay_from", lambda known, _pos: (known._replay, 0))
    for some, expected in zip(short, found(), strict=True):
        assert np.allclose(some, expected, atol=1e-5) and np.abs(expected).max() > 1e-3


def test_no_position_before_a_patch_is_computed():
    one, computed = patching(arms_in("qwen2")), []
    assert one.target.known.replay_from(END - CODE_START)[1] == END - CODE_START
    with read_sites(one.arms.replay.model, ["blocks.2.hook_resid_post"], lambda _, x: computed.append(x.shape[1])):
        one.resid(1, [Place(END - CODE_START), Place(DIFF - CODE_START)])
    assert sorted({*computed}) == [1, END - DIFF + 1]


def test_patches_are_the_same_however_many_rows_are_computed_together():
    arms = arms_in("gemma2")
    places = [Place(2), Place(4), Place(ALL)]
    one, many = patching(arms, NOISING, rows=1), patching(arms, NOISING, rows=64)
    assert np.allclose(one.resid(1, places), many.resid(1, places), atol=1e-5)
    assert np.allclose(one.branch(MLP_OUT, 1, places), many.branch(MLP_OUT, 1, places), atol=1e-5)


def test_a_block_without_a_part_is_found_before_anything_is_patched():
    with pytest.raises(UnknownHookError, match="hook_attn_out"):
        check_sites(patching(arms_in("mamba")))


def test_known_runs_are_read_some_prompts_at_a_time(monkeypatch):
    """However many there are, no more streams are in memory."""
    places, rows = [Place(END - CODE_START)], []
    whole, one = patching(arms_in("gemma2")).resid(1, places), patching(arms_in("gemma2"))
    monkeypatch.setattr(replay, "ROWS_AT_ONCE", 2)
    with read_sites(one.arms.replay.model, ["blocks.0.hook_resid_post"], lambda _, x: rows.append(len(x))):
        assert one.target.known.replay_from(END - CODE_START)[1] == END - CODE_START
    assert max(rows) == 2 < N_PAIRS
    assert np.allclose(one.resid(1, places), whole, atol=1e-6)
