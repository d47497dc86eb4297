"""Reference solutions, judged by their own tests: all must pass."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from common.problems.judging import program_for
from common.problems.record import Problem
from common.sandbox import Sandbox, Verdict

PROGRAMS_AHEAD = 32  # submitted at a time per worker: a slow solution then does not leave the others idle
_TEST_CHARS = 100  # of a failed test that a message shows: whole test code may be long


@dataclass(frozen=True)
class FailingReference:
    """A reference solution that does not pass; label and error are the sandbox's."""

    task_id: int
    label: str
    error: str | None
    failed_test: str | None
    message: str

    def __str__(self) -> str:
        test = " ".join((self.failed_test or "").split())
        test = test if len(test) <= _TEST_CHARS else f"{test[:_TEST_CHARS]}..."
        details = ", ".join(filter(None, [self.error, test, self.message]))
        return f"problem {self.task_id} is {self.label}: {details}"


def judged_references(problems: Iterable[Problem], sandbox: Sandbox) -> Iterator[FailingReference | None]:
    """For each problem, in order, what is wrong with its reference solution; None where it passes."""
    waiting = deque()
    for problem in problems:
        waiting.append((problem, sandbox.submit(program_for(problem.row(), problem.code))))
        if len(waiting) > PROGRAMS_AHEAD * sandbox.workers:
            problem, future = waiting.popleft()
            yield _failing(problem, future.result())
    for problem, future in waiting:
        yield _failing(problem, future.result())


def _failing(problem: Problem, verdict: Verdict) -> FailingReference | None:
    if verdict.label == "correct":
        return None
    return FailingReference(problem.task_id, verdict.label, verdict.error, verdict.failed_test, verdict.message)
