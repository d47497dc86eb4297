"""Settings of phase 3.7."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.interventions.settings import problems_of_split
from common.phases.settings import EvaluatingConfig, resamples, setting, typed
from common.programs.settings import SolutionConfig
from common.saes.settings import SaeConfig

NONE = "none"
ABLATIONS = (NONE, "no_tests", "name_only", "shuffled_tests", "no_description")


@dataclass(frozen=True, kw_only=True)
class AblationConfig(SolutionConfig, SaeConfig, EvaluatingConfig):
    """Which parts of the prompt are taken away, and how the programs are sampled."""

    ablations: tuple[str, ...] = setting(ABLATIONS, "prompts that each problem is tried with", choices=ABLATIONS)
    problems: int = problems_of_split(demo=100)
    n_resamples: int = resamples("the intervals of activations")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ablations[:1] != (NONE,) or len(set(self.ablations)) < len(self.ablations):
            raise ConfigError(
                f"--ablations is '{typed(self.ablations)}', but the others are compared with '{NONE}'\n"
                f"Give {NONE} first, and each of the others once, as in {NONE},no_tests"
            )
