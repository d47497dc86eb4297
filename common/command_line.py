"""What to type: the one place that words the commands which messages tell, so that a copied line does what is meant.

A command names the preset, whatever of the experiment differs from it, and the data folder where it is not the usual
one.
"""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from common.config import DatasetConfig, PhaseConfig, PromptConfig, SaeConfig, build_config, typed
from common.discovery import with_data_dir
from common.handoffs import TRANSFER, Handoff
from common.registry import instruction_tuned

OTHER_MODEL = "--to OTHER_MODEL"  # what a reader has to fill in where no second model is known
_TOLD_FOR = {  # a key of an artifact's scope -> the settings that say which one is meant
    "model": ("model", "revision"),
    "sae": ("sae", "sae_revision"),
    "dataset": ("dataset", "limit"),
    "prompt": ("prompt",),
}


@dataclass(frozen=True, kw_only=True)
class _Experiment(SaeConfig, DatasetConfig, PromptConfig):
    """All settings that say which experiment is meant, for their usual values."""


def phase_command(handoff: Handoff, settings: Mapping[str, Any], preset: str, data_dir: Path) -> str:
    """What to type to build `handoff` in the experiment that `settings` tell of; what they leave out is usual."""
    words = ["python3", "run.py", "phase", handoff.phase]
    words += ["--preset", preset] if preset != "full" else []
    usual = asdict(build_config(_Experiment, preset, {}))
    for name in (name for key in handoff.keys for name in _TOLD_FOR[key]):
        if name in settings and settings[name] != usual[name]:
            words += [f"--{name.replace('_', '-')}", typed(settings[name])]
    model = settings.get("model", usual["model"])
    second = f" {OTHER_MODEL}" if handoff == TRANSFER and instruction_tuned(model) is None else ""
    return with_data_dir(shlex.join(words) + second, data_dir)


def build_command(handoff: Handoff, config: PhaseConfig, preset: str, data_dir: Path) -> str:
    """What to type to build `handoff` for the experiment of `config`."""
    return phase_command(handoff, asdict(config), preset, data_dir)


def told_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's settings that say which experiment it is of."""
    names = {field.name for field in fields(_Experiment)} & {name for told in _TOLD_FOR.values() for name in told}
    return {name: settings[name] for name in names if name in settings}
