"""The model of a phase, how problems are put to it, and which prompts of behaviours it is traced on."""

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import ClassVar, Self

from common.model.chat import with_form
from common.model.registry import hub_repository, model_identity, similar_model
from common.phases.settings import PhaseConfig, setting
from common.problems.files import problem_stem, read_problem_bytes

PROMPT_FORMS = ("plain", "chat", "auto")
AUTO = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedModelConfig(PhaseConfig):
    """Settings of a phase that works on what a model wrote or computed; phases/revisions.py settles `revision`."""

    model: str = setting("google/gemma-2-2b", "hub id, folder of a saved model, or organism", demo="organism")
    revision: str = setting(
        "",
        "branch, tag or commit of a --model of the hub; default: that of its runs in --data-dir, else the head of main",
        changes_results=False,
    )

    def experiment(self) -> dict[str, str]:
        return {**super().experiment(), "model": model_identity(self.model, self.revision)}

    def repositories(self) -> dict[str, tuple[str, str]]:
        repository = hub_repository(self.model)
        return {**super().repositories(), **({"revision": ("model", repository)} if repository else {})}

    def near_miss(self, key: str) -> str:
        return similar_model(self.model) if key == "model" else super().near_miss(key)

    def revision_of(self, model: str) -> str:
        """The commit of a model that the phase loads; '' for a folder."""
        assert model == self.model, f"{model} is not {self.model}"
        return self.revision


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(NamedModelConfig):
    """Settings of a phase that runs a language model."""

    runs_a_model: ClassVar[bool] = True

    dtype: str = setting(
        "auto",
        "number type of the model's weights and computation; auto: the registry's choice for the device",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    threads: int = setting(0, "processor threads of the model; 0: torch's own choice", demo=1, minimum=0, maximum=1024)
    gpu_memory: float = setting(
        30.0, "memory of a GPU that the run may take", unit="GB", minimum=1.0, changes_results=False
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptConfig(PhaseConfig):
    """Settings of a phase that rests on how a problem is put to the model (common/problems/prompt.py)."""

    prompt: str = setting(
        "plain",
        "how a problem is put: plain: the bare text; chat: in the model's chat template; auto: chat where it has one",
        choices=PROMPT_FORMS,
    )

    def experiment(self) -> dict[str, str]:
        return {**super().experiment(), "prompt": self.prompt}

    def settled(self, log: logging.Logger, network: bool) -> Self:
        return with_form(super().settled(log, network), log, network)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BehaviourPromptsConfig(NamedModelConfig):
    """Settings of a phase that works on prompts of behaviours (phase5_attribution_graphs)."""

    prompts: str = setting(
        AUTO,
        "prompts of behaviours: a .jsonl file of your own (phase5_attribution_graphs/README.md); auto: those that come "
        "with the model, else general ones",
    )

    def experiment(self) -> dict[str, str]:
        known = AUTO if self.prompts == AUTO else file_identity(Path(self.prompts))
        return {**super().experiment(), "prompts": known}


def file_identity(path: Path) -> str:
    """'<name>@<hash of its content>' of a .jsonl or .json file. Raises: ConfigError where it cannot be read."""
    digest = hashlib.sha256(read_problem_bytes(path)).hexdigest()
    return f"{problem_stem(path)}@{digest[:8]}"
