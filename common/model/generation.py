"""Generate programs in batches, and keep the residual stream of the pass that starts them.

1. Prompts are padded on the left, so that the last prompt token of every row is the last
   column. One forward pass (the prefill) fills the key-value cache; hooks on its blocks
   keep the output of every block at the wanted positions.
2. Then one token per row and step. A row ends at an end-of-sequence token, when its text
   holds the complete solution (`common.problems.extraction.solution_end`), or at a limit. Rows that
   have ended leave the batch, cache included.
3. A batch is always computed with the same rows, so its results do not depend on slices,
   resumption or what ran before. Sampling draws from one generator per row.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BatchEncoding, DynamicCache

from common.errors import ConfigError
from common.model.forward import new_cache, next_token_logits, select_rows
from common.model.hooks import read_sites
from common.model.language_model import LanguageModel
from common.model.sites import resid_post_site
from common.model.tokenization import encode, encode_padded
from common.problems.extraction import solution_end
from common.problems.prompt import Prompt, bodies_of

END_OF_SEQUENCE, SOLUTION_COMPLETE = "end_of_sequence", "solution_complete"
MAX_NEW_TOKENS, CONTEXT_LENGTH = "max_new_tokens", "context_length"
POSITIONS = ("last", "description_end", "tests_end")
NUMBERS_AT_ONCE, NUMBERS_AT_ONCE_GPU = 1 << 19, 1 << 26  # of next-token distributions; a GPU pays for each part


@dataclass(frozen=True)
class Request:
    """One program to generate. `seed` matters only at a temperature above 0."""

    task_id: int
    prompt: Prompt
    entry_point: str
    seed: int


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
    """A row that still generates."""

    request: Request
    result: Generation
    limit: int
    limit_reason: str
    generator: torch.Generator
    line_start: str = ""  # the line being written, as far as the pieces of its tokens tell


def generate(
    lm: LanguageModel,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    positions: Sequence[str] = ("last",),
    stop_early: bool = True,
) -> list[Generation]:
    """One batch of programs, in the order of `requests`.

    `positions` names the prompt tokens whose residual stream is kept (see POSITIONS).
    `stop_early=False` leaves out the stop at the complete solution: for tests.
    Prompts must fit (see `check_prompts_fit`).
    """
    named = set(positions) - {"last"}
    prompts = [request.prompt for request in requests]
    encoded = encode_padded(lm, [prompt.text for prompt in prompts], bodies=bodies_of(prompts), offsets=bool(named))
    mask = encoded["attention_mask"]
    rows = [start_row(lm, request, int(n), max_new_tokens) for request, n in zip(requests, mask.sum(1), strict=True)]
    columns = {name: _columns(name, requests, encoded) for name in positions}
    results = [row.result for row in rows]
    with torch.inference_mode():
        logits, cache = _prefill(lm, encoded, columns, results)
        decode(lm, rows, logits, cache, mask.to(lm.device), temperature=temperature, stop_early=stop_early)
    return results


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


def start_row(lm: LanguageModel, request: Request, n_prompt: int, max_new_tokens: int) -> Row:
    room = lm.context_length - n_prompt
    assert room > 0, f"problem {request.task_id}: see check_prompts_fit"
    limit, reason = min((max_new_tokens, MAX_NEW_TOKENS), (room, CONTEXT_LENGTH))
    return Row(request, Generation(), limit, reason, generator=torch.Generator().manual_seed(request.seed))


def _columns(position: str, requests: Sequence[Request], encoded: BatchEncoding) -> list[int]:
    """The column of a named prompt position in each row of the padded batch."""
    width = encoded["attention_mask"].shape[1]
    if position == "last":
        return [width - 1] * len(requests)
    ends = [getattr(request.prompt, position) for request in requests]
    offsets, mask = encoded["offset_mapping"], encoded["attention_mask"]
    # The token that holds the section's last character; padding and BOS have empty offsets.
    return [
        max(c for c in range(width) if mask[r, c] and offsets[r, c, 0] < end and offsets[r, c, 1] > offsets[r, c, 0])
        for r, end in enumerate(ends)
    ]


def _prefill(
    lm: LanguageModel, encoded: BatchEncoding, columns: dict[str, list[int]], results: list[Generation]
) -> tuple[Float[Tensor, "batch d_vocab"], DynamicCache]:
    """Run the prompts; store the residual streams in `results`; return next-token logits and cache."""
    # Indices on the processor serve a model that lies on several devices.
    index = {name: torch.tensor(values) for name, values in columns.items()}
    kept: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    row_numbers = torch.arange(len(results))

    def take(_site: str, resid: Float[Tensor, "batch pos d_model"]) -> None:
        for name, column in index.items():
            kept[name].append(resid[row_numbers, column].float().cpu().numpy())

    mask = encoded["attention_mask"].to(lm.device)
    cache = new_cache(lm)
    sites = [resid_post_site(layer) for layer in range(lm.n_layers)] if columns else []
    with read_sites(lm.model, sites, take), lm.meter.reading(lm.model, mask.numel()):
        logits = next_token_logits(lm, encoded["input_ids"].to(lm.device), mask, cache)
    for row, result in enumerate(results):
        result.resid_post = {name: np.stack([layer[row] for layer in layers]) for name, layers in kept.items()}
    return logits, cache


def decode(
    lm: LanguageModel,
    rows: list[Row],
    logits: Float[Tensor, "batch d_vocab"],
    cache: DynamicCache,
    mask: Int[Tensor, "batch pos"],
    *,
    temperature: float = 0.0,
    stop_early: bool = True,
    on_leaving: Callable[[Int[Tensor, " kept"]], None] = lambda kept: None,
) -> None:
    """Extend every row token by token until it ends; `logits` are those of its next token.

    `on_leaving` is told the rows that stay, whenever some leave the batch.
    """
    pieces: dict[int, str] = {}
    with lm.meter.writing() as wrote:
        while True:
            tokens = _choose(rows, logits, temperature)
            del logits  # the next ones are as large
            ended = [_ended(lm, row, stop_early, pieces) for row in rows]
            alive = [i for i, row_ended in enumerate(ended) if not row_ended]
            lengths = [len(row.result.token_ids) for row, row_ended in zip(rows, ended, strict=True) if row_ended]
            wrote(len(rows), lengths)
            if not alive:
                return
            if len(alive) < len(rows):  # rows that have ended leave
                keep = torch.tensor(alive)  # on the processor: layers may lie on several devices
                select_rows(cache, keep)
                rows, tokens, mask = [rows[i] for i in alive], tokens[keep], mask[keep]
                on_leaving(keep)
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            logits = next_token_logits(lm, tokens[:, None], mask, cache)


def _choose(rows: list[Row], logits: Float[Tensor, "batch d_vocab"], temperature: float) -> Int[Tensor, "batch"]:
    """The next token of each row, [batch], and its log-probability noted in the row's result.

    A few rows at a time: with a vocabulary of 152,000 a distribution in double precision is 1.2 MB.
    """
    numbers = NUMBERS_AT_ONCE if logits.device.type == "cpu" else NUMBERS_AT_ONCE_GPU
    at_once = max(1, numbers // logits.shape[-1])
    parts = [rows[first : first + at_once] for first in range(0, len(rows), at_once)]
    chosen = [_choose_some(part, some, temperature) for part, some in zip(parts, logits.split(at_once), strict=True)]
    return torch.cat(chosen)


def _choose_some(rows: list[Row], logits: Float[Tensor, "batch d_vocab"], temperature: float) -> Int[Tensor, "batch"]:
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    if temperature == 0:
        tokens = logprobs.argmax(-1)
    else:
        draws = torch.tensor([torch.rand((), generator=row.generator, dtype=torch.float64) for row in rows])
        at = logits.cpu() if logits.device.type == "mps" else logits  # Metal has no float64
        cumulative = torch.softmax(at.double() / temperature, dim=-1).cumsum(-1)
        threshold = draws.to(at.device)[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)
        tokens = tokens.to(logits.device)
    chosen = logprobs.gather(-1, tokens[:, None])[:, 0].tolist()
    for i, (row, token) in enumerate(zip(rows, tokens.tolist(), strict=True)):
        if not row.result.token_ids:
            row.result.first_token_entropy = torch.special.entr(logprobs[i].exp()).sum().item()
        row.result.token_ids.append(token)
        row.result.logprobs.append(chosen[i])
    return tokens


def _ended(lm: LanguageModel, row: Row, stop_early: bool, pieces: dict[int, str]) -> bool:
    """Whether the row is finished; then its text and stop reason are set."""
    token = row.result.token_ids[-1]
    if token in lm.end_of_sequence_ids:
        reason = END_OF_SEQUENCE
    elif stop_early and _may_be_complete(lm, row, token, pieces) and _is_complete(lm, row):
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
    return solution_end(text, row.request.entry_point) is not None


def _text(lm: LanguageModel, row: Row) -> str:
    ids = row.result.token_ids
    return str(lm.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
