"""Generate programs while a vector is added to the residual stream: a row of a batch each its own vector.

1. Everything before the last prompt token is untouched by steering, so it is computed once for each distinct
   prompt, and its cache is copied to all rows of that prompt (with `steer_prompt` every row reads its own).
2. From the last prompt token on, every forward pass holds steered positions only: each row's vector is added
   to the whole pass, at the row's site.
3. The unsteered program of each prompt is written too, where it is not asked for, and read again with every vector
   (trajectory_kl.py): how much the vector disturbs the model is measured there.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BatchEncoding, DynamicCache

from common.interventions.trajectory_kl import along_programs, mean_kls, parts
from common.model.forward import new_cache, next_token_logits, select_rows
from common.model.generation import Generation, Request, decode, start_row
from common.model.hooks import Activations, change_sites, embeddings_of
from common.model.language_model import LanguageModel
from common.model.tokenization import encode_padded
from common.problems.prompt import Prompt, bodies_of


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """What is added at every steered position: `vector`, [d_model] float32, at `site` (blocks.5.hook_resid_post)."""

    site: str
    vector: Float[Tensor, " d_model"]


@dataclass(frozen=True)
class SteeredGeneration:
    """What the model wrote, and how much the vector disturbs it on its unsteered program [nats per token]."""

    generation: Generation
    trajectory_kl: float


def generate_steered(
    lm: LanguageModel,
    requests: Sequence[Request],
    steering_vectors: Sequence[SteeringVector | None],
    *,
    max_new_tokens: int,
    steer_prompt: bool = False,
    stop_early: bool = True,
    disturbance: bool = True,
) -> list[SteeredGeneration]:
    """One batch of greedy programs, in the order of `requests`; None leaves a row unsteered.

    The vector is added at the last prompt token and every token after it; with `steer_prompt` at every token of
    the prompt. Prompts must fit (see `common.model.generation.check_prompts_fit`). Without `disturbance` that is NaN,
    and takes no time.
    """
    start = _rows_read_their_prompts if steer_prompt else _prompts_are_read_once
    if not disturbance:
        with torch.inference_mode():
            made = _generate(lm, requests, steering_vectors, start, max_new_tokens, stop_early)
        return [SteeredGeneration(one, math.nan) for one in made]
    unsteered = {
        request.prompt for request, steering in zip(requests, steering_vectors, strict=True) if steering is None
    }
    lacking = {request.prompt: request for request in requests if request.prompt not in unsteered}
    every, added = [*requests, *lacking.values()], [*steering_vectors, *[None] * len(lacking)]
    with torch.inference_mode():
        made = _generate(lm, every, added, start, max_new_tokens, stop_early)
        plain = {
            request.prompt: one for request, steering, one in zip(every, added, made, strict=True) if steering is None
        }
        programs = [plain[request.prompt].token_ids for request in requests]
        kls = _trajectory_kls(lm, [request.prompt for request in requests], steering_vectors, programs, start)
    return [SteeredGeneration(*both) for both in zip(made[: len(requests)], kls, strict=True)]


def _generate(
    lm: LanguageModel,
    requests: Sequence[Request],
    steering_vectors: Sequence[SteeringVector | None],
    start: "Start",
    max_new_tokens: int,
    stop_early: bool,
) -> list[Generation]:
    prompts = [request.prompt for request in requests]
    encoded, source = _encoded(lm, prompts)
    n_tokens = encoded["attention_mask"].sum(1)[source].tolist()
    rows = [start_row(lm, request, n, max_new_tokens) for request, n in zip(requests, n_tokens, strict=True)]
    results = [row.result for row in rows]
    steered = _SteeredRows(steering_vectors, lm)
    with steered.hooks(lm) as only:
        decode(lm, rows, *start(lm, encoded, source, only), stop_early=stop_early, on_leaving=steered.select)
    return results


def _trajectory_kls(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    steering_vectors: Sequence[SteeringVector | None],
    programs: Sequence[Sequence[int]],
    start: "Start",
) -> list[float]:
    """Each vector's disturbance along the unsteered program of its prompt; none where there is no vector."""
    kls = [0.0] * len(prompts)
    steered = [place for place, steering in enumerate(steering_vectors) if steering is not None]
    for part in parts(lm, [programs[place] for place in steered]):
        places = steered[part]
        some = [prompts[place] for place in places]
        plain = list(dict.fromkeys(some))  # an unsteered row for each prompt, behind the others
        program_of = dict(zip(some, (programs[place] for place in places), strict=True))
        encoded, source = _encoded(lm, [*some, *plain])
        rows = _SteeredRows([*(steering_vectors[place] for place in places), *[None] * len(plain)], lm)
        with rows.hooks(lm) as only:
            read = [program_of[prompt] for prompt in (*some, *plain)]
            n, own = len(some), source[: len(some)]
            along = along_programs(lm, read, *start(lm, encoded, source, only))
            found = mean_kls(((logprobs[n:][own], logprobs[:n]) for logprobs in along), read[:n])
        for place, kl in zip(places, found, strict=True):
            kls[place] = kl
    return kls


