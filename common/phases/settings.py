"""Settings of a phase: a frozen dataclass whose fields become flags, help, and manifest entries.

A setting is declared once: its value in the `full` preset and in the `demo` preset, help,
unit, source and allowed range. A flag beats the preset.
"""

import argparse
import dataclasses
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin

from common.errors import ConfigError, suggestion

PRESETS = {
    "full": "the published experiment: Gemma-2-2b on MBPP",
    "demo": "the model organism on its own problems: no network, no GPU",
}

# argparse takes a word like -1.0,0.5 for a flag, unless this attribute of every parser says that it is a number.
_BEGINS_WITH_A_NEGATIVE_NUMBER = re.compile(r"-\.?\d")


@dataclasses.dataclass(frozen=True)
class SettingSpec:
    """What is known of a setting besides its name and type."""

    help: str
    demo: Any
    unit: str
    source: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    changes_results: bool


def setting(
    default: Any,
    help: str,
    *,
    demo: Any = dataclasses.MISSING,
    unit: str = "",
    source: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    changes_results: bool = True,
) -> Any:
    """Declare one setting. `default` is its value in the full preset, `demo` in the demo preset.

    `changes_results=False` marks what may differ when a run is resumed (a number of workers).
    """
    demo = default if demo is dataclasses.MISSING else demo
    spec = SettingSpec(help, demo, unit, source, minimum, maximum, choices, changes_results)
    return dataclasses.field(default=default, metadata={"spec": spec})


def batches(of: str, default: int = 64, *, demo: int) -> Any:
    """Declare how many of them a model takes together."""
    text = f"{of} together, fewer where memory does not suffice"
    return setting(default, text, demo=demo, minimum=1, changes_results=False)


def resamples(behind: str = "every interval", *, demo: Any = dataclasses.MISSING, minimum: int = 1000) -> Any:
    """Declare how often problems, prompts or pairs are drawn again."""
    return setting(2000, f"bootstrap resamples behind {behind}", demo=demo, minimum=minimum, maximum=100_000)


