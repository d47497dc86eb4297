"""What decides the programs that a model writes under an intervention."""

from dataclasses import dataclass

from common.phases.settings import batches, setting
from common.programs.settings import SolutionConfig
from common.saes.settings import SaeConfig


@dataclass(frozen=True, kw_only=True)
class SteeredConfig(SolutionConfig, SaeConfig):
    """What both phases need to write programs while a direction is added."""

    batch_size: int = batches("programs generated", demo=128)
    seed: int = setting(42, "seed of the random directions", minimum=0)
