"""What the training of a dictionary depends on, besides the activations. Nothing here imports torch."""

from dataclasses import dataclass

from common.errors import ConfigError

FEEDBACK, BATCHTOPK, TOPK = "feedback", "batchtopk", "topk"
HIGHEST = "highest"
MATMUL_PRECISIONS = (HIGHEST, "high", "medium")  # of torch.set_float32_matmul_precision


def check_count(threshold: str, l0: float, name: str) -> None:
    """Raises: ConfigError where `l0`, called `name`, is no number of latents that topk could keep of a token."""
    if threshold == TOPK and l0 != max(1, round(l0)):
        raise ConfigError(f"{name} is {l0:g}; topk keeps so many of each token\nGive a whole number, 1 or more")


@dataclass(frozen=True)
class DictionarySettings:
    """All that the result depends on, besides the activations.

    Raises: ConfigError where no step can be made, or more latents would be active than there are.
    """

    d_sae: int = 1536
    l0: float = 32.0
    n_samples: int = 1_500_000
    batch_size: int = 1024
    threshold: str = FEEDBACK
    learning_rate: float = 1.5e-3
    initial_l0_factor: float = 3.0
    annealed_share: float = 0.25
    resample_every: int = 25
    dead_after: int = 50
    resampled_share: float = 0.65
    decayed_share: float = 0.4
    matmul_precision: str = HIGHEST
    seed: int = 0

    def __post_init__(self) -> None:
        most_active = self.d_sae / 2 / self.initial_l0_factor  # of more than half, the threshold would lie below 0
        for name, value, most in (("batch_size", self.batch_size, self.n_samples), ("l0", self.l0, most_active)):
            if not 0 < value <= most:
                raise ConfigError(f"{name} is {value}\nGive a number above 0, at most {most:g}")
        check_count(self.threshold, self.l0, "l0")

    @property
    def n_steps(self) -> int:
        return self.n_samples // self.batch_size

    def learning_rate_at(self, step: int) -> float:
        """Warm-up over 50 steps, constant, then linear to a hundredth."""
        left = (self.n_steps - step) / (self.n_steps * self.decayed_share)
        return self.learning_rate * min(1.0, (step + 1) / 50) * max(0.01, min(1.0, left))

    def l0_at(self, step: int) -> float:
        """Geometrically from `initial_l0_factor` times the target to the target."""
        progress = min(1.0, step / (self.n_steps * self.annealed_share))
        return self.l0 * self.initial_l0_factor ** (1 - progress)
