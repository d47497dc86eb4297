"""From a problem to a request, from generated text to a judged program, and what phase 1 records of it."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.model.rows import CONTEXT_LENGTH, MAX_NEW_TOKENS, Generation, Request
from common.problems.extraction import extract_program
from common.problems.for_sandbox import program_for
from common.problems.prompt import ChatTemplate, build_prompt
from common.sandbox import Sandbox, Verdict
from common.seeds import record_seed


@dataclass(frozen=True)
class Solution:
    """A generated program and, once it is judged, its verdict."""

    generation: Generation
    code: str
    future: Future

    @property
    def is_judged(self) -> bool:
        return self.future.done() and self.future.exception() is None

    @property
    def verdict(self) -> Verdict:
        return self.future.result()

    @property
    def label(self) -> str:
        return self.verdict.label

    @property
    def error(self) -> str | None:
        """The sandbox's class, or `truncated` when the cut is what broke the program."""
        broken = was_cut_off(self.generation.stop_reason) and self.verdict.error in ("syntax_error", "name_error")
        return "truncated" if broken else self.verdict.error


def was_cut_off(stop_reason: str) -> bool:
    """Whether a limit of length ended the text."""
    return stop_reason in (MAX_NEW_TOKENS, CONTEXT_LENGTH)


def request_for(
    problem: Mapping[str, Any],
    base_seed: int,
    temperature: float = 0.0,
    sample_index: int = 0,
    chat: ChatTemplate | None = None,
) -> Request:
    """A program for a row of phase 0's or 0.1's table; `chat` is for a chat prompt."""
    prompt = build_prompt(problem["text"], problem["test_list"], chat)
    seed = record_seed(base_seed, problem["task_id"], temperature, sample_index)
    return Request(problem, prompt, seed, temperature, sample_index)


def submit(
    sandbox: Sandbox, problem: Mapping[str, Any], generation: Generation, earlier: dict[str, Any] | None = None
) -> Solution:
    """Take the program from the text and hand it to the sandbox.

    `earlier` is a row of phase 1 of the same problem: if it holds this very program, judged, its verdict is taken.
    """
    code = extract_program(generation.text, problem["entry_point"])
    if earlier is not None and _is_judged_already(code, generation, earlier):
        future: Future = Future()
        known = {name: earlier[name] for name in ("label", "error", "failed_test")}
        future.set_result(Verdict(**known, message="", cpu_s=0.0, wall_s=0.0, near_limit=False))
        return Solution(generation, code, future)
    return Solution(generation, code, sandbox.submit(program_for(problem, code)))


def _is_judged_already(code: str, generation: Generation, earlier: dict[str, Any]) -> bool:
    judged = code == earlier["code"] and earlier["label"] in ("correct", "incorrect")
    # What broke a truncated program is not known any more where this text is not cut off.
    return judged and (earlier["error"] != "truncated" or was_cut_off(generation.stop_reason))


def record_rows(request: Request, solution: Solution) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of the programs' table and of grading.parquet, with every column it can have. Waits for the verdict."""
    generation, verdict = solution.generation, solution.verdict
    which = {
        "task_id": request.task_id,
        "temperature": request.temperature,
        "sample_index": request.sample_index,
    }
    dataset = {
        **which,
        "prompt": request.prompt.text,
        "generated_text": generation.text,
        "code": solution.code,
        "label": verdict.label,
        "error": solution.error,
        "failed_test": verdict.failed_test,
        "n_new_tokens": len(generation.token_ids),
        "stop_reason": generation.stop_reason,
        "mean_logprob": float(np.mean(generation.logprobs)),
        "first_token_logprob": generation.logprobs[0],
        "first_token_entropy": generation.first_token_entropy,
        "complexity": request.problem["complexity"],
        "token_ids": generation.token_ids,
    }
    grading = {
        **which,
        "message": verdict.message,
        "cpu_s": verdict.cpu_s,
        "wall_s": verdict.wall_s,
        "near_limit": verdict.near_limit,
    }
    return dataset, grading


def record_tensors(generation: Generation) -> dict[str, np.ndarray]:
    """'activations/layer_00/resid_post' -> [d_model] float32, and so on for layers and positions."""
    tensors = {}
    for position, layers in generation.resid_post.items():
        name = "resid_post" if position == "last" else f"resid_post.{position}"
        tensors |= {f"activations/layer_{layer:02d}/{name}": resid for layer, resid in enumerate(layers)}
    return tensors
