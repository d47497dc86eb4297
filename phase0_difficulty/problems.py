"""Phase 0: how difficult each problem is.

    python3 run.py phase 0 --dataset mbpp

One row per problem: its fields, and the complexity of its reference solution.
"""

import json
import statistics
from typing import Any

from common.phases.context import RunContext
from common.problems.datasets import load_problems
from phase0_difficulty.config import DifficultyConfig
from phase0_difficulty.difficulty import measure_difficulty


def run(ctx: RunContext, config: DifficultyConfig) -> None:
    problem_set = load_problems(config.dataset, config.limit)
    with ctx.write() as out:
        rows = [{**_problem_row(problem), **measure_difficulty(problem.code)} for problem in problem_set.problems]
        out.table("difficulty.parquet", rows)
        out.details["dataset_source"] = problem_set.source
        out.details["problems_sha256"] = problem_set.sha256
        complexity = [row["complexity"] for row in rows]
        out.summary = {
            "problems": len(rows),
            "mean_complexity": statistics.fmean(complexity),
            "largest_complexity": max(complexity),
        }


def _problem_row(problem: Any) -> dict[str, Any]:
    return {
        "task_id": problem.task_id,
        "text": problem.text,
        "code": problem.code,
        "test_list": list(problem.test_list),
        "test_setup_code": problem.test_setup_code,
        "challenge_test_list": list(problem.challenge_test_list),
        "entry_point": problem.entry_point,
        "attributes": json.dumps(problem.attributes, sort_keys=True),
    }
