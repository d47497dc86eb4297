"""From a problem to a request, and from a generation and its verdict to a record."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.extraction import extract_program
from common.generation import CONTEXT_LENGTH, MAX_NEW_TOKENS, Generation, Request
from common.prompts import build_prompt
from common.sandbox import Program, Sandbox, Verdict
from common.seeds import record_seed
from common.statistics import wilson_interval
from phase1_dataset_building.config import GenerationConfig

SAMPLE_INDEX = 0  # phase 1 takes one solution per problem


@dataclass(frozen=True)
class Solution:
    """A generated program and, once it is judged, its verdict."""

    generation: Generation
    code: str
    future: Future

    @property
    def verdict(self) -> Verdict:
        return self.future.result()

    @property
    def label(self) -> str:
        return self.verdict.label

    @property
    def error(self) -> str | None:
        """The sandbox's class, or `truncated` when the cut is what broke the program."""
        cut_off = self.generation.stop_reason in (MAX_NEW_TOKENS, CONTEXT_LENGTH)
        return "truncated" if cut_off and self.verdict.error in ("syntax_error", "name_error") else self.verdict.error


def requests_for(problems: list[dict[str, Any]], config: GenerationConfig) -> list[Request]:
    return [
        Request(
            problem["task_id"],
            build_prompt(problem["text"], problem["test_list"]),
            problem["entry_point"],
            record_seed(config.seed, problem["task_id"], config.temperature, SAMPLE_INDEX),
        )
        for problem in problems
    ]


def submit(sandbox: Sandbox, problem: dict[str, Any], generation: Generation) -> Solution:
    """Take the program from the text and hand it to the sandbox."""
    code = extract_program(generation.text, problem["entry_point"])
    program = Program(
        code=code,
        tests=tuple(problem["test_list"]),
        entry_point=problem["entry_point"],
        setup=problem["test_setup_code"],
    )
    return Solution(generation, code, sandbox.submit(program))


def record_rows(
    problem: dict[str, Any], request: Request, solution: Solution, config: GenerationConfig
) -> dict[str, dict[str, Any]]:
    """The rows of dataset.parquet and grading.parquet. Waits for the verdict."""
    generation, verdict = solution.generation, solution.verdict
    dataset = {
        "task_id": problem["task_id"],
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
        "complexity": problem["complexity"],
        "token_ids": generation.token_ids,
        "temperature": config.temperature,
        "sample_index": SAMPLE_INDEX,
    }
    grading = {
        "task_id": problem["task_id"],
        "message": verdict.message,
        "cpu_s": verdict.cpu_s,
        "wall_s": verdict.wall_s,
        "near_limit": verdict.near_limit,
    }
    return {"dataset.parquet": dataset, "grading.parquet": grading}


def record_tensors(generation: Generation) -> dict[str, np.ndarray]:
    """'activations/layer_00/resid_post' -> [d_model] float32, and so on for layers and positions."""
    tensors = {}
    for position, layers in generation.resid_post.items():
        name = "resid_post" if position == "last" else f"resid_post.{position}"
        tensors |= {f"activations/layer_{layer:02d}/{name}": resid for layer, resid in enumerate(layers)}
    return tensors


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Headline figures for the manifest: pass rate with its 95 % Wilson interval."""
    labels = [row["label"] for row in rows]
    n_correct, n_judged = labels.count("correct"), labels.count("correct") + labels.count("incorrect")
    summary: dict[str, Any] = {"programs": len(rows), "correct": n_correct}
    if n_judged:
        interval = wilson_interval(n_correct, n_judged)
        summary |= {"pass_rate": n_correct / n_judged, "pass_rate_95_percent_interval": list(interval)}
    others = {label: labels.count(label) for label in ("not_run", "unsupported") if label in labels}
    return summary | others
