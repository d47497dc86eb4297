"""Settings of phase 3.6."""

from dataclasses import dataclass

from common.errors import ConfigError
from common.phases.settings import EvaluatingConfig, batches, resamples, setting
from common.problems.datasets import dataset_name
from common.programs.settings import SolutionConfig
from common.saes.settings import SaeConfig
from phase3_validation.detection.config import random_latents


@dataclass(frozen=True, kw_only=True)
class TransferConfig(SolutionConfig, SaeConfig, EvaluatingConfig):
    """In which other model, or on which other dataset, is tried what was found in --model on --dataset."""

    model: str = setting(
        "google/gemma-2-2b",
        "whose latents, thresholds and coefficients are used: hub id, folder or organism",
        demo="organism",
    )
    to: str = setting(
        "auto",
        "the other model, of the same shape: hub id or folder; auto: the instruction-tuned model made from --model, or "
        "with --to-dataset --model itself",
    )
    to_revision: str = setting("", "the same as --revision, of a --to of the hub", changes_results=False)
    # What changes the results is in `experiment`, where there is one: runs without it stay what they are.
    to_dataset: str = setting(
        "",
        "another dataset: any name or file that --dataset takes; its problems tune the refitted threshold and judge; "
        "default: those of --dataset",
        changes_results=False,
    )
    accept_failing_references: bool = setting(
        False,
        "go on although reference solutions of --to-dataset fail their own tests; the manifest names them",
        changes_results=False,
    )
    batch_size: int = batches("programs generated", demo=128)
    seed: int = setting(42, "seed of the resamples and the random latents", minimum=0)
    n_resamples: int = resamples(minimum=2000)
    n_random_latents: int = random_latents()
    problems: int = setting(0, "validation problems that are steered, evenly spaced; 0: all", minimum=0)

    def target(self) -> str:
        """The model that writes. Raises: ConfigError when none is known, or nothing is another than it was."""
        from common.model.registry import instruction_tuned, model_identity

        by_itself = self.model if self.to_dataset else instruction_tuned(self.model)
        name = by_itself if self.to == "auto" else self.to
        if name is None:
            raise ConfigError(
                f"no instruction-tuned model is known for --model {self.model}\n"
                f"Give another model of the same shape (number of layers, width) with --to, or other data with "
                f"--to-dataset"
            )
        try:
            identity = model_identity(name, self.target_revision())
        except ConfigError as error:  # it speaks of --model
            raise ConfigError(str(error) if name == self.model else str(error).replace("--model", "--to", 1)) from error
        if identity == model_identity(self.model, self.revision) and not self.other_dataset():
            same = f" and --to-dataset {self.to_dataset} is --dataset" if self.to_dataset else ""
            raise ConfigError(
                f"--to {name} is the model itself{same}: nothing is transferred\n"
                f"Give another one with --to, or other data with --to-dataset"
            )
        return name

    def target_revision(self) -> str:
        """The commit of what writes: of --model itself the same, unless another was asked for."""
        return self.revision if self._is_model_itself() else self.to_revision

    def _is_model_itself(self) -> bool:
        return bool(self.to_dataset) and self.to in ("auto", self.model) and not self.to_revision

    def other_dataset(self) -> str:
        """The identity of the other dataset; '' where the problems are those of --dataset. Raises: ConfigError."""
        if not self.to_dataset:
            return ""
        try:
            identity = dataset_name(self.to_dataset)
        except ConfigError as error:  # it speaks of --dataset
            raise ConfigError(str(error).replace(" --dataset", " --to-dataset", 1)) from error
        return "" if identity == dataset_name(self.dataset, self.limit) else identity

    def experiment(self) -> dict[str, str]:
        """With the other model and dataset by their content, which is no part of what keeps experiments apart."""
        from common.model.registry import model_identity

        other = self.other_dataset()
        to = {"to": model_identity(self.target(), self.target_revision())}
        return {**super().experiment(), **to, **({"to_dataset": other} if other else {})}

    def repositories(self) -> dict[str, tuple[str, str]]:
        from common.model.registry import hub_repository

        repository = None if self._is_model_itself() else hub_repository(self.target())
        return {**super().repositories(), **({"to_revision": ("to", repository)} if repository else {})}

    def revision_of(self, model: str) -> str:
        return self.target_revision() if model == self.target() else super().revision_of(model)
