"""Settings of phase 3.1."""

from dataclasses import dataclass
from typing import Any

from common.model.settings import PromptConfig
from common.phases.settings import EvaluatingConfig, resamples, setting
from common.problems.settings import DatasetConfig
from common.programs.settings import missing_accepted
from common.saes.settings import NamedSaeConfig, bad_fits_accepted


def random_latents() -> Any:
    """Declare how many latents a selected one is compared with."""
    return setting(100, "latents of the same layer, drawn at random, that a selected one is compared with", minimum=1)


@dataclass(frozen=True, kw_only=True)
class DetectionConfig(NamedSaeConfig, DatasetConfig, PromptConfig, EvaluatingConfig):
    """Whose selected latents are judged, and against how much chance."""

    n_resamples: int = resamples(minimum=2000)
    n_random_latents: int = random_latents()
    seed: int = setting(42, "seed of the resamples, the random latents and the cross-validation", minimum=0)
    accept_bad_fit: bool = bad_fits_accepted()
    accept_missing: bool = missing_accepted()
