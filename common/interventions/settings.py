"""What decides the programs that a model writes under an intervention."""

from dataclasses import dataclass
from typing import Any

from common.phases.settings import batches, setting
from common.programs.settings import SolutionConfig
from common.saes.settings import SaeConfig


def problems_of_split(*, demo: int = 0) -> Any:
    """Declare how many problems are taken: see `sampling.spaced`."""
    return setting(0, "problems of the split, evenly spaced; 0: all", demo=demo, minimum=0)


@dataclass(frozen=True, kw_only=True)
class SteeredConfig(SolutionConfig, SaeConfig):
    """What phases 3.2, 3.3 and those like them need to write programs while a direction is added."""

    batch_size: int = batches("programs generated", demo=128)
    seed: int = setting(42, "seed of the random directions, of what is drawn and of what is fitted", minimum=0)
