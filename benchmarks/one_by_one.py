"""What phases are compared with: transformers' own `generate`, one prompt at a time, graded in a process each.

So worked the original pipeline: every block's output at the last prompt token is taken by hooks.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from common.model.hooks import decoder_blocks
from common.model.language_model import LanguageModel
from common.problems.datasets import Problem
from common.problems.extraction import extract_program
from common.problems.prompt import build_prompt

TIMEOUT_S = 10.0


@contextlib.contextmanager
def ends_at(lm: LanguageModel, end_of_sequence: bool) -> Iterator[None]:
    """Let `generate` stop at the end-of-sequence token, or write on to its limit."""
    settings = lm.model.generation_config
    kept = settings.eos_token_id
    settings.eos_token_id = kept if end_of_sequence else None
    try:
        yield
    finally:
        settings.eos_token_id = kept


def write_text(lm: LanguageModel, problem: Problem, max_new_tokens: int) -> str:
    """What the model greedily writes for one problem."""
    encoded = lm.tokenizer(build_prompt(problem.text, problem.test_list).text, return_tensors="pt").to(lm.device)
    tokens = cast(Any, lm.model).generate(**encoded, max_new_tokens=max_new_tokens, do_sample=False)
    return str(lm.tokenizer.decode(tokens[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True))


def passes_in_subprocess(text: str, problem: Problem) -> bool:
    """Whether the program in the model's text passes its problem's tests."""
    code = extract_program(text, problem.entry_point)
    source = "\n".join([problem.test_setup_code, code, *problem.test_list])
    words = [sys.executable, "-I", "-c", source]
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(words, capture_output=True, timeout=TIMEOUT_S).returncode == 0
    return False


def solve_one_by_one(lm: LanguageModel, problems: Sequence[Problem], max_new_tokens: int) -> dict[int, bool]:
    """Whether each problem's program passes, by task_id."""
    passed = {}
    for problem in problems:
        with residual_streams(lm) as taken:
            text = write_text(lm, problem, max_new_tokens)
        assert len(taken) == lm.n_layers
        passed[problem.task_id] = passes_in_subprocess(text, problem)
    return passed


@contextlib.contextmanager
def residual_streams(lm: LanguageModel) -> Iterator[dict[int, np.ndarray]]:
    """Every block's output at the last prompt token, by layer, while the block is open."""
    taken: dict[int, np.ndarray] = {}

    def take(layer: int) -> Callable:
        def hook(_block: object, _arguments: tuple, output: Tensor) -> None:
            if layer not in taken:  # the first pass is that over the prompt
                taken[layer] = output[0, -1].float().cpu().numpy()

        return hook

    with contextlib.ExitStack() as hooks:
        for layer, block in enumerate(decoder_blocks(lm.model)):
            hooks.enter_context(block.register_forward_hook(take(layer)))
        yield taken


def take_the_faster_threads(work: Callable[[], object]) -> int:
    """Try `work` with one thread and with torch's usual number, twice each; keep and return what was faster."""
    usual = len(os.sched_getaffinity(0))
    seconds = {threads: 0.0 for threads in (1, usual)}
    for threads in (1, usual, usual, 1):
        torch.set_num_threads(threads)
        began = time.perf_counter()
        work()
        seconds[threads] += time.perf_counter() - began
    best = min(seconds, key=lambda threads: seconds[threads])
    torch.set_num_threads(best)
    return best
