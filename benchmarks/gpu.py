"""Generation at the true shape of gemma-2-2b, with random weights: nothing is downloaded.

    make bench-gpu                       # on a machine with a GPU
    python -m benchmarks gpu --quick     # the same path, a tiny model, on the CPU where there is no GPU

1. Each batch size writes one batch of programs of exactly 300 tokens for the longest prompts, with all layers'
   residual streams kept, and without. A batch that does not fit into the memory allowed is halved until it does.
2. The best size then writes all 974 programs, once.
3. In rounds: one batch with the streams kept, one without, and the original's loop (transformers' generate, one prompt
   at a time, hooks on every block).
4. The bandwidth floor: every step must read the weights once, and the cache of its rows; divided by the bandwidth
   that copying reaches on this GPU.

5. Training a dictionary of the middle block (phase 1.3), beside reading and steps alone.

Judging and storing are no part of it: they run beside the next batch, on the processor.
"""

import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

from benchmarks import dictionaries
from benchmarks.one_by_one import ends_at, residual_streams, write_text
from benchmarks.rounds import Rounds, alternate, row_of
from benchmarks.rows import Row
from common.model.devices import limit_gpu_memory
from common.model.generation import generate
from common.model.language_model import LanguageModel
from common.model.registry import model_location
from common.model.rows import Generation, Request
from common.problems.datasets import Problem, load_problems
from common.problems.prompt import build_prompt

NAME = "On a GPU, gemma-2-2b's shape"
notes: list[str] = []

GEMMA_2_2B = dict(vocab_size=256_000, hidden_size=2304, intermediate_size=9216, num_hidden_layers=26)
GEMMA_2_2B |= dict(num_attention_heads=8, num_key_value_heads=4, head_dim=256, query_pre_attn_scalar=256)
GEMMA_2_2B |= dict(sliding_window=4096, max_position_embeddings=8192)
TINY = dict(vocab_size=4096, hidden_size=32, intermediate_size=64, num_hidden_layers=2)
TINY |= dict(num_attention_heads=2, num_key_value_heads=1, head_dim=16, query_pre_attn_scalar=16)
TINY |= dict(sliding_window=512, max_position_embeddings=1024)
SECONDS_ALLOWED = 60
DICTIONARIES = dictionaries.Sizes(tokens=262_144, batch=4096)
KEPT, BARE, LOOP = "all layers kept", "nothing kept", "one by one"


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured."""

    shape: dict[str, int]
    batches: tuple[int, ...]
    problems: int
    new_tokens: int
    one_by_one: int  # prompts of the original's loop, in all
    copied_bytes: int


FULL = Size(GEMMA_2_2B, (16, 32, 64, 128, 256, 512), 974, 300, 6, 4 * 2**30)
QUICK = Size(TINY, (2, 4, 8), 12, 10, 2, 2**24)


@dataclasses.dataclass(frozen=True)
class Timing:
    """What `requests` took as batches of `batch`."""

    batch: int
    n_programs: int
    n_tokens: int
    seconds: float
    floor_seconds: float
    peak_bytes: int

    @property
    def tokens_per_second(self) -> float:
        return self.n_tokens / self.seconds

    @property
    def problems_per_second(self) -> float:
        return self.n_programs / self.seconds


def measure(rounds: int, quick: bool, gpu_memory: float = 30.0) -> list[Row]:
    size, device = (QUICK if quick else FULL), "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not quick:
        raise SystemExit("error: there is no GPU here\nRun it where there is one, or try its path with --quick")
    limit_gpu_memory(device, gpu_memory)
    lm = random_model(size.shape, device)
    requests, problems = requests_for(size.problems)
    timed = _Timer(lm, size.new_tokens, copy_bandwidth(device, size.copied_bytes))
    timed(requests[:2], 2)  # the first passes choose kernels
    one_by_one(lm, problems[:1], min(5, size.new_tokens))
    tried: list[tuple[Timing, Timing]] = []
    for batch in size.batches:
        kept = largest_that_fits(lambda n: timed(requests[-n:], n), min(batch, len(requests)))  # the longest prompts
        tried.append((kept, timed(requests[-kept.batch :], kept.batch, positions=())))
        if kept.batch < batch:
            break
    best = max((kept for kept, _ in tried), key=lambda timing: timing.tokens_per_second)
    whole = largest_that_fits(lambda n: timed(requests, n), best.batch)
    some, batch = problems[:: max(1, len(problems) // size.one_by_one)][: size.one_by_one], requests[-whole.batch :]
    contenders = {
        KEPT: lambda number: timed(batch, whole.batch).n_programs,
        BARE: lambda number: timed(batch, whole.batch, positions=()).n_programs,
        LOOP: lambda number: one_by_one(lm, some[number % len(some) :][:1], size.new_tokens),
    }
    by_contender = alternate(contenders, rounds)
    peak = max(timing.peak_bytes for timing in [whole, *(kept for kept, _ in tried)])
    rows = _rows(size, whole, by_contender, peak / 1e9, gpu_memory)
    rows += dictionaries.rows_of(lm, dictionaries.QUICK if quick else DICTIONARIES, rounds)
    notes[:] = [_table(tried, timed.bandwidth, gpu_memory, device), *dictionaries.notes]
    return rows


def random_model(shape: dict[str, int], device: str) -> LanguageModel:
    """A Gemma-2 of that shape, with the organism's tokenizer; no token ends a text."""
    tokenizer = AutoTokenizer.from_pretrained(model_location("organism"))
    tokenizer.padding_side = "left"
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    told: dict[str, Any] = dict(attn_logit_softcapping=50.0, final_logit_softcapping=30.0, attn_implementation="eager")
    told |= dict(pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=None)
    config = Gemma2Config(**shape, **told)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Gemma2ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.requires_grad_(False).eval()
    model.generation_config.eos_token_id = []
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return LanguageModel(model, tokenizer, "random weights", device, str(dtype).removeprefix("torch."), None)


