"""Keys and values of rows that come and go, written in place: nothing is copied when a token is added.

All rows end in the same column. A row of n tokens has its keys and values in the n columns before `end`; what is left
of them is masked, as padding is. The columns are those of the longest row, and some that are still free:

    row 0    .  .  .  a  b  c  d  |
    row 1    .  u  v  w  x  y  z  |        free
             ^ begin              ^ end

Positions are in the keys already where a model rotates them, so that a row may lie in any columns; masks of sliding
windows and ALiBi look at distances within a row, which are those of the columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from common.model.forward import new_cache, select_rows
from common.model.language_model import LanguageModel

FREE_COLUMNS = 64  # once in so many tokens all is copied: at any length a thirtieth of what attention reads meanwhile


@dataclass(frozen=True)
class ReadPrompts:
    """What is held of prompts that were read in one pass, padded on the left: `n_held` tokens of each row."""

    cache: DynamicCache
    n_held: list[int]


@dataclass
class _Layout:
    """Room for `n_rows` rows and `n_columns` columns, of which those from `begin` to `end` are used."""

    n_rows: int = 0
    n_columns: int = 0
    begin: int = 0
    end: int = 0


class _Layer(CacheLayerMixin):
    """Keys and values of one block, [row, head, column, d_head] each: the rows in use come first."""

    def __init__(self, layout: _Layout, is_sliding: bool) -> None:
        super().__init__()
        self._layout, self.is_sliding = layout, is_sliding

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (self._empty(states) for states in (key_states, value_states))
        self.is_initialized = True

    def _empty(self, states: Tensor) -> Tensor:
        """Zeros, since what is masked is multiplied by 0, and 0 times NaN would be NaN."""
        _, n_heads, _, d_head = states.shape
        return states.new_zeros(self._layout.n_rows, n_heads, self._layout.n_columns, d_head)

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_named: Any) -> tuple[Tensor, Tensor]:
        n_rows, n_new, layout = key_states.shape[0], key_states.shape[2], self._layout
        assert self.keys is not None and self.values is not None, "rows join before a pass"
        for held, new in ((self.keys, key_states), (self.values, value_states)):
            held[:n_rows, :, layout.end : layout.end + n_new] = new
        seen = slice(layout.begin, layout.end + n_new)
        return self.keys[:n_rows, :, seen], self.values[:n_rows, :, seen]

    def join(self, read: Any, source: int, n_tokens: int, row: int) -> None:
        if not self.is_initialized:
            self.lazy_initialization(read.keys, read.values)
        for held, one in self._both(read):
            n_kept = min(n_tokens, one.shape[2])  # behind a sliding window the beginning is gone, and never seen
            held[row, :, : self._layout.end - n_kept] = 0  # what stood there may not be finite
            held[row, :, self._layout.end - n_kept : self._layout.end] = one[source, :, one.shape[2] - n_kept :]

    def move(self, source: int, row: int) -> None:
        for held, _ in self._both(self):
            held[row, :, : self._layout.end] = held[source, :, : self._layout.end]

    def relocate(self, before: _Layout, n_rows: int) -> None:
        """Take the rows from the columns that they had into those that they have now."""
        if not self.is_initialized:
            return
        now = slice(self._layout.end - (before.end - before.begin), self._layout.end)
        for name in ("keys", "values"):  # one after the other: both are there twice for a moment only
            held = getattr(self, name)
            setattr(self, name, self._empty(held))
            getattr(self, name)[:n_rows, :, now] = held[:n_rows, :, before.begin : before.end]

    def _both(self, other: Any) -> list[tuple[Tensor, Tensor]]:
        assert self.keys is not None and self.values is not None
        return [(self.keys, other.keys), (self.values, other.values)]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self._layout.end - self._layout.begin

    def get_max_length(self) -> int:
        return -1


class RowCache(Cache):
    """See the head of this file. Rows in use are 0 to n - 1, without gaps.

    Places are made for as many as `n_rows` gives for a number of columns, and for those that join beyond.
    """

    def __init__(self, lm: LanguageModel, n_rows: Callable[[int], int]) -> None:
        self._layout, self._n_rows = _Layout(), n_rows
        is_sliding = [isinstance(layer, DynamicSlidingWindowLayer) for layer in new_cache(lm).layers]
        self._blocks = [_Layer(self._layout, each) for each in is_sliding]
        super().__init__(layers=list(self._blocks))
        self._device, self._n_held = lm.device, list[int]()
        self._starts: Tensor | None = None

    @property
    def held(self) -> Cache:
        """What the model is handed."""
        return self

    @property
    def _longest(self) -> int:
        return max(self._n_held, default=0)

    def join(self, read: ReadPrompts, sources: Sequence[int]) -> None:
        """These rows of what was read come behind those in use."""
        lengths, n_before = [read.n_held[source] for source in sources], len(self._n_held)
        self._make_room(len(lengths), max(lengths, default=0))
        for row, (source, length) in enumerate(zip(sources, lengths, strict=True), n_before):
            for block, of_block in zip(self._blocks, read.cache.layers, strict=True):
                block.join(of_block, source, length, row)
        self._n_held += lengths
        self._note_begin()

    def leave(self, rows: Sequence[int]) -> list[int]:
        """Rows that have ended go. Gives the order of those that stay: each one's number before, by its number now."""
        gone, order = set(rows), list(range(len(self._n_held)))
        for row in sorted(gone):
            while order and order[-1] in gone:
                order.pop()
            if row >= len(order):
                break
            order[row] = order.pop()  # the last takes its place
            for block in self._blocks:
                block.move(order[row], row)
        self._n_held = [self._n_held[row] for row in order]
        self._note_begin()
        return order

    def mask(self) -> Int[Tensor, "row column"]:
        """1 for what each row sees in its next pass, its new token included."""
        self._make_room(0, 0)
        if self._starts is None:
            self._starts = torch.tensor([[self._layout.end - n] for n in self._n_held], device=self._device)
        columns = torch.arange(self._layout.begin, self._layout.end + 1, device=self._device)
        return (columns >= self._starts).long()

    def advance(self) -> None:
        """A pass has added a token to each row."""
        self._layout.end += 1
        self._n_held = [n + 1 for n in self._n_held]

    def _note_begin(self) -> None:
        self._layout.begin = self._layout.end - self._longest
        self._starts = None

    def _make_room(self, n_rows: int, n_tokens: int) -> None:
        """For so many rows more, of at most `n_tokens` tokens, and for one token more of each row."""
        layout, n_all = self._layout, len(self._n_held) + n_rows
        if n_all <= layout.n_rows and n_tokens <= layout.end < layout.n_columns:
            return
        before = replace(layout)
        longest = max([*self._n_held, n_tokens])
        layout.n_columns = longest + FREE_COLUMNS
        layout.n_rows = max(n_all, self._n_rows(layout.n_columns))
        layout.begin, layout.end = longest - (before.end - before.begin), longest
        for block in self._blocks:
            block.relocate(before, len(self._n_held))
        self._note_begin()


