"""Programs of a model that cannot write a direction, with a measurement of that on the same prompts.

1. The unchanged model reads the prompts: what its components write along the direction is what there is to remove.
2. The orthogonalised model reads them again; what its components write is measured, and checked.
3. It then writes the programs. Rows of a batch share the weights, so a batch has one direction.
4. Both read the programs that the unchanged model wrote in phase 1: how much the change disturbs it is measured there.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache

from common.interventions.steered_generation import read_prompts
from common.interventions.trajectory_kl import along_programs, mean_kls, parts
from common.model.forward import new_cache
from common.model.generation import started, write_rows
from common.model.language_model import LanguageModel
from common.model.row_cache import ReadPrompts
from common.model.rows import Generation, Request, start_row
from common.model.tokenization import encode_padded
from common.problems.prompt import bodies_of
from phase3_validation.orthogonalisation.weights import orthogonalised, watch_writes, write_limit


@dataclass(frozen=True)
class OrthogonalisedProgram:
    """What the model wrote; how much the change disturbs it along the unchanged program [nats per token].

    `share_before` and `share` are the largest |<d, write>| / |write| over components and prompt tokens, in [0, 1],
    before and after; `component` is where the latter is found. NaN and "" for the unchanged model.
    """

    generation: Generation
    trajectory_kl: float = 0.0
    share_before: float = math.nan
    share: float = math.nan
    component: str = ""


def generate_orthogonalised(
    lm: LanguageModel,
    requests: Sequence[Request],
    direction: Float[Tensor, " d_model"] | None,
    unchanged_programs: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
) -> list[OrthogonalisedProgram]:
    """One batch of greedy programs, in the order of `requests`; None leaves the weights as they are.

    `unchanged_programs` are the token ids that the unchanged model writes for them.
    Prompts must fit (see `common.model.generation.check_prompts_fit`).
    Raises: PipelineError when a component still writes the direction; ConfigError for an unknown architecture.
    """
    prompts = [request.prompt for request in requests]
    encoded = encode_padded(lm, [prompt.text for prompt in prompts], bodies=bodies_of(prompts))
    ids, mask = encoded["input_ids"].to(lm.device), encoded["attention_mask"].to(lm.device)
    n_held = mask.sum(1).tolist()
    rows = [
        start_row(lm, number, request, n, max_new_tokens)
        for number, (request, n) in enumerate(zip(requests, n_held, strict=True))
    ]

    def write(logits: Float[Tensor, "batch d_vocab"], cache: DynamicCache) -> None:
        group = started(rows, logits, ReadPrompts(cache, n_held))
        for _ in write_rows(lm, [group], lambda: len(rows)):  # each has its result
            pass

    results = [row.result for row in rows]
    with torch.inference_mode():
        if direction is None:
            write(*_read(lm, ids, mask))
            return [OrthogonalisedProgram(result) for result in results]
        direction = direction.to(lm.device)
        with watch_writes(lm.model, direction, mask.bool()) as before:
            _read(lm, ids, mask)
        with orthogonalised(lm.model, direction) as unchanged:
            with watch_writes(lm.model, direction, mask.bool()) as writes:
                logits, cache = _read(lm, ids, mask)
            writes.check(write_limit(getattr(torch, lm.dtype)))
            write(logits, cache)
            kls = _trajectory_kls(lm, ids, mask, unchanged_programs, unchanged)
    return [
        OrthogonalisedProgram(*facts)
        for facts in zip(results, kls, before.worst, writes.worst, writes.component, strict=True)
    ]


def _trajectory_kls(
    lm: LanguageModel,
    ids: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    programs: Sequence[Sequence[int]],
    unchanged: Callable[[], AbstractContextManager],
) -> list[float]:
    """How much the weights that the model has now disturb it; in `unchanged` it has its own."""
    kls = [0.0] * len(programs)
    for part in parts(lm, mask.sum(1).tolist(), programs):
        some, n_tokens = [programs[row] for row in part], int(mask[part].sum(1).max())
        read = ids[part, -n_tokens:], mask[part, -n_tokens:]
        changed, plain = _along(lm, *read, some, nullcontext), _along(lm, *read, some, unchanged)
        for row, kl in zip(part, mean_kls(zip(plain, changed, strict=True), some), strict=True):
            kls[row] = kl
    return kls


def _along(
    lm: LanguageModel,
    ids: Int[Tensor, "batch pos"],
    mask: Int[Tensor, "batch pos"],
    programs: Sequence[Sequence[int]],
    weights: Callable[[], AbstractContextManager],
) -> Iterator[Float[Tensor, "batch 1 d_vocab"]]:
    """Log-probabilities along the programs, token by token, each computed while the context `weights` is open."""
    with weights():
        logits, cache = _read(lm, ids, mask)
    along = along_programs(lm, programs, logits, cache, mask)
    while True:
        with weights():
            some = next(along, None)
        if some is None:
            return
        yield some


def _read(
    lm: LanguageModel, ids: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"]
) -> tuple[Float[Tensor, "batch d_vocab"], DynamicCache]:
    cache = new_cache(lm)
    return read_prompts(lm, ids, mask, cache), cache
