"""From a problem to a request, from generated text to a judged program, and what phase 1 records of it."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.model.generation import CONTEXT_LENGTH, MAX_NEW_TOKENS, Generation, Request
from common.problems.extraction import extract_program
from common.problems.judging import program_for
from common.problems.prompt import ChatTemplate, build_prompt
from common.sandbox import Sandbox, Verdict
from common.seeds import record_seed


@dataclass(frozen=True)
class Task:
    """One program to sample, and the table that its record goes into."""

    problem: dict[str, Any]
    request: Request
    temperature: float
    sample_index: int
    table: str


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


def task_for(
    problem: dict[str, Any],
    base_seed: int,
    temperature: float = 0.0,
    sample_index: int = 0,
    table: str = "dataset.parquet",
    chat: ChatTemplate | None = None,
) -> Task:
    """A row of phase 0's or 0.1's table as a task; `chat` is for a chat prompt."""
    request = Request(
        problem["task_id"],
        build_prompt(problem["text"], problem["test_list"], chat),
        problem["entry_point"],
        record_seed(base_seed, problem["task_id"], temperature, sample_index),
    )
    return Task(problem, request, temperature, sample_index, table)


def submit(
    sandbox: Sandbox, problem: dict[str, Any], generation: Generation, earlier: dict[str, Any] | None = None
) -> Solution:
    """Take the program from the text and hand it to the sandbox.

    `earlier` is a row of phase 1 of the same problem: if it holds this very program, judged, its verdict is taken.
    """
    code = extract_program(generation.text, problem["entry_point"])
    if earlier is not None and _is_judged_already(code, generation, earlier):
        future: Future = Future()
        future.set_result(Verdict(earlier["label"], earlier["error"], earlier["failed_test"], "", 0.0, 0.0, False))
        return Solution(generation, code, future)
    return Solution(generation, code, sandbox.submit(program_for(problem, code)))


def _is_judged_already(code: str, generation: Generation, earlier: dict[str, Any]) -> bool:
    judged = code == earlier["code"] and earlier["label"] in ("correct", "incorrect")
    # What broke a truncated program is not known any more where this text is not cut off.
    return judged and (earlier["error"] != "truncated" or was_cut_off(generation.stop_reason))


def record_rows(task: Task, solution: Solution) -> dict[str, dict[str, Any]]:
    """The rows of the task's table and of grading.parquet, with every column it can have. Waits for the verdict."""
    generation, verdict = solution.generation, solution.verdict
    which = {
        "task_id": task.problem["task_id"],
        "temperature": task.temperature,
        "sample_index": task.sample_index,
    }
    dataset = {
        **which,
        "prompt": task.request.prompt.text,
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
        "complexity": task.problem["complexity"],
        "token_ids": generation.token_ids,
    }
    grading = {
        **which,
        "message": verdict.message,
        "cpu_s": verdict.cpu_s,
        "wall_s": verdict.wall_s,
        "near_limit": verdict.near_limit,
    }
    return {task.table: dataset, "grading.parquet": grading}


def record_tensors(generation: Generation) -> dict[str, np.ndarray]:
    """'activations/layer_00/resid_post' -> [d_model] float32, and so on for layers and positions."""
    tensors = {}
    for position, layers in generation.resid_post.items():
        name = "resid_post" if position == "last" else f"resid_post.{position}"
        tensors |= {f"activations/layer_{layer:02d}/{name}": resid for layer, resid in enumerate(layers)}
    return tensors
