"""Whether the reference solutions pass their own tests.

A problem whose own solution fails can be solved by nobody: it is incorrect whatever the model writes, and the
comparison of correct with incorrect programs then learns from the mistake. Data that is known to be good by its content
(MBPP, its sanitized form, the organism's problems) is not run again.
"""

from common.errors import ConfigError
from common.phases.context import RunContext
from common.problems.datasets import ProblemSet
from common.programs.references import FailingReference, judged_references
from common.progress import Progress
from common.sandbox import Sandbox
from common.words import plural
from phase0_difficulty.config import DifficultyConfig


def check_references(ctx: RunContext[DifficultyConfig], problem_set: ProblemSet, sandbox: Sandbox) -> list[dict]:
    """The reference solutions that fail, as the manifest names them; the log says why each does.

    Raises: ConfigError that names them, unless they were accepted.
    """
    problems, failing = problem_set.problems, []
    with Progress(len(problems), [], ctx.log, unit="reference solutions") as progress:
        for found in judged_references(problems, sandbox):
            progress.add(["correct" if found is None else found.label])
            if found is not None:
                failing.append(found)
                ctx.log.warning("%s", found)
    if failing and not ctx.config.accept_failing_references:
        raise ConfigError(_refusal(ctx, problem_set, failing))
    return [{"task_id": found.task_id, "label": found.label, "error": found.error} for found in failing]


def _refusal(ctx: RunContext, problem_set: ProblemSet, failing: list[FailingReference]) -> str:
    rows = ", ".join(str(found.task_id) for found in failing)
    n = plural(len(problem_set.problems), "reference solution")
    return (
        f"{problem_set.source}: {len(failing)} of {n} do not pass their own tests: task_id {rows} "
        f"({failing[0]}{'; the log says it of each' if len(failing) > 1 else ''})\n"
        f"Mend or remove these rows, or go on with them: {ctx.again} --accept-failing-references"
    )
