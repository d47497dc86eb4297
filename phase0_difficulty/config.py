"""Settings of phase 0."""

from dataclasses import dataclass

from common.phases.settings import setting
from common.problems.datasets import DATASETS, load_problems
from common.problems.settings import DatasetConfig
from common.programs.settings import SandboxConfig


@dataclass(frozen=True, kw_only=True)
class DifficultyConfig(SandboxConfig, DatasetConfig):
    """The dataset, and how its reference solutions are run where they are not known to pass their tests."""

    accept_failing_references: bool = setting(
        False, "go on although reference solutions fail their own tests; the manifest names them"
    )

    def check_files(self) -> None:
        super().check_files()
        if self.dataset not in DATASETS:
            load_problems(self.dataset, self.limit)
