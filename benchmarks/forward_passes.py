"""The floor of generation: bare forward passes, without anything around them.

Those that an engine made, made again; or those of an ideal schedule, in which every row of every pass is busy.
"""

import contextlib
import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicSlidingWindowLayer

from common.model.forward import new_cache
from common.model.language_model import LanguageModel


@dataclasses.dataclass(frozen=True)
class Pass:
    """One forward pass: `n_rows` rows read `n_new` tokens each, with `n_before` in the cache."""

    n_rows: int
    n_new: int
    n_before: int


@contextlib.contextmanager
def recorded_passes(lm: LanguageModel) -> Iterator[list[Pass]]:
    """The passes that the model makes while the block is open."""
    decoder, passes = lm.model.get_decoder(), []
    forward = decoder.forward

    def recording(*arguments, **named):
        assert not arguments, "the model is called with names; else the shapes are not where they are looked for"
        ids, cache = named.get("input_ids"), named["past_key_values"]
        n_rows, n_new = (named["inputs_embeds"] if ids is None else ids).shape[:2]
        passes.append(Pass(n_rows, n_new, int(cache.get_seq_length())))
        return forward(*arguments, **named)

    decoder.forward = recording
    try:
        yield passes
    finally:
        del decoder.forward  # what the class has is in force again


def ideal_passes(groups: Sequence[Sequence[int]], n_written: Sequence[tuple[int, int]], n_rows: int) -> list[Pass]:
    """Each prompt is read once, in its group; then `n_rows` rows write until all is written, and none waits.

    `groups` are lengths of the prompts that are read together; `n_written` has each program's prompt and new tokens.
    """
    read = [Pass(len(lengths), max(lengths), 0) for lengths in groups]
    held = [n_prompt + step for n_prompt, n_new in n_written for step in range(n_new - 1)]  # the first comes of reading
    return read + [Pass(n_rows, 1, round(statistics.mean(held)))] * -(-len(held) // n_rows)


def make_again(lm: LanguageModel, passes: Sequence[Pass]) -> None:
    """Bare passes of these shapes, on keys and values that lie ready."""
    n_rows, n_columns = max(p.n_rows for p in passes), max(p.n_before + p.n_new for p in passes)
    ids = torch.full((n_rows, max(p.n_new for p in passes)), 5, device=lm.device)
    mask = torch.ones((n_rows, n_columns), dtype=torch.long, device=lm.device)
    positions = torch.arange(n_columns, device=lm.device)
    mask[0, 0] = 0  # some padding, so that masks are really made
    cache = _Ready(lm, n_rows, n_columns)
    with torch.inference_mode():
        for p in passes:
            cache.n_before = p.n_before
            end = p.n_before + p.n_new
            lm.model(
                input_ids=ids[: p.n_rows, : p.n_new],
                attention_mask=mask[: p.n_rows, :end],
                position_ids=positions[p.n_before : end].expand(p.n_rows, -1),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )


class _Ready(Cache):
    """Keys and values for any pass of at most these sizes."""

    def __init__(self, lm: LanguageModel, n_rows: int, n_columns: int) -> None:
        self.n_rows, self.n_columns, self.n_before = n_rows, n_columns, 0
        sliding = [isinstance(layer, DynamicSlidingWindowLayer) for layer in new_cache(lm).layers]
        super().__init__(layers=[_ReadyLayer(self, each) for each in sliding])


class _ReadyLayer(CacheLayerMixin):
    def __init__(self, of: _Ready, is_sliding: bool) -> None:
        super().__init__()
        self._of, self.is_sliding = of, is_sliding

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        shape = (self._of.n_rows, key_states.shape[1], self._of.n_columns, key_states.shape[3])
        self.keys, self.values = key_states.new_zeros(shape), value_states.new_zeros(shape)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_named: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        n_rows, first, end = len(key_states), self._of.n_before, self._of.n_before + key_states.shape[2]
        for held, new in ((self.keys, key_states), (self.values, value_states)):
            held[:n_rows, :, first:end] = new
        return self.keys[:n_rows, :, :end], self.values[:n_rows, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._of.n_before + query_length, 0

    def get_seq_length(self) -> int:
        return self._of.n_before

    def get_max_length(self) -> int:
        return -1


def in_words(passes: Sequence[Pass]) -> str:
    tokens = sum(p.n_rows * p.n_new for p in passes)
    writing = [p.n_rows for p in passes if p.n_before]
    return (
        f"{len(passes):,} passes, {tokens:,} tokens with padding; those that write have {statistics.mean(writing):.1f} "
        f"rows on average"
    )
