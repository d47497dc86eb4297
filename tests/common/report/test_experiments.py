"""Covers common/report/experiments.py and common/phases/command_line.py: experiments of a folder, and commands that
tell them.
"""

import shlex
from pathlib import Path

import pytest

from common.handoffs import DIFFICULTY, GENERAL_TEXT, GENERATIONS, LATENTS, SCHEMAS, TRANSFER, ArtifactSchema
from common.report.experiments import experiments_in
from common.report.what_to_type import phase_command
from common.runs.discovery import RunFolder, describe

DATA = Path("data")


def a_run(second: int, preset: str = "full", **typed: str) -> RunFolder:
    """A run whose identities are what was typed, with a hash."""
    experiment = {key: f"{name}@01234567" for key, name in typed.items()}
    document = {"experiment": experiment, "preset": preset, "all_settings": typed}
    return RunFolder(Path(f"2026-01-01T00-00-{second:02}Z_x"), True, document)


def words(schema: ArtifactSchema, *runs: RunFolder) -> list[list[str]]:
    """What is told to build the artifact in each of the experiments, behind 'python3 run.py phase ID'."""
    found = experiments_in(runs)
    return [shlex.split(phase_command(schema, known.settings, known.preset, DATA))[4:] for known in found]


def test_a_dataset_alone_is_an_experiment_with_the_preset_s_model():
    assert words(GENERATIONS, a_run(1, dataset="my problems.jsonl")) == [["--dataset", "my problems.jsonl"]]
    assert words(LATENTS, a_run(1, preset="demo", dataset="organism")) == [["--preset", "demo"]]


def test_saes_that_were_used_last_belong_to_what_the_model_wrote():
    runs = [a_run(1, dataset="d"), a_run(2, model="m", dataset="d"), a_run(3, model="m")]
    assert words(LATENTS, *runs) == [["--model", "m", "--dataset", "d"]]
    runs += [a_run(4, model="m", dataset="d", sae="s")]
    assert words(LATENTS, *runs) == [["--model", "m", "--dataset", "d", "--sae", "s"]]
    assert words(GENERAL_TEXT, *runs) == [["--model", "m"]]
    assert words(GENERATIONS, *runs) == [["--model", "m", "--dataset", "d"]]
    assert words(DIFFICULTY, *runs) == [["--dataset", "d"]]


def test_experiments_of_several_models_problems_and_saes_stay_apart():
    runs = [a_run(1, dataset="d"), a_run(2, model="m", dataset="d"), a_run(3, model="n", dataset="d")]
    runs += [
        a_run(4, model="n", dataset="d", sae="s"),
        a_run(5, model="n", dataset="d", sae="t"),
        a_run(6, dataset="e"),
    ]
    told = words(LATENTS, *runs)
    assert ["--dataset", "e"] in told and ["--model", "m", "--dataset", "d"] in told
    assert all(["--model", "n", "--dataset", "d", "--sae", sae] in told for sae in "st")


def test_a_model_that_has_read_general_text_alone_is_meant_for_the_folder_s_problems():
    assert words(GENERATIONS, a_run(1, dataset="d"), a_run(2, model="m")) == [["--model", "m", "--dataset", "d"]]
    assert words(LATENTS, a_run(2, model="m")) == [["--model", "m"]]


def test_what_the_preset_says_is_not_told_again():
    runs = [a_run(1, preset="demo", model="organism", dataset="organism", sae="auto")]
    assert all(words(schema, *runs) == [["--preset", "demo"]] for schema in SCHEMAS if schema != TRANSFER)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.phase)
def test_a_folder_with_a_space_is_quoted(schema):
    line = phase_command(schema, {"model": "a b", "dataset": "c'd", "sae": "$x"}, "full", Path("my data"))
    told = shlex.split(line)
    assert told[-2:] == ["--data-dir", "my data"]
    assert [name in told for name in ("a b", "c'd", "$x")] == [
        key in schema.scope for key in ("model", "dataset", "sae")
    ]
    assert ("--to" in told) == (schema == TRANSFER)


def test_general_text_tells_neither_problems_nor_saes():
    assert GENERAL_TEXT.scope == ("model",)
    assert words(GENERAL_TEXT, a_run(1, model="m", dataset="d")) == [["--model", "m"]]


def test_only_the_form_of_prompts_is_told_as_such():
    names = {"model": "m@01234567", "dataset": "chat-logs@01234567"}
    assert describe(GENERATIONS, names) == "m on chat-logs"
    assert describe(GENERATIONS, {**names, "prompt": "chat"}) == "m on chat-logs, chat prompts"
