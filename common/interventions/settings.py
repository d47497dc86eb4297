"""What decides the programs that a model writes under an intervention."""

from dataclasses import dataclass

from common.phases.settings import setting
from common.programs.settings import SolutionConfig
from common.saes.settings import SaeConfig


@dataclass(frozen=True, kw_only=True)
class SteeredConfig(SolutionConfig, SaeConfig):
    """What both phases need to write programs while a direction is added."""

    batch_size: int = setting(
        64,
        "programs generated together, fewer where memory does not suffice",
        demo=128,
        minimum=1,
        changes_results=False,
    )
    seed: int = setting(42, "seed of the random directions", minimum=0)
