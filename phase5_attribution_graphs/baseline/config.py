"""Settings of phase 5.2."""

from dataclasses import dataclass

from common.model.settings import BehaviourPromptsConfig, ModelConfig
from common.phases.settings import batches, setting


@dataclass(frozen=True, kw_only=True)
class CircuitBaselineConfig(ModelConfig, BehaviourPromptsConfig):
    """How the model's answers are read, and whether to go on where they are not good enough."""

    force: bool = setting(
        False,
        "go on with behaviours that miss their threshold: what carries an answer that the model does not give means "
        "little",
        demo=True,
        changes_results=False,
    )
    batch_size: int = batches("answers read", demo=64)
