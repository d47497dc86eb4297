"""Generate programs with continuous batching, and keep the residual stream of the pass that starts them.

1. Prompts are read in groups (`read_group`), padded on the left, so that the last prompt token of every row is the last
   column. One forward pass (the prefill) fills the key-value cache; hooks on its blocks keep the output of every block
   at the wanted positions. A group is always read with the same rows, so what is kept does not depend on slices,
   resumption or what else is written.
2. From there a row goes on one token a pass, beside whatever other rows there are (`write_rows`). Where one ends, a row
   that waits takes its place in the cache (row_cache.py), so that every row of a pass is busy. A group is read as soon
   as a place is free and no row waits; a model whose cache lets no row join takes one when the one before has ended.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import BatchEncoding, DynamicCache

from common.errors import ConfigError
from common.model.forward import new_cache, next_token_logits
from common.model.hooks import read_sites
from common.model.language_model import LanguageModel
from common.model.row_cache import ClosedBatch, ReadPrompts, RowCache, rows_may_join
from common.model.rows import Generation, Request, Row, choose, has_ended, start_row
from common.model.sites import resid_post_site
from common.model.tokenization import encode, encode_padded
from common.problems.prompt import Prompt, bodies_of
from common.runs.records import TOKENS_PER_ROW

POSITIONS = ("last", "description_end", "tests_end")


@dataclass
class Group:
    """Rows whose prompts are read: row i goes on behind prompt `sources[i]` of what was read."""

    rows: list[Row]
    read: ReadPrompts
    sources: list[int]

    def only(self, wanted: Callable[[Any], bool]) -> "Group":
        """Its rows with these keys."""
        numbers = [number for number, row in enumerate(self.rows) if wanted(row.key)]
        return Group([self.rows[number] for number in numbers], self.read, [self.sources[number] for number in numbers])


def generate(
    lm: LanguageModel,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    positions: Sequence[str] = ("last",),
    stop_early: bool = True,
) -> list[Generation]:
    """Programs that are written together, in the order of `requests`.

    `positions` names the prompt tokens whose residual stream is kept (see POSITIONS).
    `stop_early=False` leaves out the stop at the complete solution: for tests.
    Prompts must fit (see `check_prompts_fit`).
    """
    keyed = dict(enumerate(requests))
    told = {"max_new_tokens": max_new_tokens, "positions": positions, "stop_early": stop_early}
    groups = (read_group(lm, some, **told) for some in [keyed])  # held by nobody once its rows are written
    made = {row.key: row.result for row in write_rows(lm, groups, lambda: len(keyed))}
    return [made[number] for number in keyed]


def prompt_lengths(lm: LanguageModel, prompts: Sequence[Prompt]) -> list[int]:
    """Tokens of each prompt."""
    return [len(ids) for ids in encode(lm, [prompt.text for prompt in prompts], bodies=bodies_of(prompts))]


def check_prompts_fit(lm: LanguageModel, requests: Sequence[Request]) -> list[int]:
    """Tokens of each prompt. Raises: ConfigError naming those that leave no room in the model's context."""
    lengths = prompt_lengths(lm, [request.prompt for request in requests])
    too_long = {r.task_id: n for r, n in zip(requests, lengths, strict=True) if n >= lm.context_length}
    if too_long:
        shown = ", ".join(f"problem {task_id} has {n} tokens" for task_id, n in list(too_long.items())[:10])
        raise ConfigError(
            f"{len(too_long)} prompts are too long for {lm.name}, which reads {lm.context_length} tokens: {shown}\n"
            f"Leave these problems out of the --dataset, or give a --model with a longer context"
        )
    return lengths


