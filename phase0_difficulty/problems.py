"""Phase 0: how difficult each problem is.

    python3 run.py phase 0 --dataset mbpp

1. Every reference solution must pass its own tests, unless the problems are known to be good.
2. One row per problem: its fields, and the complexity of its reference solution.
"""

import statistics

from common.phases.context import RunContext
from common.problems.datasets import load_problems
from common.problems.difficulty import measure_difficulty
from common.programs.isolation import sandbox_of
from phase0_difficulty.config import DifficultyConfig
from phase0_difficulty.references import check_references


def run(ctx: RunContext[DifficultyConfig], config: DifficultyConfig) -> None:
    problem_set = load_problems(config.dataset, config.limit)
    with ctx.write() as out:
        failing = []
        if not problem_set.is_known_good:
            with sandbox_of(config, ctx.log) as sandbox:
                failing = check_references(ctx, problem_set, sandbox)
                out.process["sandbox"] = sandbox.describe()
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
