"""Settings of phase 3.8."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import ConfigError
from common.model.registry import control_pairs
from common.model.settings import AUTO, file_identity
from common.phases.settings import batches, setting
from common.programs.settings import WritingConfig


@dataclass(frozen=True, kw_only=True)
class PositiveControlConfig(WritingConfig):
    """Which pairs of operations are steered, where and how much."""

    pairs: str = setting(
        AUTO, "file of pairs of problems (phase3_validation/positive_control/README.md); auto: those of the model"
    )
    layer: int = setting(13, "block after which the difference is read and added", demo=4, minimum=0)
    coefficient: float = setting(0.75, "how much of the mean difference is added", unit="differences", minimum=0)
    n_controls: int = setting(19, "random directions of the same length", minimum=1)
    batch_size: int = batches("programs generated", demo=128)
    seed: int = setting(42, "seed of the random directions", minimum=0)

    def experiment(self) -> dict[str, str]:
        return {**super().experiment(), "pairs": file_identity(self.pairs_file())}

    def pairs_file(self) -> Path:
        """Raises: ConfigError for a model that comes without pairs, where none are given."""
        if self.pairs != AUTO:
            return Path(self.pairs)
        known = control_pairs(self.model)
        if known is None:
            raise ConfigError(
                f"no pairs of problems are known for the model {self.model}\nWrite some, in the form that "
                "phase3_validation/positive_control/README.md describes, and give them with: --pairs FILE.jsonl"
            )
        return known


def left_out(config: PositiveControlConfig) -> str:
    """Why a pipeline goes without this phase; empty where it does not."""
    without = config.pairs == AUTO and control_pairs(config.model) is None
    return f"it needs pairs of problems, of which none are known for {config.model}" if without else ""
