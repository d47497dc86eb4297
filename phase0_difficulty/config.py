"""Settings of phase 0."""

from dataclasses import dataclass

from common.problems.settings import DatasetConfig


@dataclass(frozen=True, kw_only=True)
class DifficultyConfig(DatasetConfig):
    """Phase 0 has no settings of its own: only the dataset."""
