"""Settings of phase 6.4b."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.phases.settings import RecordsConfig, batches, setting
from phase6_error_circuits.config import StudyConfig

ABSOLUTE, POSITIVE = RANKINGS = ("absolute", "positive")
SIZES = (30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)


@dataclass(frozen=True, kw_only=True)
class ErrorDenseConfig(StudyConfig, RecordsConfig):
    """How heads and neurons are ranked, and which circuits of them are tried."""

    n_pairs: int = setting(
        100, "pairs of one template and shape, half of which select nodes and half are held out", demo=24, minimum=4
    )
    midpoints: int = setting(
        5, "points of the line from clean to corrupted embeddings at which gradients are taken", demo=3, minimum=1
    )
    ranking: str = setting(
        ABSOLUTE,
        "what is taken into a circuit first: nodes of the largest importance, for the clean answer or against it, or "
        "those that support it most; without what speaks against it, a circuit may keep many times the total",
        choices=RANKINGS,
    )
    sizes: tuple[int, ...] = setting(
        SIZES, "nodes in a circuit, heads and neurons at positions", demo=(30, 300, 3000), minimum=1
    )
    n_random: int = setting(
        3, "random circuits of each size, with as many nodes of every layer, kind and position", demo=1, minimum=1
    )
    batch_size: int = batches("prompts of circuits", 64, demo=128)
    circuits_together: int = setting(
        7, "circuits that are tried in one pass, beside the corrupted run", minimum=1, changes_results=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if list(self.sizes) != sorted({*self.sizes}):
            raise ConfigError(
                f"--sizes is {','.join(map(str, self.sizes))}, which does not rise\n"
                f"Give each size once, the smallest first"
            )