def _encoded(lm: LanguageModel, prompts: Sequence[Prompt]) -> tuple[BatchEncoding, Int[Tensor, " batch"]]:
    """Each distinct prompt once, in the order in which they come first; and which of them each row has."""
    distinct = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    encoded = encode_padded(lm, [prompt.text for prompt in distinct], bodies=bodies_of(list(distinct)))
    return encoded, torch.tensor([distinct[prompt] for prompt in prompts])


class _SteeredRows:
    """The vectors of the rows that are in the batch: by site, [batch, 1, d_model], zero where a row has none."""

    def __init__(self, steering_vectors: Sequence[SteeringVector | None], lm: LanguageModel):
        dtype = embeddings_of(lm.model).weight.dtype
        self._vectors: dict[str, Tensor] = {}
        for row, steering in enumerate(steering_vectors):
            if steering is not None:
                vectors = self._vectors.setdefault(steering.site, torch.zeros(len(steering_vectors), 1, lm.d_model))
                vectors[row, 0] = steering.vector
        self._vectors = {site: vectors.to(lm.device, dtype) for site, vectors in self._vectors.items()}
        self._mask: Tensor | None = None
        self._paused = False

    def select(self, keep: Int[Tensor, " kept"]) -> None:
        """Rows have left the batch; only `keep` stay."""
        self._vectors = {site: vectors[keep] for site, vectors in self._vectors.items()}

    @contextmanager
    def hooks(self, lm: LanguageModel) -> Iterator[Callable]:
        """Steer every pass; gives `only`, with which a pass steers no position, or those of a mask only."""

        def change(site: str) -> Callable[[Activations], Activations]:
            def add(resid: Activations) -> Activations:
                if self._paused:
                    return resid
                added = self._vectors[site] = self._vectors[site].to(resid.device)  # layers may lie on several
                return resid + (added if self._mask is None else added * self._mask.to(resid.device))

            return add

        @contextmanager
        def only(mask: Tensor | None) -> Iterator[None]:
            self._paused, self._mask = mask is None, mask
            yield
            self._paused, self._mask = False, None

        with change_sites(lm.model, {site: change(site) for site in self._vectors}):
            yield only


Started = tuple[Float[Tensor, "batch d_vocab"], DynamicCache, Int[Tensor, "batch pos"]]
Start = Callable[[LanguageModel, BatchEncoding, Tensor, Callable], Started]


def _prompts_are_read_once(lm: LanguageModel, encoded: BatchEncoding, source: Tensor, only: Callable) -> Started:
    """Unsteered passes over the prompts without their last tokens; then all rows read the last token, steered."""
    ids, mask = encoded["input_ids"].to(lm.device), encoded["attention_mask"].to(lm.device)
    cache = new_cache(lm)
    with only(None):
        read_prompts(lm, ids[:, :-1], mask[:, :-1], cache)
    select_rows(cache, source)
    mask = mask[source]
    return next_token_logits(lm, ids[source, -1:], mask, cache), cache, mask


def _rows_read_their_prompts(lm: LanguageModel, encoded: BatchEncoding, source: Tensor, only: Callable) -> Started:
    """Every row reads its whole prompt, steered wherever there is no padding."""
    ids, mask = encoded["input_ids"].to(lm.device)[source], encoded["attention_mask"].to(lm.device)[source]
    cache = new_cache(lm)
    with only(mask[:, :, None].to(embeddings_of(lm.model).weight.dtype)):
        logits = read_prompts(lm, ids, mask, cache)
    return logits, cache, mask


def read_prompts(
    lm: LanguageModel, ids: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"], cache: DynamicCache
) -> Float[Tensor, "batch d_vocab"]:
    """One pass over padded prompts, which fills the cache; the next token's logits."""
    with lm.meter.reading(lm.model, ids.numel()):
        return next_token_logits(lm, ids, mask, cache)
