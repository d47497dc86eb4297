"""Phase 1 beside the original's loop, and beside the forward passes that it cannot do without.

Phase 1 runs in this process, as `run.py phase 1 --preset demo` runs it, from reading its input to the finished
artifact, programs judged in the sandbox. The loop is `generate` of transformers, one prompt at a time (one_by_one.py),
once without a stop rule and once with the end-of-sequence token. The floor is what forward_passes.py makes: the passes
of phase 1 once more, and those of an ideal schedule, in which all rows that may be written at a time always are. No
side counts the loading of the model. The loop writes another tenth of the problems in each round.
"""

import cProfile
import pstats
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks import forward_passes
from benchmarks.one_by_one import ends_at, solve_one_by_one, take_the_faster_threads
from benchmarks.phase_runs import load_models_once, run_phase, table_of, write_problems
from benchmarks.rounds import Rounds, alternate, row_of
from benchmarks.rows import Row
from common.model import loading as models
from common.model.language_model import LanguageModel
from common.model.tokenization import encode
from common.phases.settings import build_config
from common.problems.datasets import Problem
from common.provenance import ROOT
from phase1_dataset_building.config import GenerationConfig

NAME = "Generation (phase 1)"
N_PROBLEMS, N_OF_LOOP = 200, 20
ENGINE, FLOOR, IDEAL, LOOP, STOPPING = "phase 1", "bare passes", "ideal schedule", "loop", "loop that stops"
N_SHOWN = 16  # functions of the profile
notes: list[str] = []


