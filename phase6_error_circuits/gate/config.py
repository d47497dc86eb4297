"""Settings of phase 6.1b."""

from dataclasses import dataclass

from common.model.settings import ModelConfig
from common.phases.settings import batches, setting


@dataclass(frozen=True, kw_only=True)
class ErrorGateConfig(ModelConfig):
    """How the prompts are read, and whether the later phases go on where no contrast passes."""

    force: bool = setting(
        False,
        "let the later phases go on where no contrast passes: what carries an answer that the model does not give "
        "means little",
    )
    batch_size: int = batches("prompts read", demo=128)
