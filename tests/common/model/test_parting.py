"""Covers common/model/parting.py: rows that part at a block are those of a pass that was called on all of them."""

import pytest
import torch
from architectures import OTHERWISE_WITHOUT, PARALLEL, WITH_RESID_MID, small

from common.model.forward import logits_of_every_token, new_cache, next_token_logits, select_rows
from common.model.hooks import change_sites, decoder_blocks
from common.model.parting import last_shared_layer, rows_part

SITE, LAYER = "blocks.1.hook_resid_post", 1
SOURCE = torch.tensor([1, 0, 0, 1, 1, 0, 1])
PARTING = [name for name in (*WITH_RESID_MID, *PARALLEL) if last_shared_layer(small(name), [SITE]) == LAYER]


def prompts(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of unlike lengths, padded on the left; the mask is of the tokens that follow, too."""
    ids = torch.randint(5, 900, (n, 9), generator=torch.Generator().manual_seed(3))
    mask = (torch.arange(9) >= torch.tensor([3, 0])[:n, None]).long()
    return ids * mask, mask


def adding(lm, n_rows: int):
    deltas = torch.randn(n_rows, 1, lm.d_model, generator=torch.Generator().manual_seed(4))
    return change_sites(lm.model, {SITE: lambda resid: resid + deltas})


@torch.inference_mode()
def along(lm, source: torch.Tensor, shared: bool, n_prompts: int) -> list[torch.Tensor]:
    """Logits behind prompts, a token and three tokens at once, of rows that are changed from the prompts' end on."""
    ids, mask = prompts(n_prompts)
    cache = new_cache(lm)
    next_token_logits(lm, ids[:, :-1], mask[:, :-1], cache)
    called = torch.arange(n_prompts) if shared else source
    select_rows(cache, source, behind=LAYER if shared else -1)
    more = torch.arange(20, 20 + 4 * n_prompts).view(n_prompts, 4)
    ids, mask = torch.cat([ids, more], 1)[called], torch.cat([mask, torch.ones_like(more)], 1)[called]
    read, start = [], 8
    with (
        adding(lm, len(source)),
        rows_part(lm, LAYER if shared else 2, source if shared else torch.arange(len(source))),
    ):
        for width in (1, 1, 3):
            some = slice(start, start + width)
            read.append(logits_of_every_token(lm, ids[:, some], mask[:, : some.stop], cache))
            start += width
    return read


@pytest.mark.parametrize("n_prompts", [1, 2])
@pytest.mark.parametrize("architecture", PARTING)
def test_rows_that_part_at_a_block_are_those_of_a_whole_pass(architecture, n_prompts):
    lm, source = small(architecture), SOURCE.clamp(max=n_prompts - 1)
    for parted, whole in zip(along(lm, source, True, n_prompts), along(lm, source, False, n_prompts), strict=True):
        assert len(parted) == len(source)
        torch.testing.assert_close(parted, whole, rtol=1e-4, atol=1e-4)
    assert (whole[0] - whole[-1]).abs().max() > 1e-2


@pytest.mark.parametrize("architecture", ["mistral", "gemma2"])
def test_windows_smaller_than_a_prompt_slide_in_every_row(architecture):
    lm = small(architecture, sliding_window=4)
    assert last_shared_layer(lm, [SITE]) == LAYER
    for parted, whole in zip(along(lm, SOURCE, True, 2), along(lm, SOURCE, False, 2), strict=True):
        torch.testing.assert_close(parted, whole, rtol=1e-4, atol=1e-4)


def test_a_lack_of_memory_is_not_taken_for_a_model_that_cannot_part():
    lm, n_calls = small("llama", max_position_embeddings=64), [0]

    def fail(*_: object) -> None:
        n_calls[0] += 1
        if n_calls[0] > 2:  # behind the two passes that look at what blocks are handed
            raise torch.OutOfMemoryError("out of memory")

    with decoder_blocks(lm.model)[2].register_forward_pre_hook(fail), pytest.raises(torch.OutOfMemoryError):
        last_shared_layer(lm, [SITE])
    assert last_shared_layer(lm, [SITE]) == LAYER


def test_most_architectures_part():
    assert len(PARTING) >= 30, sorted({*WITH_RESID_MID, *PARALLEL} - set(PARTING))


def test_below_the_block_each_prompt_is_read_once():
    lm, rows = small("qwen2"), list[int]()
    assert last_shared_layer(lm, [SITE]) == LAYER
    hooks = [
        block.register_forward_hook(lambda _m, _a, out: rows.append(len(out))) for block in decoder_blocks(lm.model)
    ]
    n_hooks = [len(block._forward_pre_hooks) + len(block._forward_hooks) for block in decoder_blocks(lm.model)]
    ids, mask = prompts(2)
    with torch.inference_mode(), rows_part(lm, LAYER, SOURCE):
        rows.clear()
        next_token_logits(lm, ids, mask, new_cache(lm))
    assert rows == [2, 7, 7]  # the block itself computed two
    assert n_hooks == [len(block._forward_pre_hooks) + len(block._forward_hooks) for block in decoder_blocks(lm.model)]
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize(
    ("sites", "layer"),
    [
        (["blocks.2.hook_resid_post"], 2),
        (["blocks.2.hook_resid_mid"], 1),
        (["blocks.2.hook_resid_post", "blocks.1.hook_resid_post"], 1),
        (["blocks.0.hook_resid_pre"], -1),
        ([], -1),
    ],
)
def test_what_is_shared_ends_before_the_first_change(sites, layer):
    assert last_shared_layer(small("llama"), sites) == layer


@pytest.mark.parametrize("architecture", [*OTHERWISE_WITHOUT, "jamba", "lfm2", "gpt_bigcode"])
def test_nothing_is_shared_where_rows_cannot_part(architecture):
    assert last_shared_layer(small(architecture), [SITE]) == -1
