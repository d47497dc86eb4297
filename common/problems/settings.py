"""The dataset of a phase: which problems, and how many of them."""

import dataclasses

from common.phases.settings import PhaseConfig, setting
from common.problems.datasets import dataset_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class DatasetConfig(PhaseConfig):
    """Settings of a phase that works on problems."""

    dataset: str = setting(
        "mbpp",
        "mbpp | mbpp-sanitized | mbpp+ | humaneval | humaneval+ | organism, or a .jsonl or .json file in the schema of "
        "MBPP, HumanEval or EvalPlus",
        demo="organism",
    )
    limit: int = setting(
        0, "a pilot: so many problems, drawn from all of the dataset, and every phase on these; 0: all", minimum=0
    )

    def experiment(self) -> dict[str, str]:
        return {**super().experiment(), "dataset": dataset_name(self.dataset, self.limit)}
