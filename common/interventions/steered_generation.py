"""Generate programs while a vector is added to the residual stream: each row of a pass its own vector.

1. Everything before the last prompt token is untouched by steering, so it is computed once for each distinct prompt of
   a batch, and its keys and values are copied to all rows of that prompt (with `steer_prompt` every row reads its own).
2. From the last prompt token on, every forward pass holds steered positions only: each row's vector is added
   to the whole pass, at the row's site.
3. The unsteered program of each prompt is written too, where it is not asked for, and read again with every vector
   (trajectory_kl.py): how much the vector disturbs the model is measured there.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BatchEncoding, DynamicCache

from common.interventions.trajectory_kl import along_programs, mean_kls, parts
from common.model.forward import new_cache, next_token_logits, select_rows
from common.model.generation import Group, started, write_rows
from common.model.hooks import Activations, ChangeFn, change_sites, embeddings_of
from common.model.language_model import LanguageModel
from common.model.parting import last_shared_layer, rows_part
from common.model.row_cache import ReadPrompts
from common.model.rows import Generation, Request, Row, start_row
from common.model.tokenization import encode_padded
from common.problems.prompt import Prompt, bodies_of

Started = tuple[Float[Tensor, "batch d_vocab"], DynamicCache, Int[Tensor, "called pos"]]


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
) -> list[SteeredGeneration]:
    """Greedy programs that are written together, in the order of `requests`; None leaves a row unsteered.

    The vector is added at the last prompt token and every token after it; with `steer_prompt` at every token of
    the prompt. Prompts must fit (see `common.model.generation.check_prompts_fit`).
    """
    unsteered = {
        request.prompt for request, steering in zip(requests, steering_vectors, strict=True) if steering is None
    }
    lacking = {request.prompt: request for request in requests if request.prompt not in unsteered}
    every, added = [*requests, *lacking.values()], [*steering_vectors, *[None] * len(lacking)]
    steering = Steering(lm, added, max_new_tokens=max_new_tokens, steer_prompt=steer_prompt, stop_early=stop_early)
    with steering.hooks():
        group = steering.read({number: (request, number) for number, request in enumerate(every)})
        rows = write_rows(lm, [group], lambda: len(every), steering.arrange)
        made = {row.key: row.result for row in rows}
    plain = {one.prompt: made[number] for number, one in enumerate(every) if added[number] is None}
    kls = trajectory_kls(
        lm,
        [request.prompt for request in requests],
        steering_vectors,
        [plain[request.prompt].token_ids for request in requests],
        steer_prompt=steer_prompt,
    )
    return [SteeredGeneration(made[number], kl) for number, kl in enumerate(kls)]


class Steering:
    """Rows that are steered by `vectors`, each by one of them, among others that come and go."""

    def __init__(
        self,
        lm: LanguageModel,
        vectors: Sequence[SteeringVector | None],
        *,
        max_new_tokens: int,
        steer_prompt: bool = False,
        stop_early: bool = True,
    ) -> None:
        self._lm, self._max_new_tokens = lm, max_new_tokens
        self._steer_prompt, self._stop_early = steer_prompt, stop_early
        self._vectors = _Vectors(vectors, lm)
        self._number_of: dict[Hashable, int] = {}

    def hooks(self) -> AbstractContextManager[None]:
        """Rows that `write_rows` writes meanwhile are steered, where it tells `arrange` of them."""
        return self._vectors.hooks(self._lm)

    def paused(self) -> AbstractContextManager[None]:
        """Passes made meanwhile are not steered."""
        return self._vectors.for_rows([])

    def arrange(self, rows: Sequence[Row]) -> None:
        """These are the rows of the next pass."""
        self._vectors.set_rows([self._number_of[row.key] for row in rows])

    @torch.inference_mode()
    def read(self, asked: Mapping[Hashable, tuple[Request, int]]) -> Group:
        """Read the prompts of rows, by key: what is asked, and the number of the vector that steers it."""
        keys, requests = list(asked), [request for request, _ in asked.values()]
        numbers = [number for _, number in asked.values()]
        self._number_of |= dict(zip(keys, numbers, strict=True))
        encoded, source = _encoded(self._lm, [request.prompt for request in requests])
        lengths = encoded["attention_mask"].sum(1)
        rows = [
            start_row(self._lm, key, request, n, self._max_new_tokens, self._stop_early)
            for key, request, n in zip(keys, requests, lengths[source].tolist(), strict=True)
        ]
        if self._steer_prompt:
            logits, cache, mask = _each_reads_its_prompt(self._lm, encoded, source, numbers, self._vectors)
            return started(rows, logits, ReadPrompts(cache, mask.sum(1).tolist()))
        ids, cache = encoded["input_ids"], _all_but_last(self._lm, encoded, self._vectors)
        for row, token in zip(rows, ids[source, -1].tolist(), strict=True):
            row.next_token = token  # the prompt's last, read beside the others, and steered
        return Group(rows, ReadPrompts(cache, (lengths - 1).tolist()), source.tolist())


@torch.inference_mode()
def trajectory_kls(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    steering_vectors: Sequence[SteeringVector | None],
    programs: Sequence[Sequence[int]],
    *,
    steer_prompt: bool = False,
) -> list[float]:
    """Each vector's disturbance along the unsteered program of its prompt; none where there is no vector."""
    kls = [0.0] * len(prompts)
    steered = [place for place, steering in enumerate(steering_vectors) if steering is not None]
    encoded, source = _encoded(lm, prompts)
    n_prompts = encoded["attention_mask"].sum(1)[source].tolist()
    for part in parts(lm, [n_prompts[place] for place in steered], [programs[place] for place in steered]):
        places = [steered[row] for row in part]
        some = [prompts[place] for place in places]
        plain = list(dict.fromkeys(some))  # an unsteered row for each prompt, behind the others
        encoded, source = _encoded(lm, [*some, *plain])
        vectors = _Vectors([*(steering_vectors[place] for place in places), *[None] * len(plain)], lm)
        program_of = dict(zip(some, (programs[place] for place in places), strict=True))
        with _Parted(lm, vectors, encoded, source) as parted:
            first, cache, mask = parted.read_prompts(steer_prompt)
            along = along_programs(lm, parted.of_each([program_of[prompt] for prompt in plain]), first, cache, mask)
            n, own = len(some), source[: len(some)]
            read = ((logprobs[n:][own], logprobs[:n]) for logprobs in along)
            kls_of_part = mean_kls(read, [program_of[prompt] for prompt in some])
        for place, kl in zip(places, kls_of_part, strict=True):
            kls[place] = kl
    return kls


