"""The settings of a training run: everything that its result depends on."""

from dataclasses import dataclass, field

from model_organism.architecture import ModelShape


@dataclass(frozen=True)
class TrainingSettings:
    """Schedules count tokens, not minutes, so that a busy machine changes the duration and nothing else.

    `start_sha256` is that of the weights that training continues from, None where it starts from nothing.
    """

    mtokens: float = 9.0
    seed: int = 0
    shape: ModelShape = field(default_factory=ModelShape)
    start_sha256: str | None = None
    n_processes: int = 2
    tokens_per_step: int = 6144
    muon_learning_rate: float = 0.02
    adam_learning_rate: float = 3e-3
    head_learning_rate: float = 3e-3
    n_warmup_steps: int = 60
    constant_share: float = 0.4
    final_rate: float = 0.02
    bag_weight: float = 0.02
    self_weight: float = 0.3
    names_weight: float = 1.0
    report_every: int = 25
    validate_every: int = 200
    checkpoint_every: int = 200

    def schedule(self, step: int, n_tokens: int) -> float:
        """The factor on the learning rates: warm-up, constant, then linear to `final_rate`."""
        progress = n_tokens / (self.mtokens * 1e6)
        warmup = min(1.0, (step + 1) / self.n_warmup_steps)
        if progress < self.constant_share:
            return warmup
        return warmup * max(self.final_rate, (1 - progress) / (1 - self.constant_share))


CONTINUED = TrainingSettings(
    mtokens=5.0,
    seed=1,
    tokens_per_step=3072,
    muon_learning_rate=0.008,
    adam_learning_rate=1.2e-3,
    n_warmup_steps=40,
    checkpoint_every=50,
)
