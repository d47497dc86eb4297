"""What is read as the model's one program for a problem must be the likeliest one, not a sample."""

from collections.abc import Iterable
from typing import Any

from common.errors import ConfigError


def check_greedy(programs: Iterable[dict[str, Any]], where: str) -> None:
    """Raises: ConfigError when a program (row of phase 1) was sampled; `where` names the run."""
    sampled = sorted({program["temperature"] for program in programs} - {0.0})
    if sampled:
        raise ConfigError(
            f"the programs in {where} were sampled at temperature {sampled[0]:g}, but greedy ones are compared here\n"
            "Run phase 1 with: --temperature 0 --fresh   (phase 1.2 samples)"
        )


def greedy_programs(rows: Iterable[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Phase 1's greedy program of each problem, by task_id."""
    return {row["task_id"]: row for row in rows if row["temperature"] == 0}
