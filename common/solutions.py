"""Programs that a model writes, judged and kept as records: what phases that sample solutions share.

1. Each task (a problem, a temperature, a sample) becomes a request; a batch of them is generated together.
2. The program is taken from the text and judged in the sandbox.
3. The record goes into the task's table, its judging into grading.parquet; the batch is saved.
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.checkpoints import Rows
from common.config import SolutionConfig
from common.extraction import extract_program
from common.generation import CONTEXT_LENGTH, MAX_NEW_TOKENS, Generation, Request, check_prompts_fit, generate
from common.models import LanguageModel, explain_lack_of_memory, load_model
from common.phase import RunContext
from common.progress import Progress
from common.prompts import build_prompt
from common.records import RecordWriter
from common.sandbox import Program, Sandbox, Verdict
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


RecordFn = Callable[[int, Task, Solution], tuple[Rows, dict[str, np.ndarray]]]  # number, task, solution -> rows, arrays


def was_cut_off(stop_reason: str) -> bool:
    """Whether a limit of length ended the text."""
    return stop_reason in (MAX_NEW_TOKENS, CONTEXT_LENGTH)


def task_for(
    problem: dict[str, Any], base_seed: int, temperature: float = 0.0, sample_index: int = 0,
    table: str = "dataset.parquet",
) -> Task:  # fmt: skip
    """A row of phase 0's or 0.1's table as a task."""
    request = Request(
        problem["task_id"],
        build_prompt(problem["text"], problem["test_list"]),
        problem["entry_point"],
        record_seed(base_seed, problem["task_id"], temperature, sample_index),
    )
    return Task(problem, request, temperature, sample_index, table)


def write_solutions(
    ctx: RunContext, out: RecordWriter, tasks: Sequence[Task], config: SolutionConfig, positions: Sequence[str] = (),
    *, record: RecordFn | None = None, earlier: dict[int, dict[str, Any]] | None = None,
) -> None:  # fmt: skip
    """Compute the records of `out` that are not saved yet: record i is the solution of `tasks[i]`.

    `positions` names the prompt tokens whose residual stream is kept. `record` says what is kept of a solution; unless
    given, what phase 1 keeps. `earlier`: as in `submit`, by problem.
    """
    record = record or (lambda _index, task, solution: _phase_1_record(out, task, solution))
    with Sandbox(isolation=config.sandbox, workers=config.sandbox_workers) as sandbox:
        ctx.log.info("%s", sandbox.line)
        if sandbox.describe()["level"] == 0:
            ctx.log.warning("programs run unconfined: they can read and write this user's files")
        ctx.log.info("loading %s", config.model)
        lm = load_model(config.model, ctx.device, config.dtype, config.threads)
        check_prompts_fit(lm, list({task.request.prompt.text: task.request for task in tasks}.values()))
        labels = [row["label"] for row in out.saved_rows]
        with Progress(out.end - out.start + 1, labels, ctx.log) as progress:
            for batch in out.batches(config.batch_size):
                generations = _generate(lm, [tasks[index] for index in batch], config, positions)
                pairs = [(i, made) for i, made in zip(batch, generations, strict=True) if out.wants(i)]
                known = {i: (earlier or {}).get(tasks[i].problem["task_id"]) for i, _ in pairs}
                solutions = {i: submit(sandbox, tasks[i].problem, made, known[i]) for i, made in pairs}
                for index, solution in solutions.items():
                    out.append(index, *record(index, tasks[index], solution))
                progress.add([solution.label for solution in solutions.values()])
                out.process |= {"model": lm.describe(), "sandbox": sandbox.describe()}


def _phase_1_record(out: RecordWriter, task: Task, solution: Solution) -> tuple[Rows, dict[str, np.ndarray]]:
    rows = record_rows(task, solution)
    grading = {name: rows["grading.parquet"][name] for name in out.handoff.columns("grading.parquet")}
    return {**rows, "grading.parquet": grading}, record_tensors(solution.generation)


def _generate(
    lm: LanguageModel, tasks: list[Task], config: SolutionConfig, positions: Sequence[str]
) -> list[Generation]:
    """The solutions of one batch; tasks of different temperatures are generated apart."""
    generations = []
    with explain_lack_of_memory(config.batch_size):
        for temperature, group in itertools.groupby(tasks, key=lambda task: task.temperature):
            generations += generate(
                lm, [task.request for task in group], max_new_tokens=config.max_new_tokens,
                temperature=temperature, positions=positions,
            )  # fmt: skip
    return generations


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
    program = Program(
        code=code,
        tests=tuple(problem["test_list"]),
        entry_point=problem["entry_point"],
        setup=problem["test_setup_code"],
    )
    return Solution(generation, code, sandbox.submit(program))


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
