"""Settings of phases 3.2 and 3.3."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.handoffs import RESID_SITES
from common.handoffs.steering import FITTED, PROBE
from common.interventions.directions import NAMES
from common.interventions.settings import SteeredConfig, problems_of_split
from common.phases.settings import EvaluatingConfig, setting, typed
from common.saes.settings import layer_numbers


@dataclass(frozen=True, kw_only=True)
class CoefficientsConfig(SteeredConfig):
    """Which directions are added where, and how much of them."""

    directions: tuple[str, ...] = setting(
        ("steer_correct", "steer_incorrect", *FITTED),
        "directions to add: selected latents; mean_difference, probe: fitted to the whole residual stream there",
        demo=("steer_correct", "steer_incorrect", PROBE),
        choices=(*NAMES, *FITTED),
    )
    coefficients: tuple[float, ...] = setting(
        (-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0),
        "lengths of the added vector, in mean norms of the residual stream there; 0 (unsteered) is always run",
        demo=(-0.5, -0.25, 0.25, 0.5),
        minimum=-1.0,
        maximum=1.0,
    )
    layers: str = setting("auto", "blocks to add a direction at, one at a time, as in 3,4,5; auto: the latent's own")
    site: str = setting("resid_post", "where in the block: its input, its middle, its output", choices=RESID_SITES)
    steer: str = setting(
        "last", "last: from the last prompt token on; all: at every token of the prompt too", choices=("last", "all")
    )
    problems: int = problems_of_split()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("directions", "coefficients"):
            given = getattr(self, name)
            if len(set(given)) < len(given) or not [item for item in given if item != 0]:
                like = "steer_correct,steer_incorrect" if name == "directions" else "-1.0,-0.5,0.5,1.0"
                raise ConfigError(f"--{name} is '{typed(given)}'\nGive each once, and at least one, as in {like}")
        self.chosen_layers()

    def chosen_layers(self) -> list[int] | None:
        """The layers given, ascending; None for each latent's own. Raises: ConfigError."""
        return layer_numbers(self.layers, usual="auto")


@dataclass(frozen=True, kw_only=True)
class SteeringConfig(SteeredConfig, EvaluatingConfig):
    """How phase 3.2's choice is tested; where, how much and how long is added, is that choice."""

    n_controls: int = setting(
        20, "matched latents, and as many random directions, that each direction is compared with", demo=10, minimum=1
    )
    problems: int = problems_of_split(demo=48)
    tuning_problems: int = setting(
        48,
        "problems of hyperparams, drawn with the seed, on which each control gets its better sign",
        demo=16,
        minimum=1,
    )
