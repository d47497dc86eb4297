"""A program that is being written, token by token: how its next token is chosen, and when it has ended.

A row ends at an end-of-sequence token, when its text holds the complete solution
(`common.problems.extraction.solution_end`), or at a limit. Sampling draws from one generator per row.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.model.language_model import LanguageModel
from common.problems.extraction import solution_end
from common.problems.prompt import Prompt

END_OF_SEQUENCE, SOLUTION_COMPLETE = "end_of_sequence", "solution_complete"
MAX_NEW_TOKENS, CONTEXT_LENGTH = "max_new_tokens", "context_length"
NUMBERS_AT_ONCE, NUMBERS_AT_ONCE_GPU = 1 << 19, 1 << 26  # of next-token distributions; a GPU pays for each part


@dataclass(frozen=True)
class Request:
    """One program that is asked of the model: for `problem`, a row of phase 0 or 0.1.

    `seed` and `sample_index` matter only at a temperature above 0.
    """

    problem: Mapping[str, Any]
    prompt: Prompt
    seed: int
    temperature: float = 0.0
    sample_index: int = 0

    @property
    def task_id(self) -> int:
        return self.problem["task_id"]


@dataclass
class Generation:
    """What the model wrote for one request. Log-probabilities are natural, at temperature 1."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    first_token_entropy: float = math.nan
    stop_reason: str = ""
    resid_post: dict[str, Float[np.ndarray, "n_layers d_model"]] = field(default_factory=dict)  # by position


@dataclass
class Row:
    """A program being generated, a row of each pass; `key` is what whoever asks for it calls it."""

    key: Any
    request: Request
    result: Generation
    limit: int
    limit_reason: str
    generator: torch.Generator
    stop_early: bool = True
    next_token: int = -1  # that it reads next
    n_columns: int = 0  # that it takes if it goes on to its limit
    line_start: str = ""  # the line being written, as far as the pieces of its tokens tell


def start_row(
    lm: LanguageModel, key: Any, request: Request, n_prompt: int, max_new_tokens: int, stop_early: bool = True
) -> Row:
    """`stop_early=False` leaves out the stop at the complete solution: for tests."""
    room = lm.context_length - n_prompt
    assert room > 0, f"problem {request.task_id}: see check_prompts_fit"
    limit, reason = min((max_new_tokens, MAX_NEW_TOKENS), (room, CONTEXT_LENGTH))
    generator = torch.Generator().manual_seed(request.seed)
    return Row(key, request, Generation(), limit, reason, generator, stop_early)


def choose(rows: Sequence[Row], logits: Float[Tensor, "batch d_vocab"]) -> None:
    """Choose the next token of each row, which its result notes with its log-probability.

    A few rows at a time: with a vocabulary of 152,000 a distribution in double precision is 1.2 MB.
    """
    numbers = NUMBERS_AT_ONCE if logits.device.type == "cpu" else NUMBERS_AT_ONCE_GPU
    at_once = max(1, numbers // logits.shape[-1])
    parts = [rows[first : first + at_once] for first in range(0, len(rows), at_once)]
    for part, some in zip(parts, logits.split(at_once), strict=True):
        _choose_some(part, some)


def _choose_some(rows: Sequence[Row], logits: Float[Tensor, "batch d_vocab"]) -> None:
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    chosen = logprobs.argmax(-1)
    sampled = [i for i, row in enumerate(rows) if row.request.temperature > 0]
    if sampled:
        chosen[sampled] = _sample([rows[i] for i in sampled], logits[sampled]).to(chosen)
    tokens, of_chosen = chosen.tolist(), logprobs.gather(-1, chosen[:, None])[:, 0].tolist()
    for i, (row, token) in enumerate(zip(rows, tokens, strict=True)):
        if not row.result.token_ids:
            row.result.first_token_entropy = torch.special.entr(logprobs[i].exp()).sum().item()
        row.next_token = token
        row.result.token_ids.append(token)
        row.result.logprobs.append(of_chosen[i])


def _sample(rows: Sequence[Row], logits: Float[Tensor, "batch d_vocab"]) -> Tensor:
    at = logits.cpu() if logits.device.type == "mps" else logits  # Metal has no float64
    temperatures = torch.tensor([row.request.temperature for row in rows], dtype=torch.float64, device=at.device)
    draws = torch.tensor([torch.rand((), generator=row.generator, dtype=torch.float64) for row in rows])
    cumulative = torch.softmax(at.double() / temperatures[:, None], dim=-1).cumsum(-1)
    threshold = draws.to(at.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def has_ended(lm: LanguageModel, row: Row, pieces: dict[int, str]) -> bool:
    """Whether the row is finished; then its text and stop reason are set. `pieces` are texts of tokens seen before."""
    token = row.result.token_ids[-1]
    if token in lm.end_of_sequence_ids:
        reason = END_OF_SEQUENCE
    elif row.stop_early and _may_be_complete(lm, row, token, pieces) and _is_complete(lm, row):
        reason = SOLUTION_COMPLETE
    elif len(row.result.token_ids) >= row.limit:
        reason = row.limit_reason
    else:
        return False
    row.result.stop_reason, row.result.text = reason, _text(lm, row)
    return True


def _may_be_complete(lm: LanguageModel, row: Row, token: int, pieces: dict[int, str]) -> bool:
    """Cheap test before the exact one: only a line at column 0 can follow a complete solution."""
    if token not in pieces:
        pieces[token] = str(lm.tokenizer.decode([token]))
    row.line_start = (row.line_start + pieces[token]).rsplit("\n", 1)[-1][:80]
    return "\n" in pieces[token] or (row.line_start != "" and not row.line_start[0].isspace())


def _is_complete(lm: LanguageModel, row: Row) -> bool:
    text = _text(lm, row).rstrip("\ufffd")  # half of a character, which its other half will change
    return solution_end(text, row.request.problem["entry_point"]) is not None


def _text(lm: LanguageModel, row: Row) -> str:
    ids = row.result.token_ids
    return str(lm.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
