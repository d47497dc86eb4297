"""Settings of phase 3.1."""

from dataclasses import dataclass

from common.model.settings import PromptConfig
from common.phases.settings import EvaluatingConfig, setting
from common.problems.settings import DatasetConfig
from common.saes.settings import NamedSaeConfig


@dataclass(frozen=True, kw_only=True)
class DetectionConfig(NamedSaeConfig, DatasetConfig, PromptConfig, EvaluatingConfig):
    """Whose selected latents are judged, and against how much chance."""

    n_resamples: int = setting(2000, "bootstrap resamples behind every interval", minimum=2000, maximum=100_000)
    n_random_latents: int = setting(
        100, "latents of the same layer, drawn at random, that a selected one is compared with", minimum=1
    )
    seed: int = setting(42, "seed of the resamples, the random latents and the cross-validation", minimum=0)
    accept_bad_fit: bool = setting(False, "go on where an SAE does not reconstruct general text at its layer")
    accept_missing: bool = setting(False, "leave out, and count, problems that the run of phase 1 has no record of")