def spec_of(field: dataclasses.Field) -> SettingSpec:
    return field.metadata["spec"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """Base of every phase's settings; checks each value against its declared range."""

    runs_a_model: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for item in value if isinstance(value, tuple) else (value,):
                _check_range(field, item)

    def experiment(self) -> dict[str, str]:
        """What is known by its content, as name@hash or a hub id: dataset, model and so on.

        An artifact's scope says which of these keep its experiments apart.
        """
        return {}

    def repositories(self) -> dict[str, tuple[str, str]]:
        """For each setting that holds a revision: the key in `experiment` that it is of, and the hub repository.

        What lies in a folder is not among them.
        """
        return {}

    def near_miss(self, key: str) -> str:
        """'Did you mean X? ' where what `experiment` has under `key` nearly has a known name; else nothing."""
        return ""

    def found_in(self, data_dir: Path) -> Self:
        """These settings, with a folder for what names the newest of its kind in the data folder."""
        return self

    def check_files(self) -> None:
        """Look at what the settings name on this disk, before phases in front of this one take hours. No hub is asked.

        Raises: ConfigError, AssetError or ArtifactMismatchError for what this phase would refuse then.
        """

    def runs_named(self) -> tuple[Path, ...]:
        """Finished runs that a setting names, and not an input: what is made with these settings rests on them."""
        return ()

    def chosen_by(self, artifact: str, document: Callable[[], Any]) -> Self:
        """These settings, with what a picked input decides put in; `document` reads what that input says of itself."""
        return self

    def settled(self, log: logging.Logger, network: bool) -> Self:
        """These settings, with what was left open in them put in; without `network`, as far as this disk tells."""
        return self


Config = TypeVar("Config", bound=PhaseConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatingConfig(PhaseConfig):
    """Settings of a phase that evaluates a selection on the validation split (common/runs/held_out_log.py)."""

    reuse_validation: bool = setting(
        False,
        "read the validation split although another selection was evaluated on it; the report counts the readings",
        changes_results=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordsConfig(PhaseConfig):
    """Settings of a phase that saves record by record."""

    checkpoint_every: int = setting(
        50,
        "records that are saved together, at most; what is left of a batch is saved at its end",
        minimum=1,
        changes_results=False,
    )


def add_flags(parser: argparse.ArgumentParser, config_class: type[PhaseConfig]) -> None:
    """Add one --flag per setting; a tuple is written with commas. A flag not given is absent."""
    parser._negative_number_matcher = _BEGINS_WITH_A_NEGATIVE_NUMBER
    group = parser.add_argument_group("settings of this phase")
    for field in dataclasses.fields(config_class):
        common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help_text(field).replace("%", "%%")}
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        else:
            group.add_argument(flag, type=_parser_for(field.type), metavar=field.name.upper(), **common)


def build_config(config_class: type[Config], preset: str, given: dict[str, Any]) -> Config:
    """The preset's settings, with those in `given` on top.

    Raises: ConfigError for an unknown preset or an impossible value.
    """
    if preset not in PRESETS:
        hint = suggestion(preset, list(PRESETS))
        raise ConfigError(f"there is no preset '{preset}'{hint and '.' + hint}\nGive one of: {', '.join(PRESETS)}")
    values = {}
    for field in dataclasses.fields(config_class):
        values[field.name] = field.default if preset == "full" else spec_of(field).demo
        values[field.name] = given.get(field.name, values[field.name])
    return config_class(**values)


def differences_from_preset(config: PhaseConfig, preset: str) -> dict[str, Any]:
    """Settings whose value is not the preset's, with their value."""
    base = build_config(type(config), preset, {})
    names = [field.name for field in dataclasses.fields(config)]
    return {name: getattr(config, name) for name in names if getattr(config, name) != getattr(base, name)}


def result_settings(config: PhaseConfig) -> dict[str, Any]:
    """The settings that decide the results, as they look in JSON.

    What `experiment()` names is left out: it is known there by its content, so that a file that
    was moved is the same experiment.
    """
    fields = [field for field in dataclasses.fields(config) if spec_of(field).changes_results]
    known = config.experiment()  # once: it reads files
    return {field.name: as_json(getattr(config, field.name)) for field in fields if field.name not in known}


def kind_of(device: str) -> str:
    """'cuda' of 'cuda:1': which of a machine's GPUs computes is no part of what a run is."""
    return device.partition(":")[0]


def as_json(value: Any) -> Any:
    return [as_json(item) for item in value] if isinstance(value, tuple) else value


def typed(value: Any) -> str:
    """A setting's value as the user would type it."""
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def _help_text(field: dataclasses.Field) -> str:
    spec = spec_of(field)
    unit = f" [{spec.unit}]" if spec.unit else ""
    choices = f"; one of {', '.join(spec.choices)}" if spec.choices else ""
    choices += ", or a number" if field.type == float | str else ""
    demo = f"; demo: {typed(spec.demo)}" if spec.demo != field.default else ""
    source = f"; source: {spec.source}" if spec.source else ""
    return f"{spec.help}{unit}{choices} (default: {typed(field.default)}{demo}{_range_text(spec)}{source})"


def _range_text(spec: SettingSpec) -> str:
    if spec.minimum is None and spec.maximum is None:
        return ""
    if spec.maximum is None:
        return f"; at least {spec.minimum}"
    return f"; at most {spec.maximum}" if spec.minimum is None else f"; {spec.minimum} to {spec.maximum}"


def _check_range(field: dataclasses.Field, value: Any) -> None:
    spec, flag = spec_of(field), "--" + field.name.replace("_", "-")
    takes_numbers = field.type == float | str
    if spec.choices and value not in spec.choices and (isinstance(value, str) or not takes_numbers):
        hint, range_text = suggestion(str(value), list(spec.choices)), _range_text(spec).lstrip("; ")
        numbers = f", or a number: {range_text or 'finite'}" if takes_numbers else ""
        raise ConfigError(f"{flag} is '{value}'{hint and '.' + hint}\nGive one of: {', '.join(spec.choices)}{numbers}")
    if isinstance(value, str):
        return
    endless = isinstance(value, float) and not math.isfinite(value)
    below = spec.minimum is not None and value < spec.minimum
    above = spec.maximum is not None and value > spec.maximum
    if endless or below or above:
        raise ConfigError(
            f"{flag} is {value}\nGive a value in this range: {_range_text(spec).lstrip('; ') or 'finite'}"
        )


def _parser_for(annotation: Any) -> Any:
    if get_origin(annotation) is tuple:
        element = get_args(annotation)[0]

        def parse_tuple(text: str) -> tuple:
            return tuple(element(item) for item in text.split(",")) if text else ()

        parse_tuple.__name__ = f"comma-separated {element.__name__}"  # argparse shows it in its message
        return parse_tuple
    if annotation == float | str:
        return _number_or_word
    assert annotation in (int, float, str), f"a setting of type {annotation} cannot be a flag"
    return annotation


def _number_or_word(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
