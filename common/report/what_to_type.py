"""What to type to build what a data folder lacks, told by the settings of the runs that it has."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from common.handoffs import TRANSFER, ArtifactSchema
from common.model.registry import instruction_tuned
from common.model.settings import BehaviourPromptsConfig, PromptConfig
from common.phases.command_line import TOLD_FOR, words_for
from common.phases.settings import build_config
from common.problems.settings import DatasetConfig
from common.runs.discovery import with_data_dir
from common.saes.settings import SaeConfig, TranscoderConfig

OTHER_MODEL = "--to OTHER_MODEL"  # what a reader has to fill in where no second model is known


@dataclass(frozen=True, kw_only=True)
class _Experiment(SaeConfig, DatasetConfig, PromptConfig, BehaviourPromptsConfig, TranscoderConfig):
    """All settings that say which experiment is meant, for their usual values."""


def phase_command(schema: ArtifactSchema, settings: Mapping[str, Any], preset: str, data_dir: Path) -> str:
    """What to type to build `schema` in the experiment that `settings` tell of; what they leave out is usual."""
    usual = asdict(build_config(_Experiment, preset, {}))
    command = shlex.join(words_for(schema, settings, usual, preset))
    model = settings.get("model", usual["model"])
    second = f" {OTHER_MODEL}" if schema == TRANSFER and instruction_tuned(model) is None else ""
    return with_data_dir(command + second, data_dir)


def told_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's settings that say which experiment it is of."""
    names = {field.name for field in fields(_Experiment)} & {name for told in TOLD_FOR.values() for name in told}
    return {name: settings[name] for name in names if name in settings}
