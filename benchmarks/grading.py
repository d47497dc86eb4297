"""How fast programs are graded, as ratios in one run.

    .venv/bin/python -m benchmarks.grading             # the table, written to benchmarks/RESULTS.md too
    .venv/bin/python -m benchmarks.grading --programs 60 --rounds 1

The same programs (the organism's reference solutions, three asserts each) are graded by our sandbox with every
layer that this machine has, and by the mechanisms that people use, rebuilt here in a few lines, none of which
isolates anything. All but one run two programs at a time. Rounds alternate their order; figures are medians.
Then 20,000 different programs go through one sandbox, to see that memory does not grow with their number.
"""

import argparse
import contextlib
import datetime
import io
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.sections import RESULTS, write_section
from common.problems import Problem, load_problems
from common.sandbox import Program, Sandbox

WORKERS = 2
TIMEOUT_S = 3.0


def program_of(problem: Problem, number: int = 0) -> Program:
    """The reference solution; `number` makes it another program, so that no verdict comes from the cache."""
    return Program(f"{problem.code}\n_number = {number}\n", problem.test_list, problem.entry_point)


def source_of(problem: Problem) -> str:
    return "\n".join([problem.code, *problem.test_list])


def in_our_sandbox(problems: Sequence[Problem], number: int) -> int:
    """Number of passes; the sandbox is running already, as it is while a phase goes on."""
    verdicts = SANDBOX.grade([program_of(problem, number) for problem in problems])
    return sum(verdict.label == "correct" for verdict in verdicts)


def _passes_in_subprocess(problem: Problem) -> bool:
    words = [sys.executable, "-I", "-c", source_of(problem)]
    return subprocess.run(words, capture_output=True, timeout=TIMEOUT_S).returncode == 0


def in_subprocesses_one_by_one(problems: Sequence[Problem], _number: int) -> int:
    return sum(map(_passes_in_subprocess, problems))


def in_subprocesses(problems: Sequence[Problem], _number: int) -> int:
    with ThreadPoolExecutor(WORKERS) as pool:
        return sum(pool.map(_passes_in_subprocess, problems))


def _execute_into_list(source: str, result: list) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(source, {})
        result.append("passed")
    except BaseException as error:
        result.append(f"failed: {error}")


def as_human_eval(problems: Sequence[Problem], _number: int) -> int:
    """human-eval: for each program a manager process, and a forked process that execs the source."""

    def passes(problem: Problem) -> bool:
        with FORK.Manager() as manager:
            result = manager.list()
            process = FORK.Process(target=_execute_into_list, args=(source_of(problem), result))
            process.start()
            process.join(TIMEOUT_S + 1)
            if process.is_alive():
                process.kill()
            return bool(result) and result[0] == "passed"

    with ThreadPoolExecutor(WORKERS) as pool:
        return sum(pool.map(passes, problems))


def _execute_into_value(source: str, status) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(source, {})
        status.value = 1
    except BaseException:
        status.value = 2


def as_evalplus(problems: Sequence[Problem], _number: int) -> int:
    """evalplus: for each program a forked process that execs the source and sets a shared value."""

    def passes(problem: Problem) -> bool:
        status = FORK.Value("i", 0)
        process = FORK.Process(target=_execute_into_value, args=(source_of(problem), status))
        process.start()
        process.join(TIMEOUT_S + 1)
        if process.is_alive():
            process.kill()
        return status.value == 1

    with ThreadPoolExecutor(WORKERS) as pool:
        return sum(pool.map(passes, problems))


METHODS: dict[str, Callable[[Sequence[Problem], int], int]] = {
    "this sandbox, every layer": in_our_sandbox,
    "subprocess per program, one after the other": in_subprocesses_one_by_one,
    "subprocess per program": in_subprocesses,
    "human-eval's way": as_human_eval,
    "evalplus's way": as_evalplus,
}


def measure(problems: Sequence[Problem], n_rounds: int) -> dict[str, list[float]]:
    """Programs per second of each method in each round."""
    speeds: dict[str, list[float]] = {name: [] for name in METHODS}
    for number in range(n_rounds):
        order = list(METHODS) if number % 2 == 0 else list(reversed(METHODS))
        for name in order:
            began = time.perf_counter()
            n_passed = METHODS[name](problems, number)
            speeds[name].append(len(problems) / (time.perf_counter() - began))
            assert n_passed == len(problems), f"{name}: {n_passed} of {len(problems)} reference solutions pass"
    return speeds


def resident_mib() -> float:
    """Memory of this process and of all that descend from it [MiB]."""
    parents, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            parents[int(folder.name)] = int(fields[1])
            sizes[int(folder.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    family = {os.getpid()}
    while new := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= new
    return sum(sizes.get(pid, 0) for pid in family)


def memory_over(problems: Sequence[Problem], n_programs: int) -> list[tuple[int, float]]:
    """(programs so far, resident MiB) at each tenth of `n_programs` different programs."""
    points = []
    for done in range(0, n_programs, n_programs // 10):
        numbers = range(done, done + n_programs // 10)
        SANDBOX.grade([program_of(problems[n % len(problems)], 10_000 + n) for n in numbers])
        points.append((done + n_programs // 10, resident_mib()))
    return points


def table(speeds: dict[str, list[float]], memory: list[tuple[int, float]], n_programs: int) -> str:
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ours = next(iter(METHODS))
    pairs = {name: [a / b for a, b in zip(speeds[ours], values, strict=True)] for name, values in speeds.items()}
    lines = [
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{datetime.date.today()}; {n_programs} programs of three asserts, {len(speeds[ours])} rounds in alternating "
        f"order, two at a time; {SANDBOX.line}",
        "", "| | programs per second, median | our speed as a multiple, median (least to most) |", "|---|---|---|",
    ]  # fmt: skip
    for name in METHODS:
        ratios = pairs[name]
        shown = "1" if name == ours else f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        lines.append(f"| {name} | {medians[name]:.0f} | {shown} |")
    shown = ", ".join(f"{mib:.0f} after {done:,}" for done, mib in memory[:: max(1, len(memory) // 5)])
    lines += ["", f"Memory of all processes over {memory[-1][0]:,} different programs [MiB]: "
              f"{shown}, {memory[-1][1]:.0f} at the end."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=300, help="programs per round (default: 300)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--many", type=int, default=20_000, help="programs for the memory curve (default: 20000)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file for the table (default: benchmarks/RESULTS.md)")
    args = parser.parse_args()
    problems = load_problems("organism").problems[: args.programs]
    text = table(measure(problems, args.rounds), memory_over(problems, args.many), len(problems))
    write_section(args.out, "Grading", text)
    print(text)


if __name__ == "__main__":
    FORK = multiprocessing.get_context("fork")
    with Sandbox(workers=WORKERS) as SANDBOX:
        main()
