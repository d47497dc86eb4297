"""What decides the programs that a model writes, and how they are judged."""

import dataclasses
from typing import Any

from common.model.settings import ModelConfig, PromptConfig
from common.phases.settings import PhaseConfig, RecordsConfig, setting
from common.problems.settings import DatasetConfig


def missing_accepted() -> Any:
    """Declare what problems without a program are let through with: see `labels.judged_problems`."""
    return setting(False, "leave out, and count, problems that the run of phase 1 has no record of")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SandboxConfig(PhaseConfig):
    """Settings of a phase that runs programs."""

    sandbox: str = setting("auto", "isolation of the programs that are run", choices=("auto", "strict", "none"))
    sandbox_workers: int = setting(2, "programs run at the same time", minimum=1, changes_results=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WritingConfig(SandboxConfig, ModelConfig, PromptConfig, RecordsConfig):
    """Settings of a phase that has a model write programs, and judges them."""

    max_new_tokens: int = setting(2000, "tokens after which a solution is cut off", demo=400, unit="tokens", minimum=1)
    batch_size: int = setting(
        64, "programs generated together, fewer where memory does not suffice", minimum=1, changes_results=False
    )
    seed: int = setting(42, "base seed; each sample derives its own from it", minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolutionConfig(WritingConfig, DatasetConfig):
    """The same, where the programs are solutions of a dataset's problems."""
