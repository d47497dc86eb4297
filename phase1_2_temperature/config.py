"""Settings of phase 1.2."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.phases.settings import setting, typed
from common.programs.settings import SolutionConfig

_TEMPERATURES = "sampling temperatures; 0 takes the likeliest token, once"


@dataclass(frozen=True, kw_only=True)
class TemperatureConfig(SolutionConfig):
    """How often each problem is sampled, and at which temperatures."""

    temperatures: tuple[float, ...] = setting(
        (0.3, 0.6, 0.9, 1.2), _TEMPERATURES, demo=(0.6, 1.2), minimum=0.0, maximum=10.0
    )
    samples: int = setting(5, "programs for each problem and temperature", demo=1, minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperatures or len(set(self.temperatures)) < len(self.temperatures):
            raise ConfigError(
                f"--temperatures is '{typed(self.temperatures)}'\nGive each temperature once, as in 0.3,0.6,0.9,1.2"
            )
