"""What a record of a steered program holds, and what it is compared with: the programs of phase 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.handoffs.steering import Agreement
from common.interventions.conditions import Condition
from common.interventions.degenerate import is_degenerate
from common.model.rows import Generation
from common.phases.context import RunContext
from common.problems.problem import ProblemRow
from common.programs.settings import SolutionConfig
from common.programs.solutions import Solution
from common.programs.writing import Draft, Earlier, Kept
from common.runs.artifacts import Artifact


def warn_of_another_limit(ctx: RunContext[SolutionConfig], generations: Artifact) -> None:
    """Warn where phase 1 cut its programs off elsewhere: long ones then differ without any steering."""
    then, now = generations.manifest["settings"].get("max_new_tokens"), ctx.config.max_new_tokens
    if then is not None and then != now:
        ctx.log.warning("--max-new-tokens is %d here, and was %d in phase 1", now, then)


def steered_row(
    record: int, task_id: int, condition: Condition, solution: Solution, trajectory_kl: float
) -> dict[str, Any]:
    """A row of STEERING_FIELDS. Waits for the verdict."""
    generation = solution.generation
    return {
        "record": record,
        "task_id": task_id,
        **condition.fields,
        "code": solution.code,
        "label": solution.label,
        "error": solution.error,
        "degenerate": is_degenerate(solution.code, generation.token_ids, generation.stop_reason),
        "trajectory_kl": trajectory_kl,
        "n_new_tokens": len(generation.token_ids),
        "stop_reason": generation.stop_reason,
        "token_ids": generation.token_ids,
    }


def steered_draft(
    table: str,
    record: int,
    problem: ProblemRow,
    condition: Condition,
    generation: Generation,
    trajectory_kl: float,
    columns: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> Draft:
    """A program of a problem and a condition, not judged yet; `columns` and `tensors` stand in its record besides."""

    def kept(solution: Solution) -> Kept:
        row = steered_row(record, problem["task_id"], condition, solution, trajectory_kl)
        return {table: {**row, **(columns or {})}}, dict(tensors or {})

    return Draft(problem, generation, kept)


def agreement(unsteered: Sequence[dict[str, Any]], earlier: Earlier) -> Agreement:
    """How many unsteered programs have exactly the tokens that phase 1 wrote."""
    both = [(row, earlier[row["task_id"]]) for row in unsteered if row["task_id"] in earlier]
    return Agreement(same_tokens=sum(row["token_ids"] == then["token_ids"] for row, then in both), of=len(both))
