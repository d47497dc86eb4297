"""The floor of generation: the forward passes that an engine made, made again without anything around them."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from common.model.language_model import LanguageModel


@dataclasses.dataclass(frozen=True)
class Pass:
    """One forward pass: `n_rows` rows read `n_new` tokens each, with `n_before` in the cache. `cache` numbers it."""

    cache: int
    n_rows: int
    n_new: int
    n_before: int


@contextlib.contextmanager
def recorded_passes(lm: LanguageModel) -> Iterator[list[Pass]]:
    """The passes that the model makes while the block is open."""
    decoder, passes, numbers = lm.model.get_decoder(), [], {}
    forward = decoder.forward

    def recording(*arguments, **named):
        assert not arguments, "the model is called with names; else the shapes are not where they are looked for"
        ids, cache = named.get("input_ids"), named["past_key_values"]
        n_rows, n_new = (named["inputs_embeds"] if ids is None else ids).shape[:2]
        n_before = int(cache.get_seq_length())
        if n_before == 0:
            numbers[id(cache)] = len(passes)
        passes.append(Pass(numbers[id(cache)], n_rows, n_new, n_before))
        return forward(*arguments, **named)

    decoder.forward = recording
    try:
        yield passes
    finally:
        del decoder.forward  # what the class has is in force again


def make_again(lm: LanguageModel, passes: Sequence[Pass]) -> None:
    """Bare passes of these shapes, each on a cache as it was; rows that left the batch leave the cache."""
    n_rows, n_columns = max(p.n_rows for p in passes), max(p.n_before + p.n_new for p in passes)
    ids = torch.full((n_rows, max(p.n_new for p in passes)), 5, device=lm.device)
    mask = torch.ones((n_rows, n_columns), dtype=torch.long, device=lm.device)
    positions = torch.arange(n_columns, device=lm.device)
    mask[0, 0] = 0  # some padding, so that masks are really made
    last = {p.cache: number for number, p in enumerate(passes)}
    caches: dict[int, DynamicCache] = {}
    with torch.inference_mode():
        for number, p in enumerate(passes):
            if p.n_before == 0:
                caches[p.cache] = DynamicCache(config=lm.model.config)
            else:
                _cut(caches[p.cache], p)
            end = p.n_before + p.n_new
            row_ids, row_mask = ids[: p.n_rows, : p.n_new], mask[: p.n_rows, :end]
            where = positions[p.n_before : end].expand(p.n_rows, -1)
            told = dict(past_key_values=caches[p.cache], use_cache=True, logits_to_keep=1)
            lm.model(input_ids=row_ids, attention_mask=row_mask, position_ids=where, **told)
            if last[p.cache] == number:
                del caches[p.cache]


def _cut(cache: DynamicCache, p: Pass) -> None:
    keys = cast(DynamicLayer, cache.layers[0]).keys
    assert keys is not None  # a pass has filled it
    n_held = keys.shape[0]
    if n_held != p.n_rows:  # fewer after rows have left; more where many continue one prompt
        cache.batch_select_indices(torch.arange(p.n_rows, device=keys.device) % n_held)
    if cache.get_seq_length() > p.n_before:
        cache.crop(p.n_before)


def in_words(passes: Sequence[Pass]) -> str:
    tokens = sum(p.n_rows * p.n_new for p in passes)
    return f"{len(passes):,} passes, {tokens:,} tokens with padding, {tokens / len(passes):.0f} a pass"
