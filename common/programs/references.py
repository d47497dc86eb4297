"""Reference solutions, judged by their own tests: all must pass."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from common.problems.judging import program_for
from common.problems.record import Problem
from common.programs.verdicts import verdicts_of
from common.sandbox import Sandbox, Verdict

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
    programs = ((problem, program_for(problem.row(), problem.code)) for problem in problems)
    for problem, verdict in verdicts_of(programs, sandbox):
        yield None if verdict.label == "correct" else _failing(problem, verdict)


def _failing(problem: Problem, verdict: Verdict) -> FailingReference:
    return FailingReference(problem.task_id, verdict.label, verdict.error, verdict.failed_test, verdict.message)