@torch.inference_mode()
def read_group(
    lm: LanguageModel,
    requests: dict[int, Request],
    *,
    max_new_tokens: int,
    positions: Sequence[str] = ("last",),
    stop_early: bool = True,
) -> Group:
    """One pass over the prompts of `requests`, whose keys the rows have. See `generate`."""
    prompts = [request.prompt for request in requests.values()]
    named = set(positions) - {"last"}
    encoded = encode_padded(lm, [prompt.text for prompt in prompts], bodies=bodies_of(prompts), offsets=bool(named))
    n_held = encoded["attention_mask"].sum(1).tolist()
    rows = [
        start_row(lm, key, request, n, max_new_tokens, stop_early)
        for (key, request), n in zip(requests.items(), n_held, strict=True)
    ]
    columns = {name: _columns(name, prompts, encoded) for name in positions}
    cache = new_cache(lm)
    logits, kept = _prefill(lm, encoded, columns, cache)
    for number, row in enumerate(rows):
        row.result.resid_post = {name: streams[:, number].copy() for name, streams in kept.items()}
    return started(rows, logits, ReadPrompts(cache, n_held))


def started(rows: list[Row], logits: Float[Tensor, "batch d_vocab"], read: ReadPrompts) -> Group:
    """The group of rows that have read their prompts: row i prompt i, behind which `logits` are those of its first
    token."""
    choose(rows, logits)
    return Group(rows, read, list(range(len(rows))))


def _columns(position: str, prompts: Sequence[Prompt], encoded: BatchEncoding) -> list[int]:
    """The column of a named prompt position in each row of the padded batch."""
    width = encoded["attention_mask"].shape[1]
    if position == "last":
        return [width - 1] * len(prompts)
    ends = [getattr(prompt, position) for prompt in prompts]
    offsets, mask = encoded["offset_mapping"], encoded["attention_mask"]
    # The token that holds the section's last character; padding and BOS have empty offsets.
    return [
        max(c for c in range(width) if mask[r, c] and offsets[r, c, 0] < end and offsets[r, c, 1] > offsets[r, c, 0])
        for r, end in enumerate(ends)
    ]


def _prefill(
    lm: LanguageModel, encoded: BatchEncoding, columns: dict[str, list[int]], cache: DynamicCache
) -> tuple[Float[Tensor, "batch d_vocab"], dict[str, Float[np.ndarray, "n_layers batch d_model"]]]:
    """Run the prompts, which fill the cache: next-token logits, and the residual streams by position."""
    # Indices on the processor serve a model that lies on several devices.
    index = {name: torch.tensor(values) for name, values in columns.items()}
    kept: dict[str, list[Tensor]] = {name: [] for name in columns}
    row_numbers = torch.arange(len(encoded["input_ids"]))

    def take(_site: str, resid: Float[Tensor, "batch pos d_model"]) -> None:
        for name, column in index.items():
            kept[name].append(resid[row_numbers, column].float())  # stays where it is: a copy would wait for the pass

    mask = encoded["attention_mask"].to(lm.device)
    sites = [resid_post_site(layer) for layer in range(lm.n_layers)] if columns else []
    with read_sites(lm.model, sites, take), lm.meter.reading(lm.model, mask.numel()):
        logits = next_token_logits(lm, encoded["input_ids"].to(lm.device), mask, cache)
    return logits, {name: np.stack([one.cpu().numpy() for one in layers]) for name, layers in kept.items()}


def write_rows(
    lm: LanguageModel,
    groups: Iterable[Group],
    n_rows: Callable[[], int],
    on_rows: Callable[[list[Row]], None] = lambda rows: None,
) -> Iterator[Row]:
    """Each row of the groups as soon as it has ended. At most `n_rows()` are written at a time.

    `on_rows` is told the rows of the next pass, in their order, whenever these are others than before.
    """
    pool, supply = _Pool(lm, n_rows, on_rows), iter(groups)
    while True:
        yield from pool.fill(supply)
        if not pool.rows:
            return
        yield from pool.step()


