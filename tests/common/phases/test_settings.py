"""Covers common/phases/settings.py: presets, flags, ranges."""

import argparse
from dataclasses import dataclass

import pytest

from common.errors import ConfigError
from common.phases.settings import (
    PhaseConfig,
    add_flags,
    build_config,
    differences_from_preset,
    result_settings,
    setting,
)


@dataclass(frozen=True, kw_only=True)
class ExampleConfig(PhaseConfig):
    steps: int = setting(2000, "how many", demo=400, unit="steps", minimum=1, maximum=5000)
    rates: tuple[float, ...] = setting((0.3, 0.6), "which rates", minimum=0.0)
    mode: str = setting("fast", "which way", choices=("fast", "exact"))
    verbose: bool = setting(False, "say more", changes_results=False)
    limit: float | str = setting("auto", "how far", minimum=0.0, maximum=1.0, choices=("auto",))


def parse(*words: str) -> dict:
    parser = argparse.ArgumentParser()
    add_flags(parser, ExampleConfig)
    return vars(parser.parse_args(words))


def test_a_flag_beats_the_preset_and_the_preset_beats_nothing():
    assert build_config(ExampleConfig, "full", parse()).steps == 2000
    assert build_config(ExampleConfig, "demo", parse()).steps == 400
    assert build_config(ExampleConfig, "demo", parse("--steps", "7")).steps == 7


def test_tuples_are_written_with_commas_and_switches_have_two_forms():
    assert build_config(ExampleConfig, "full", parse("--rates", "0.1,2")).rates == (0.1, 2.0)
    assert build_config(ExampleConfig, "full", parse("--verbose")).verbose is True
    assert build_config(ExampleConfig, "full", parse("--no-verbose")).verbose is False


@dataclass(frozen=True, kw_only=True)
class SignedConfig(PhaseConfig):
    weights: tuple[float, ...] = setting((1.0,), "which weights", minimum=-1.0, maximum=1.0)
    offset: float = setting(0.0, "how far")


@pytest.mark.parametrize("words", [["--weights", "-1.0,-.5,0,1.0"], ["--weights=-1.0,-.5,0,1.0"]])
def test_a_list_may_begin_with_a_negative_number(words):
    parser = argparse.ArgumentParser()
    add_flags(parser, SignedConfig)
    assert vars(parser.parse_args([*words, "--offset", "-1e-3"])) == {
        "weights": (-1.0, -0.5, 0.0, 1.0),
        "offset": -1e-3,
    }
    with pytest.raises(SystemExit):
        parser.parse_args(["--weights", "-x"])


def test_some_settings_take_a_number_or_a_word():
    assert build_config(ExampleConfig, "full", parse()).limit == "auto"
    assert build_config(ExampleConfig, "full", parse("--limit", "auto")).limit == "auto"
    assert build_config(ExampleConfig, "full", parse("--limit", "2e-2")).limit == 0.02
    assert ExampleConfig(limit=1).limit == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--steps", "0"), r"--steps is 0\n.*1 to 5000"),
        (("--steps", "9999"), r"--steps is 9999\n.*1 to 5000"),
        (("--rates", "0.5,-1"), r"--rates is -1.0\n.*at least 0"),
        (("--rates", "nan"), r"--rates is nan"),
        (("--mode", "slow"), r"--mode is 'slow'\n.*fast, exact"),
        (("--limit", "1.5"), r"--limit is 1.5\n.*0.0 to 1.0"),
        (("--limit", "nan"), r"--limit is nan\n"),
        (("--limit", "atuo"), r"--limit is 'atuo'.*auto.*\nGive one of: auto, or a number: 0.0 to 1.0"),
    ],
)
def test_impossible_values_are_refused_with_value_and_range(words, message):
    with pytest.raises(ConfigError, match=message):
        build_config(ExampleConfig, "full", parse(*words))


def test_an_unknown_preset_is_refused_with_the_ones_there_are():
    with pytest.raises(ConfigError, match=r"'big'.*\n.*full, demo"):
        build_config(ExampleConfig, "big", {})


def test_what_differs_from_the_preset_is_told():
    config = build_config(ExampleConfig, "demo", parse("--mode", "exact"))
    assert differences_from_preset(config, "demo") == {"mode": "exact"}
    assert differences_from_preset(config, "full") == {"mode": "exact", "steps": 400}


def test_settings_that_do_not_change_results_do_not_bind_a_resumed_run():
    assert result_settings(build_config(ExampleConfig, "full", {})) == {
        "steps": 2000,
        "rates": [0.3, 0.6],
        "mode": "fast",
        "limit": "auto",
    }
