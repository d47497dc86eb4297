"""Generate programs while a vector is added to the residual stream: a row of a batch each its own vector.

1. Everything before the last prompt token is untouched by steering, so it is computed once for each distinct
   prompt, and its cache is copied to all rows of that prompt (with `steer_prompt` every row reads its own).
2. From the last prompt token on, every forward pass holds steered positions only: each row's vector is added
   to the whole pass, at the row's site.
3. One unsteered row for each prompt goes through the last prompt token too: its next-token distribution is what
   the others' is compared with.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BatchEncoding, DynamicCache

from common.model.forward import new_cache, next_token_logits, select_rows
from common.model.generation import Generation, Request, decode, start_row
from common.model.hooks import Activations, change_sites, embeddings_of
from common.model.language_model import LanguageModel
from common.model.tokenization import encode_padded
from common.problems.prompt import bodies_of


@dataclass(frozen=True, eq=False)
class Push:
    """What is added at every steered position: `vector`, [d_model] float32, at `site` (blocks.5.hook_resid_post)."""

    site: str
    vector: Float[Tensor, " d_model"]


@dataclass(frozen=True)
class SteeredGeneration:
    """What the model wrote, and KL(steered || unsteered) of the first token's distribution [nats]."""

    generation: Generation
    kl: float


def generate_steered(
    lm: LanguageModel,
    requests: Sequence[Request],
    pushes: Sequence[Push | None],
    *,
    max_new_tokens: int,
    steer_prompt: bool = False,
    stop_early: bool = True,
) -> list[SteeredGeneration]:
    """One batch of greedy programs, in the order of `requests`; None leaves a row unsteered.

    The vector is added at the last prompt token and every token after it; with `steer_prompt` at every token of
    the prompt. Prompts must fit (see `common.model.generation.check_prompts_fit`).
    """
    prompts = list(dict.fromkeys(request.prompt for request in requests))
    prompt_of = torch.tensor([prompts.index(request.prompt) for request in requests])
    encoded = encode_padded(lm, [prompt.text for prompt in prompts], bodies=bodies_of(prompts))
    n_tokens = encoded["attention_mask"].sum(1)
    rows = [
        start_row(lm, request, int(n_tokens[prompt]), max_new_tokens)
        for request, prompt in zip(requests, prompt_of.tolist(), strict=True)
    ]
    # Rows of the batch, and behind them one unsteered row for each prompt.
    source = torch.cat([prompt_of, torch.arange(len(prompts))])
    steered = _SteeredRows([*pushes, *[None] * len(prompts)], lm)
    with torch.inference_mode(), steered.hooks(lm) as pause:
        start = _rows_read_their_prompts if steer_prompt else _prompts_are_read_once
        logits, cache, mask = start(lm, encoded, source, pause)
        kls = kl_divergence(logits[: len(rows)], logits[len(rows) :][source[: len(rows)]])
        keep = torch.arange(len(rows))
        select_rows(cache, keep)
        steered.select(keep)
        decode(
            lm, rows, logits[: len(rows)], cache, mask[: len(rows)], stop_early=stop_early, on_leaving=steered.select
        )
    return [SteeredGeneration(row.result, kl) for row, kl in zip(rows, kls, strict=True)]


class _SteeredRows:
    """The vectors of the rows that are in the batch: by site, [batch, 1, d_model], zero where a row has none."""

    def __init__(self, pushes: Sequence[Push | None], lm: LanguageModel):
        dtype = embeddings_of(lm.model).weight.dtype
        self._vectors: dict[str, Tensor] = {}
        for row, push in enumerate(pushes):
            if push is not None:
                vectors = self._vectors.setdefault(push.site, torch.zeros(len(pushes), 1, lm.d_model))
                vectors[row, 0] = push.vector
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


def kl_divergence(logits: Float[Tensor, "batch d_vocab"], unsteered: Float[Tensor, "batch d_vocab"]) -> list[float]:
    """KL(P || P unsteered) of each row's distributions [nats]."""
    logprobs, others = (torch.log_softmax(values.float(), dim=-1) for values in (logits, unsteered))
    kl = (logprobs.exp() * (logprobs - others)).sum(-1)
    return kl.clamp(min=0).tolist()  # rounding can leave it a hair below