class _Pool:
    """The rows that are being written and their cache, and those that wait for a place."""

    def __init__(self, lm: LanguageModel, n_rows: Callable[[], int], on_rows: Callable[[list[Row]], None]) -> None:
        self._lm, self._n_rows, self._on_rows = lm, n_rows, on_rows
        self._any_time = rows_may_join(lm)
        self._cache = RowCache(lm, self._n_places) if self._any_time else ClosedBatch(lm)
        self._limit = 0  # the most tokens that a row may write
        self._pieces: dict[int, str] = {}
        self._group: Group | None = None
        self._waiting: list[int] = []  # rows of the group
        self._told = True
        self.rows: list[Row] = []

    def fill(self, groups: Iterator[Group]) -> Iterator[Row]:
        """Take in as many rows as there are places for; gives those that ended with their first token."""
        while len(self.rows) < self._n_rows() and (self._any_time or not self.rows):
            if self._waiting:
                n_joining = self._n_joining() if self._any_time else len(self._waiting)
                if not n_joining:
                    return
                self._join(n_joining)
                continue
            self._group = None  # its cache goes before the next is made
            self._group = next(groups, None)
            if self._group is None:
                return
            yield from self._receive(self._group)

    def _receive(self, group: Group) -> list[Row]:
        chosen = [row for row in group.rows if row.result.token_ids]
        self._lm.meter.wrote(len(chosen))
        self._limit = max([self._limit, *(row.limit for row in group.rows)])
        for row, source in zip(group.rows, group.sources, strict=True):
            row.n_columns = group.read.n_held[source] + row.limit
        ended = [number for number, row in enumerate(group.rows) if row.result.token_ids and self._has_ended(row)]
        self._waiting = [number for number in range(len(group.rows)) if number not in ended]
        return [group.rows[number] for number in ended]

    def _n_joining(self) -> int:
        """How many of the rows that wait join now: those that there is a place for, and that do not make all too wide.

        Every row takes the columns of the longest. One of MBPP's prompts has twenty times the usual length, and is
        written with few others beside it.
        """
        assert self._group is not None
        n_columns = max((row.n_columns for row in self.rows), default=0)
        for number, waiting in enumerate(self._waiting):
            n_after, n_columns = len(self.rows) + number + 1, max(n_columns, self._group.rows[waiting].n_columns)
            if n_after > 1 and n_after > self._n_places(n_columns):
                return number
        return len(self._waiting)

    def _n_places(self, n_columns: int) -> int:
        """Rows of so many columns that are written at a time: no more memory than usual prompts would take."""
        return min(self._n_rows(), self._n_rows() * (TOKENS_PER_ROW + self._limit) // max(1, n_columns))

    @torch.inference_mode()
    def _join(self, n_joining: int) -> None:
        group, joining = self._group, self._waiting[:n_joining]
        assert group is not None
        self._waiting = self._waiting[n_joining:]
        self._cache.join(group.read, [group.sources[number] for number in joining])
        self.rows += [group.rows[number] for number in joining]
        self._told = False
        if not self._waiting:
            self._group = None  # its cache is not needed any longer, and held by nobody else

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """One token more for each row; gives those that have ended."""
        if not self._told:
            self._on_rows(self.rows)
            self._told = True
        with self._lm.meter.writing(len(self.rows)):
            ids = torch.tensor([row.next_token for row in self.rows], device=self._lm.device)[:, None]
            logits = next_token_logits(self._lm, ids, self._cache.mask(), self._cache.held)
            self._cache.advance()
            choose(self.rows, logits)
        ended = [number for number, row in enumerate(self.rows) if self._has_ended(row)]
        gone = [self.rows[number] for number in ended]
        if ended:
            self.rows = [self.rows[number] for number in self._cache.leave(ended)]
            self._told = False
        return gone

    def _has_ended(self, row: Row) -> bool:
        ended = has_ended(self._lm, row, self._pieces)
        if ended:
            self._lm.meter.ended(len(row.result.token_ids))
        return ended
