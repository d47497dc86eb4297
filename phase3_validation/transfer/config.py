"""Settings of phase 3.6."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.phases.settings import EvaluatingConfig, batches, setting
from common.programs.settings import SolutionConfig
from common.saes.settings import SaeConfig


@dataclass(frozen=True, kw_only=True)
class TransferConfig(SolutionConfig, SaeConfig, EvaluatingConfig):
    """Which other model is tried with what was found in --model."""

    model: str = setting(
        "google/gemma-2-2b",
        "whose latents, thresholds and coefficients are used: hub id, folder or organism",
        demo="organism",
    )
    to: str = setting(
        "auto",
        "the other model, of the same shape: hub id or folder; auto: the instruction-tuned model made from --model",
    )
    to_revision: str = setting("", "the same as --revision, of a --to of the hub", changes_results=False)
    batch_size: int = batches("programs generated", demo=128)
    seed: int = setting(42, "seed of the resamples and the random latents", minimum=0)
    n_resamples: int = setting(2000, "bootstrap resamples behind every interval", minimum=2000, maximum=100_000)
    n_random_latents: int = setting(
        100, "latents of the same layer, drawn at random, that a selected one is compared with", minimum=1
    )
    problems: int = setting(0, "validation problems that are steered, evenly spaced; 0: all", minimum=0)

    def target(self) -> str:
        """The other model. Raises: ConfigError when none is known, or it is the model itself."""
        from common.model.registry import instruction_tuned, model_identity

        name = instruction_tuned(self.model) if self.to == "auto" else self.to
        if name is None:
            raise ConfigError(
                f"no instruction-tuned model is known for --model {self.model}\n"
                f"Give another model of the same shape (number of layers, width) with --to"
            )
        try:
            identity = model_identity(name, self.to_revision)
        except ConfigError as error:  # it speaks of --model
            raise ConfigError(str(error).replace("--model", "--to", 1)) from error
        if identity == model_identity(self.model, self.revision):
            raise ConfigError(f"--to {name} is the model itself: nothing is transferred\nGive another one with --to")
        return name

    def experiment(self) -> dict[str, str]:
        """With the other model by its content, which is no part of what keeps experiments apart."""
        from common.model.registry import model_identity

        return {**super().experiment(), "to": model_identity(self.target(), self.to_revision)}

    def repositories(self) -> dict[str, tuple[str, str]]:
        from common.model.registry import hub_repository

        repository = hub_repository(self.target())
        return {**super().repositories(), **({"to_revision": ("to", repository)} if repository else {})}

    def revision_of(self, model: str) -> str:
        return self.to_revision if model == self.target() else super().revision_of(model)
