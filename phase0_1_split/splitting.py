"""Phase 0.1: which problems select latents, tune thresholds and report.

    python3 run.py phase 0.1 --dataset mbpp

1. Near duplicates form groups, which no split may part.
2. Inside each stratum of complexity, every split gets its proportional share.
3. split_metadata.json lists strata, groups, mean complexity and its comparison between splits.
"""

from common import handoffs
from common.errors import ConfigError
from common.handoffs import SPLIT_FILES
from common.phases.context import RunContext
from common.problems.datasets import Problem
from common.problems.near_duplicates import group_near_duplicates
from phase0_1_split.config import SplitConfig
from phase0_1_split.sizes import fault_of, what_they_assume
from phase0_1_split.stratify import split_problems, split_report


def run(ctx: RunContext, config: SplitConfig) -> None:
    rows = ctx.read(handoffs.DIFFICULTY).table("difficulty.parquet")
    complexity = {row["task_id"]: row["complexity"] for row in rows}
    fractions: dict[str, float] = dict(zip(handoffs.SPLIT_NAMES, config.fractions, strict=True))
    with ctx.write() as out:
        groups = group_near_duplicates([Problem.of_row(row) for row in rows], config.similarity)
        members = [group.task_ids for group in groups]
        splits = split_problems(list(complexity), list(complexity.values()), members, fractions, config.seed)
        check_sizes(ctx, config, splits, groups)
        for name, task_ids in splits.items():
            chosen = set(task_ids)
            out.table(SPLIT_FILES[name], [row for row in rows if row["task_id"] in chosen])
        report = split_report(splits, complexity, groups, fractions, config.seed)
        out.document("split_metadata.json", report)
        out.summary = {
            **report.sizes,
            "near_duplicate_groups": report.n_groups,
            **{f"mean_complexity_{name}": report.complexity[name].mean for name in splits},
        }


def check_sizes(ctx: RunContext, config: SplitConfig, splits: dict[str, list[int]], groups: list) -> None:
    """Say what the sizes mean for later phases. Raises: ConfigError for an empty split, or too small a pilot."""
    sizes = {name: len(task_ids) for name, task_ids in splits.items()}
    fault = fault_of(sizes)
    if fault is None:
        ctx.log.info("%s; %s", ", ".join(f"{name} {n}" for name, n in sizes.items()), what_they_assume(sizes))
    # A pilot is there for every phase; who brings few problems may want no more than programs.
    elif config.limit:
        raise ConfigError(f"--limit {config.limit}: {fault}, or a larger --limit in every phase")
    else:
        check_no_empty_split(splits, groups, fault.rpartition("\n")[2])
        ctx.log.warning("%s", fault)


def check_no_empty_split(splits: dict[str, list[int]], groups: list, advice: str) -> None:
    """Raises: ConfigError: later phases need a problem in every split."""
    empty = [name for name, task_ids in splits.items() if not task_ids]
    if empty:
        n = sum(map(len, splits.values()))
        largest = max(len(group.task_ids) for group in groups)
        raise ConfigError(
            f"the split '{empty[0]}' of {n} problems would be empty; the largest group of near duplicates, "
            f"which is never parted, holds {largest}\n{advice}, more problems, or a higher --similarity"
        )
