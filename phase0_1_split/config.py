"""Settings of phase 0.1."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.phases.settings import setting
from common.problems.settings import DatasetConfig


@dataclass(frozen=True, kw_only=True)
class SplitConfig(DatasetConfig):
    """How the problems are divided."""

    fractions: tuple[float, ...] = setting(
        (0.5, 0.1, 0.4),
        "shares of the splits sae (select), hyperparams (tune) and validation (report)",
        minimum=0.001,
        maximum=0.998,
        source="arXiv 2510.02917",
    )
    seed: int = setting(42, "seed of the assignment", minimum=0)
    similarity: float = setting(
        0.9, "TF-IDF cosine from which two descriptions are near duplicates", minimum=0.0, maximum=1.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.fractions) != 3 or abs(sum(self.fractions) - 1) > 1e-9:
            shown = ",".join(map(str, self.fractions))
            raise ConfigError(f"--fractions is {shown}\nGive three shares that add up to 1, as in 0.5,0.1,0.4")
