"""What every phase shares that evaluates a selection on the validation split."""

from dataclasses import dataclass

from common.config import PhaseConfig, setting

VALIDATION = "validation_{dataset}.parquet"


@dataclass(frozen=True, kw_only=True)
class EvaluatingConfig(PhaseConfig):
    """See readings.py."""

    again: bool = setting(
        False,
        "read the validation split although another selection was evaluated on it; the report counts the readings",
        changes_results=False,
    )
