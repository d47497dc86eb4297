"""What to type to build an artifact, so that a line copied from a message does what is meant.

A command names the preset, whatever of the experiment differs from it, and the data folder where it is not the usual
one.
"""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.handoffs import STUDIED, ArtifactSchema
from common.phases.settings import PhaseConfig, build_config, typed
from common.runs.discovery import with_data_dir

TOLD_FOR = {  # a key of an artifact's scope -> the settings that say which one is meant
    "model": ("model", "revision"),
    "sae": ("sae", "sae_revision"),
    "dataset": ("dataset", "limit"),
    "prompt": ("prompt",),
    "site": ("site",),
    "prompts": ("prompts",),
    "contrast": ("contrast",),
    "contrasts": ("contrasts",),
    "format": ("format",),
    "transcoders": ("transcoders", "transcoders_revision"),
}


def build_command(schema: ArtifactSchema, config: PhaseConfig, preset: str, data_dir: Path) -> str:
    """What to type to build `schema` for the experiment of `config`."""
    usual = asdict(build_config(type(config), preset, {}))
    return with_data_dir(shlex.join(words_for(schema, asdict(config), usual, preset)), data_dir)


def words_for(schema: ArtifactSchema, settings: Mapping[str, Any], usual: Mapping[str, Any], preset: str) -> list[str]:
    """The command that builds `schema` in the experiment that `settings` tell of; what they leave out is usual."""
    words = ["python3", "run.py", "phase", schema.phase]
    words += ["--preset", preset] if preset != "full" else []
    for name in (name for key in schema.keys for name in TOLD_FOR[key]):
        if name in settings and settings[name] != usual[name]:
            words += [f"--{name.replace('_', '-')}", typed(settings[name])]
    return words


def with_choices(words: list[str], before: PhaseConfig, after: PhaseConfig) -> list[str]:
    """`words` that name what an input decided between the two: another input may decide otherwise."""
    for name in (name for name in STUDIED if getattr(before, name, None) != getattr(after, name, None)):
        flag = f"--{name}"
        named = {place for place, word in enumerate(words) if word == flag}
        values = {place + 1 for place in named}
        kept = [word for place, word in enumerate(words) if place not in named | values]
        words = [*(word for word in kept if not word.startswith(f"{flag}=")), flag, typed(getattr(after, name))]
    return words
