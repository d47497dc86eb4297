"""Settings of phase 2."""

from dataclasses import dataclass

from common.model.settings import PromptConfig
from common.phases.settings import setting
from common.problems.settings import DatasetConfig
from common.programs.settings import missing_accepted
from common.saes.settings import GeneralTextConfig, NamedSaeConfig, bad_fits_accepted, layer_numbers


@dataclass(frozen=True, kw_only=True)
class LatentConfig(GeneralTextConfig, NamedSaeConfig, DatasetConfig, PromptConfig):
    """Which latents are compared, on which problems, and how."""

    split: str = setting(
        "sae",
        "problems to analyse; validation is for description only, and no phase reads its result",
        choices=("sae", "validation"),
    )
    layers: str = setting("all", "all that have an SAE, or layers with commas, as in 0,12,25")
    n_permutations: int = setting(
        1000, "permutations of the labels for the family-wise p", minimum=100, maximum=1_000_000
    )
    seed: int = setting(42, "seed of the permutations and of the folds", minimum=0)
    accept_bad_fit: bool = bad_fits_accepted()
    accept_missing: bool = missing_accepted()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chosen_layers()

    def chosen_layers(self) -> list[int] | None:
        """The layers given, ascending; None for all. Raises: ConfigError."""
        return layer_numbers(self.layers, usual="all")
