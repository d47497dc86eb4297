"""Settings of phase 5.5."""

from dataclasses import dataclass

from common.model.settings import BehaviourPromptsConfig
from common.phases.settings import RecordsConfig, batches, resamples, setting
from phase5_attribution_graphs.settings import GraphSizeConfig


@dataclass(frozen=True, kw_only=True)
class CircuitInterventionsConfig(BehaviourPromptsConfig, GraphSizeConfig, RecordsConfig):
    """Which prompts are tried, which latents are changed together, and what they are compared with."""

    n_prompts: int = setting(20, "test prompts of each behaviour, at most", demo=3, minimum=1)
    set_size: int = setting(10, "latents of a named set", minimum=1)
    n_nulls: int = setting(
        199,
        "random sets matched to a named one by layer, position and activation; with fewer than 20 for each behaviour "
        "no p reaches 0.05 after Holm",
        demo=39,
        minimum=19,
    )
    n_swept: int = setting(
        0,
        "latents of the pruned graph that are set to zero alone, the most influential first; 0: all",
        demo=10,
        minimum=0,
    )
    inhibit: float = setting(
        1.0, "factor of inhibition: a latent is set to minus so many times its activation", minimum=0.0
    )
    coefficients: tuple[float, ...] = setting(
        (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0),
        "how much of its own activation times its decoder direction is added when the top latent is steered",
        demo=(-2.0, 2.0),
    )
    n_resamples: int = resamples()
    seed: int = setting(456, "seed of the random sets and of resamples", minimum=0)
    batch_size: int = batches("changes of a prompt", demo=64)
