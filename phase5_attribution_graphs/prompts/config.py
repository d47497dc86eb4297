"""Settings of phase 5.1."""

from dataclasses import dataclass

from common.errors import ConfigError, suggestion
from common.model.registry import behaviour_prompts
from common.model.settings import AUTO, BehaviourPromptsConfig, file_identity
from common.phases.settings import setting

BEHAVIOURS = ("agreement", "capitals", "sentiment", "addition")
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class CircuitPromptsConfig(BehaviourPromptsConfig):
    """Which behaviours have prompts, and how many."""

    behaviours: tuple[str, ...] = setting(
        (ALL,),
        f"behaviours that get prompts; {ALL}: {', '.join(BEHAVIOURS)}, or every one of a file of your own",
        demo=("agreement", "capitals"),
    )
    n_train: int = setting(80, "prompts of each behaviour to find circuits on, at most", demo=10, minimum=2)
    n_test: int = setting(20, "prompts of each behaviour to try them on, at most", demo=10, minimum=2)
    seed: int = setting(42, "seed of the order in which prompts and their parts are drawn", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (ALL, *BEHAVIOURS)
        unknown = [name for name in self.behaviours if self.prompts == AUTO and name not in known]
        if unknown or not self.behaviours or (ALL in self.behaviours and len(self.behaviours) > 1):
            shown = unknown[0] if unknown else ",".join(self.behaviours)
            raise ConfigError(
                f"--behaviours is '{shown}'.{suggestion(shown, [*known])}\n"
                f"Give {ALL}, or some of these with commas: {', '.join(BEHAVIOURS)}; others need --prompts FILE.jsonl"
            )

    def experiment(self) -> dict[str, str]:
        """With the content of the model's own file, which decides what is drawn."""
        known = behaviour_prompts(self.model) if self.prompts == AUTO else None
        return {**super().experiment(), **({} if known is None else {"behaviour_prompts": file_identity(known)})}
