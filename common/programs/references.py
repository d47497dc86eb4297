"""Reference solutions, judged by their own tests: all must pass.

A problem whose own solution fails can be solved by nobody: it is incorrect whatever the model writes, and the
comparison of correct with incorrect programs then learns from the mistake. Data that is known to be good by its content
(MBPP, its sanitized form, the organism's problems) is not run again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from common.errors import ConfigError
from common.phases.context import RunContext
from common.problems.datasets import ProblemSet
from common.problems.for_sandbox import program_for
from common.problems.problem import Problem
from common.programs.existing_programs import verdicts_of
from common.programs.isolation import sandbox_of
from common.programs.settings import SandboxConfig
from common.progress import Progress
from common.runs.artifacts import ArtifactWriter
from common.sandbox import Sandbox, Verdict
from common.words import plural

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


def check_references(
    ctx: RunContext[SandboxConfig], out: ArtifactWriter, problem_set: ProblemSet, accept: bool
) -> list[dict[str, Any]]:
    """The reference solutions that fail, as the manifest names them; the log says why each does.

    Problems that are known to be good are not run. Raises: ConfigError that names them, unless `accept`.
    """
    if problem_set.is_known_good:
        return []
    problems, failing = problem_set.problems, []
    with sandbox_of(ctx.config, ctx.log) as sandbox:
        with Progress(len(problems), [], ctx.log, unit="reference solutions") as progress:
            for failure in judged_references(problems, sandbox):
                progress.add(["correct" if failure is None else failure.label])
                if failure is not None:
                    failing.append(failure)
                    ctx.log.warning("%s", failure)
        if failing and not accept:
            raise ConfigError(_refusal(ctx, problem_set, failing))
        out.process["sandbox"] = sandbox.describe()
    return [{"task_id": failure.task_id, "label": failure.label, "error": failure.error} for failure in failing]


def _refusal(ctx: RunContext, problem_set: ProblemSet, failing: list[FailingReference]) -> str:
    rows = ", ".join(str(failure.task_id) for failure in failing)
    n = plural(len(problem_set.problems), "reference solution")
    return (
        f"{problem_set.source}: {len(failing)} of {n} do not pass their own tests: task_id {rows} "
        f"({failing[0]}{'; the log says it of each' if len(failing) > 1 else ''})\n"
        f"Mend or remove these rows, or go on with them: {ctx.again} --accept-failing-references"
    )


def _failing(problem: Problem, verdict: Verdict) -> FailingReference:
    return FailingReference(problem.task_id, verdict.label, verdict.error, verdict.failed_test, verdict.message)