def requests_for(n: int) -> tuple[list[Request], list[Problem]]:
    """Prompts of the organism's problems, the shortest first, as phase 1 takes them."""
    problems = load_problems("organism").problems
    several = list(itertools.islice(itertools.cycle(problems), n))
    several.sort(key=lambda problem: len(build_prompt(problem.text, problem.test_list).text))
    made = [Request(p.row(), build_prompt(p.text, p.test_list), 0) for p in several]
    return made, several


def copy_bandwidth(device: str, n_bytes: int) -> float:
    """Bytes read and written per second by copying `n_bytes` within the device's memory; the best of ten."""
    source = torch.zeros(n_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(10):
        began = _now(device)
        target.copy_(source)
        seconds.append(_now(device) - began)
    return 2 * n_bytes / min(seconds)


class _Timer:
    """Times the engine, and knows what its steps must at least read."""

    def __init__(self, lm: LanguageModel, new_tokens: int, bandwidth: float):
        self._lm, self._new_tokens, self.bandwidth = lm, new_tokens, bandwidth
        config, dtype = lm.model.config, next(lm.model.parameters()).dtype
        self._weights = sum(p.numel() * p.element_size() for p in lm.model.parameters())  # the embedding is tied
        per_layer = 2 * config.num_key_value_heads * config.head_dim * dtype.itemsize
        self._cache_of_a_token = per_layer * config.num_hidden_layers

    def __call__(self, requests: Sequence[Request], batch: int, positions: tuple[str, ...] = ("last",)) -> Timing:
        device, made, floor = self._lm.device, [], 0.0
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        began = _now(device)
        for first in range(0, len(requests), batch):
            some = list(requests[first : first + batch])
            made += generate(self._lm, some, max_new_tokens=self._new_tokens, positions=positions)
        seconds = _now(device) - began
        lengths = self._lm.tokenizer([request.prompt.text for request in requests])["input_ids"]
        for first in range(0, len(requests), batch):
            floor += self._floor([len(ids) for ids in lengths[first : first + batch]])
        peak = torch.cuda.max_memory_reserved() if device == "cuda" else 0
        return Timing(batch, len(made), _n_tokens(made, self._new_tokens), seconds, floor, peak)

    def _floor(self, prompts: Sequence[int]) -> float:
        """Seconds to read the weights once a step, and each row's cache as long as it is then."""
        steps = self._new_tokens
        cache = sum(steps * n + steps * (steps - 1) // 2 for n in prompts) * self._cache_of_a_token
        return (steps * self._weights + cache) / self.bandwidth


def _n_tokens(made: Sequence[Generation], new_tokens: int) -> int:
    lengths = [len(one.token_ids) for one in made]
    assert set(lengths) == {new_tokens}, "every program goes on to the limit: nothing ends a text"
    return sum(lengths)


def largest_that_fits(run, batch: int) -> Timing:
    """`run(batch)`, or `run` of half of it, or of a quarter ..., whichever first does not run out of memory."""
    while True:
        try:
            return run(batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        batch //= 2  # outside of the handler, which holds the tensors of what failed
        torch.cuda.empty_cache()


def one_by_one(lm: LanguageModel, problems: Sequence[Problem], new_tokens: int) -> int:
    """The original's loop, without tests; how many problems it did."""
    for problem in problems:
        with residual_streams(lm), ends_at(lm, False):
            write_text(lm, problem, new_tokens)  # its text is on the host: the device is done
    return len(problems)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _rows(size: Size, whole: Timing, timed: Rounds, peak: float, gpu_memory: float) -> list[Row]:
    text = (
        f"{whole.n_programs} programs of {size.new_tokens} tokens, {size.shape['num_hidden_layers']} layers kept, in "
        f"batches of {whole.batch}: {whole.seconds:.1f} s, {whole.problems_per_second:.1f} problems and "
        f"{whole.tokens_per_second:,.0f} tokens per second; one run, without judging and storing"
    )
    slow, fast = timed.median(LOOP), timed.median(KEPT)
    used = f"{peak:.1f} GB reserved at most, without CUDA's own"
    memory = _row("memory", f"--gpu-memory {gpu_memory:g}", peak / gpu_memory, goal="<= 1", text=used)
    in_all, of_floor = whole.seconds / SECONDS_ALLOWED, whole.floor_seconds / whole.seconds
    loop, beside = "transformers' generate, one prompt at a time", f"{fast:.3f} beside {slow:.2f} s for a problem"
    floor, least = "weights and cache read once a step", f"{whole.floor_seconds:.1f} s at least"
    return [
        _row("seconds for all problems", f"{SECONDS_ALLOWED} s", in_all, goal="<= 1", text=text),
        _row("phase 1's engine", loop, timed.times_as_fast(KEPT, LOOP), goal=">= 40", text=beside),
        _row("residual streams of all layers kept", "nothing kept", timed.times_as_long(KEPT, BARE)),
        _row("share of the bandwidth floor", floor, of_floor, text=least),
        *([memory] if peak else []),  # the processor's is not counted
    ]


def _row(name: str, against: str, ratio: float | list[float], goal: str = "", text: str = "") -> Row:
    if isinstance(ratio, list):
        return row_of(f"on a GPU: {name}", against, ratio, goal=goal, text=text)
    return Row(f"on a GPU: {name}", against, ratio, goal=goal, text=text)


def _table(tried: Sequence[tuple[Timing, Timing]], bandwidth: float, gpu_memory: float, device: str) -> str:
    facts = f"copying reaches {bandwidth / 1e9:,.0f} GB/s; {gpu_memory:g} GB allowed; the longest prompts."
    header = "| batch | tokens per second | problems per second | nothing kept | share of the floor | memory [GB] |"
    lines = [f"{device}; {facts}", "", header, "|---|---|---|---|---|---|"]
    for kept, bare in tried:
        share = kept.floor_seconds / kept.seconds
        lines.append(
            f"| {kept.batch} | {kept.tokens_per_second:,.0f} | {kept.problems_per_second:.2f} | "
            f"{bare.problems_per_second:.2f} | {share:.2f} | {kept.peak_bytes / 1e9:.1f} |"
        )
    return "\n".join(lines)