class ClosedBatch:
    """The same for a model whose cache holds more than keys and values: rows come together, and go one by one.

    States of a recurrence (Mamba, LFM2) and chunks of attention depend on where a row began.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self._lm = lm
        self.held = new_cache(lm)
        self._mask = torch.zeros(0, 0, dtype=torch.long)

    def join(self, read: ReadPrompts, sources: Sequence[int]) -> None:
        self.held = read.cache
        if list(sources) != list(range(len(read.n_held))):
            select_rows(read.cache, torch.tensor(sources))
        width = max(read.n_held)
        rows = [[0] * (width - read.n_held[source]) + [1] * read.n_held[source] for source in sources]
        self._mask = torch.tensor(rows, device=self._lm.device)

    def leave(self, rows: Sequence[int]) -> list[int]:
        gone = set(rows)
        order = [row for row in range(len(self._mask)) if row not in gone]
        if order:
            select_rows(self.held, torch.tensor(order))  # on the processor: layers may lie on several devices
        else:
            self.held = new_cache(self._lm)
        self._mask = self._mask[order]
        return order

    def mask(self) -> Int[Tensor, "row column"]:
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        return self._mask

    def advance(self) -> None:
        pass


def rows_may_join(lm: LanguageModel) -> bool:
    """Whether the cache of the model is one of keys and values alone, block by block."""
    config = lm.model.config.get_text_config()
    if getattr(config, "attention_chunk_size", None) is not None:  # its masks count from the first column
        return False
    kinds = [type(layer) for layer in new_cache(lm).layers]
    return bool(kinds) and all(kind in (DynamicLayer, DynamicSlidingWindowLayer) for kind in kinds)