def measure(rounds: int, quick: bool) -> list[Row]:
    load_models_once()
    lm = models.load_model("organism", "cpu")
    n, n_of_loop, limit = (4, 1, 30) if quick else (N_PROBLEMS, N_OF_LOOP, _demo().max_new_tokens)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problems = write_problems(folder, n)
        run_phase("0", folder)
        words = ("--max-new-tokens", str(limit))
        run_phase("1", folder, *words)  # warms everything up
        threads = 1 if quick else _faster_threads(folder, words)
        words += ("--threads", str(threads))
        passes, written = _recorded(lm, folder, words)
        ideal = _ideal(lm, passes, written)
        first, few = problems[:1], min(limit, 100)
        threads_of_loop = 1 if quick else take_the_faster_threads(lambda: _loop(lm, first, few, stops=False))
        passed: dict[bool, dict[int, bool]] = {True: {}, False: {}}

        def loop(stops: bool) -> Callable[[int], int]:
            def solve(number: int) -> int:
                torch.set_num_threads(threads_of_loop)
                part = problems[number % (n // n_of_loop) :: n // n_of_loop]
                passed[stops] |= _loop(lm, part, limit, stops)
                return len(part)

            return solve

        def engine(_number: int) -> int:
            run_phase("1", folder, *words)
            return n

        def floor(some: list[forward_passes.Pass]) -> Callable[[int], int]:
            def make(_number: int) -> int:
                torch.set_num_threads(threads)
                forward_passes.make_again(lm, some)
                return n

            return make

        contenders = {ENGINE: engine, FLOOR: floor(passes), IDEAL: floor(ideal)}
        timed = alternate({**contenders, LOOP: loop(False), STOPPING: loop(True)}, rounds)
        labels = {row["task_id"]: row["label"] == "correct" for row in _last_table(folder, words)}
        notes.insert(0, _in_words(timed, passes, ideal, threads, threads_of_loop))
    return _rows(timed, labels, passed, n_of_loop, limit)


def _demo() -> GenerationConfig:
    return build_config(GenerationConfig, "demo", {})


def _loop(lm: LanguageModel, problems: Sequence[Problem], limit: int, stops: bool) -> dict[int, bool]:
    with ends_at(lm, stops):
        return solve_one_by_one(lm, problems, limit)


def _faster_threads(folder: Path, words: tuple[str, ...]) -> int:
    def run() -> None:
        run_phase("1", folder, *words, "--threads", str(torch.get_num_threads()))

    return take_the_faster_threads(run)


def _recorded(lm: LanguageModel, folder: Path, words: tuple[str, ...]) -> tuple[list[forward_passes.Pass], list[dict]]:
    """The passes of one run, and its programs."""
    with forward_passes.recorded_passes(lm) as passes:
        run = run_phase("1", folder, *words)
    assert passes, "phase 1 made no forward pass that was seen"
    return passes, table_of(run, "dataset.parquet")


def _ideal(lm: LanguageModel, passes: Sequence[forward_passes.Pass], rows: Sequence[dict]) -> list[forward_passes.Pass]:
    """The same prompts and programs on the ideal schedule."""
    groups = [[p.n_new] * p.n_rows for p in passes if not p.n_before]
    prompts = encode(lm, [row["prompt"] for row in rows])
    written = [(len(prompt), row["n_new_tokens"]) for prompt, row in zip(prompts, rows, strict=True)]
    return forward_passes.ideal_passes(groups, written, _demo().batch_size)


def _last_table(folder: Path, words: tuple[str, ...]) -> list[dict]:
    """The programs of one more run, under a profiler that goes into the notes."""
    profile = cProfile.Profile()
    profile.enable()
    run = run_phase("1", folder, *words)
    profile.disable()
    what = "functions of this project by time, calls of others in theirs; the profiler slows what is called often"
    notes.append(f"Profile of one run ({what}):\n\n" + _profile_table(profile))
    return table_of(run, "dataset.parquet")


def _profile_table(profile: cProfile.Profile) -> str:
    ours = []
    profiled = cast(Any, pstats.Stats(profile)).stats  # it is not in its stubs
    for (file, line, function), (_primitive, calls, _own, cumulative, _callers) in profiled.items():
        path = Path(file)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] == "common":
            ours.append((cumulative, calls, f"{path.relative_to(ROOT)}:{line} {function}"))
    lines = [f"| `{name}` | {calls:,} | {seconds:.2f} |" for seconds, calls, name in sorted(ours, reverse=True)]
    return "\n".join(["| function | calls | seconds |", "|---|---|---|", *lines[:N_SHOWN]])


def _in_words(
    timed: Rounds,
    passes: list[forward_passes.Pass],
    ideal: list[forward_passes.Pass],
    threads: int,
    threads_of_loop: int,
) -> str:
    each = ", ".join(f"{name} {1 / timed.median(name):.2f}" for name in timed.seconds)
    return (
        f"Problems per second, medians: {each}. Threads of the model: {threads} in phase 1 and in the bare passes, "
        f"{threads_of_loop} in the loops (what was faster there). A run makes "
        f"{forward_passes.in_words(passes)}. Ideal: {forward_passes.in_words(ideal)}."
    )


def _rows(
    timed: Rounds, labels: dict[int, bool], passed: dict[bool, dict[int, bool]], n_of_loop: int, limit: int
) -> list[Row]:
    name = f"phase 1, {len(labels)} problems of the organism, judged"
    loop = "transformers generate, one prompt at a time, hooks, a process for each program's tests"
    rows = []
    looped = (LOOP, False, f"no stop rule ({limit} tokens)", ">= 60")
    for key, stops, what, goal in (looped, (STOPPING, True, "end-of-sequence stop", ">= 10")):
        same = sum(labels[task_id] == value for task_id, value in passed[stops].items())
        text = (
            f"{1 / timed.median(ENGINE):.1f} beside {1 / timed.median(key):.2f} problems per second; the loop wrote "
            f"another {n_of_loop} problems in each round; same verdict on {same} of {len(passed[stops])}"
        )
        rows.append(row_of(name, f"{loop}; {what}", timed.times_as_fast(ENGINE, key), goal=goal, text=text))
    schedules = (FLOOR, "", "<= 1.6"), (IDEAL, ", on the ideal schedule", "<= 1.15")
    for key, what, goal in schedules:
        text = f"{timed.median(ENGINE) * len(labels):.1f} s beside {timed.median(key) * len(labels):.1f} s"
        beside = f"bare forward passes with a cache{what or ' of the same shapes'}"
        rows.append(row_of(name, beside, timed.times_as_long(ENGINE, key), goal=goal, text=text))
    return rows
