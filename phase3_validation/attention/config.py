"""Settings of phase 3.4."""

from dataclasses import dataclass

from common.model.settings import PromptConfig
from common.phases.settings import batches, resamples, setting
from common.problems.settings import DatasetConfig
from common.saes.settings import SaeConfig


@dataclass(frozen=True, kw_only=True)
class AttentionConfig(SaeConfig, DatasetConfig, PromptConfig):
    """How the attention is read, and what its movement is compared with."""

    batch_size: int = batches("prompts read", 16, demo=64)
    n_random: int = setting(
        19, "random directions of the same length that each direction is compared with", minimum=1, maximum=1000
    )
    n_resamples: int = resamples()
    seed: int = setting(42, "seed of the resamples and of the random directions", minimum=0)