class _Parted:
    """Rows of a few prompts, each changed by its own vector: one row for each prompt, up to the block that changes
    any, where nothing forbids it. `source`: which prompt each row has."""

    def __init__(self, lm: LanguageModel, vectors: "_Vectors", encoded: BatchEncoding, source: Tensor) -> None:
        self._lm, self._vectors, self._encoded, self._source = lm, vectors, encoded, source
        self._layer = last_shared_layer(lm, vectors.sites)
        # The prompt of each row that a pass is called on.
        self._called = torch.arange(len(encoded["input_ids"])) if self._layer >= 0 else source
        self._open = ExitStack()

    def __enter__(self) -> "_Parted":
        self._open.enter_context(self._vectors.hooks(self._lm))
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open.close()

    def of_each(self, of_prompts: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """What rows of a pass have of what prompts have."""
        return [of_prompts[prompt] for prompt in self._called.tolist()]

    def read_prompts(self, steer_prompt: bool) -> Started:
        """From the last token on steered, or from the first; so are all passes that follow."""
        lm, mask = self._lm, self._encoded["attention_mask"].to(self._lm.device)
        ids, numbers = self._encoded["input_ids"].to(lm.device), list(range(len(self._source)))
        if steer_prompt:
            cache = new_cache(lm)
            self._part()
            with self._vectors.for_rows(numbers, mask[self._source]):
                logits = read_prompts(lm, ids[self._called], mask[self._called], cache)
            self._vectors.set_rows(numbers)
            return logits, cache, mask[self._called]
        cache = _all_but_last(lm, self._encoded, self._vectors)
        select_rows(cache, self._source, behind=self._layer)
        self._part()
        self._vectors.set_rows(numbers)
        return next_token_logits(lm, ids[self._called, -1:], mask[self._called], cache), cache, mask[self._called]

    def _part(self) -> None:
        if self._layer >= 0:
            self._open.enter_context(rows_part(self._lm, self._layer, self._source))


def _encoded(lm: LanguageModel, prompts: Sequence[Prompt]) -> tuple[BatchEncoding, Int[Tensor, " batch"]]:
    """Each distinct prompt once, in the order in which they come first; and which of them each row has."""
    distinct = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    encoded = encode_padded(lm, [prompt.text for prompt in distinct], bodies=bodies_of(list(distinct)))
    return encoded, torch.tensor([distinct[prompt] for prompt in prompts])


class _Vectors:
    """The vectors by site, [vector, d_model], zero where one has another site; and which of them each row of a pass
    has."""

    def __init__(self, vectors: Sequence[SteeringVector | None], lm: LanguageModel) -> None:
        dtype = embeddings_of(lm.model).weight.dtype
        tables: dict[str, Tensor] = {}
        for number, steering in enumerate(vectors):
            if steering is not None:
                tables.setdefault(steering.site, torch.zeros(len(vectors), lm.d_model))[number] = steering.vector
        self._tables = {site: table.to(lm.device, dtype) for site, table in tables.items()}
        self._added: dict[str, Float[Tensor, "batch pos d_model"]] = {}  # nothing: no row is steered

    @property
    def sites(self) -> list[str]:
        """Where any row is changed."""
        return list(self._tables)

    def set_rows(self, numbers: Sequence[int], mask: Int[Tensor, "batch pos"] | None = None) -> None:
        """The vector of each row of the next passes; none for no rows. `mask` is 0 at positions left as they are."""
        self._added = {}
        if numbers:
            self._added = {site: table[list(numbers)][:, None] for site, table in self._tables.items()}
        if mask is not None:
            self._added = {site: added * mask[:, :, None].to(added) for site, added in self._added.items()}

    @contextmanager
    def for_rows(self, numbers: Sequence[int], mask: Int[Tensor, "batch pos"] | None = None) -> Iterator[None]:
        """The same for passes made meanwhile; what was set before holds behind it."""
        before = self._added
        self.set_rows(numbers, mask)
        try:
            yield
        finally:
            self._added = before

    @contextmanager
    def hooks(self, lm: LanguageModel) -> Iterator[None]:
        def change(site: str) -> ChangeFn:
            def add(resid: Activations) -> Activations | None:
                if site not in self._added:
                    return None
                self._added[site] = self._added[site].to(resid.device)  # layers may lie on several
                return resid + self._added[site]

            return add

        with change_sites(lm.model, {site: change(site) for site in self._tables}):
            yield


def _all_but_last(lm: LanguageModel, encoded: BatchEncoding, vectors: _Vectors) -> DynamicCache:
    """An unsteered pass over the prompts without their last tokens."""
    ids, mask = encoded["input_ids"].to(lm.device), encoded["attention_mask"].to(lm.device)
    cache = new_cache(lm)
    with vectors.for_rows([]):
        read_prompts(lm, ids[:, :-1], mask[:, :-1], cache)
    return cache


def _each_reads_its_prompt(
    lm: LanguageModel, encoded: BatchEncoding, source: Tensor, numbers: Sequence[int], vectors: _Vectors
) -> Started:
    """Every row reads its whole prompt, steered wherever there is no padding."""
    ids, mask = encoded["input_ids"].to(lm.device)[source], encoded["attention_mask"].to(lm.device)[source]
    cache = new_cache(lm)
    with vectors.for_rows(numbers, mask):
        return read_prompts(lm, ids, mask, cache), cache, mask


def read_prompts(
    lm: LanguageModel, ids: Int[Tensor, "called pos"], mask: Int[Tensor, "called pos"], cache: DynamicCache
) -> Float[Tensor, "batch d_vocab"]:
    """One pass over padded prompts, which fills the cache; the next token's logits."""
    with lm.meter.reading(lm.model, ids.numel()):
        return next_token_logits(lm, ids, mask, cache)
