"""Phase 0: how difficult each problem is.

    python3 run.py phase 0 --dataset mbpp

1. Every reference solution must pass its own tests, unless the problems are known to be good.
2. One row per problem: its fields, and the complexity of its reference solution.
"""

import statistics

from common.phases.context import RunContext
from common.problems.datasets import load_problems
from common.problems.difficulty import measure_difficulty
from common.programs.references import check_references
from phase0_difficulty.config import DifficultyConfig


def run(ctx: RunContext[DifficultyConfig], config: DifficultyConfig) -> None:
    problem_set = load_problems(config.dataset, config.limit)
    with ctx.write() as out:
        failing = check_references(ctx, out, problem_set, config.accept_failing_references)
        rows = [{**problem.row(), **measure_difficulty(problem.code)} for problem in problem_set.problems]
        out.table("difficulty.parquet", rows)
        out.details["dataset_source"] = problem_set.source
        out.details["problems_sha256"] = problem_set.sha256
        out.details["failing_references"] = failing
        complexity = [row["complexity"] for row in rows]
        out.summary = {
            "problems": len(rows),
            "mean_complexity": statistics.fmean(complexity),
            "largest_complexity": max(complexity),
        }
