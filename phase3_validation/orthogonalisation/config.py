"""Settings of phase 3.5."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.interventions.directions import NAMES
from common.interventions.settings import problems_of_split
from common.phases.settings import EvaluatingConfig, batches, setting, typed
from common.programs.settings import SolutionConfig
from common.saes.settings import SaeConfig


@dataclass(frozen=True, kw_only=True)
class OrthogonalisationConfig(SolutionConfig, SaeConfig, EvaluatingConfig):
    """Which directions the model loses, and how many others for comparison."""

    batch_size: int = batches("programs generated", demo=120)
    directions: tuple[str, ...] = setting(
        ("steer_correct", "steer_incorrect"), "selected directions to take away, one at a time", choices=NAMES
    )
    n_controls: int = setting(
        20,
        "latents whose direction is taken away instead, for each direction: the stream varies as much along them",
        demo=10,
        minimum=1,
    )
    problems: int = problems_of_split(demo=30)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.directions or len(set(self.directions)) < len(self.directions):
            raise ConfigError(
                f"--directions is '{typed(self.directions)}'\n"
                f"Give each once, and at least one, as in steer_correct,steer_incorrect"
            )
