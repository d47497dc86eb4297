"""Settings of phase 1."""

from dataclasses import dataclass

from common.config import ModelConfig, setting, typed
from common.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class GenerationConfig(ModelConfig):
    """How solutions are generated and judged."""

    max_new_tokens: int = setting(2000, "tokens after which a solution is cut off", demo=400, unit="tokens", minimum=1)
    batch_size: int = setting(64, "problems generated together", minimum=1)
    temperature: float = setting(0.0, "sampling temperature; 0 takes the likeliest token", minimum=0.0)
    seed: int = setting(42, "base seed; each sample derives its own from it", minimum=0)
    positions: tuple[str, ...] = setting(
        ("last",),
        "prompt tokens whose residual stream is kept",
        choices=("last", "description_end", "tests_end"),
    )
    sandbox: str = setting("auto", "isolation of the programs that are run", choices=("auto", "strict", "none"))
    sandbox_workers: int = setting(2, "programs run at the same time", minimum=1, changes_results=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if "last" not in self.positions or len(set(self.positions)) < len(self.positions):
            raise ConfigError(
                f"--positions is {typed(self.positions)}, but later phases read the position 'last'\n"
                f"Give each position once, 'last' among them, as in last,tests_end"
            )
