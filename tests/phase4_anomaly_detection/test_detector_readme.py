"""Covers the README of phase 4, whose examples run and whose commands exist, and that of a detector."""

import json
import re
import shlex
import shutil

import pytest
from small_detectors import shared_detector
from support import ROOT, cold_command, command

import phase4_anomaly_detection
import run
from phase4_anomaly_detection.model_card import model_card

TEXT = (ROOT / "phase4_anomaly_detection" / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for line in TEXT.splitlines() if line.startswith("    python3 run.py")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where somebody stands who has made a detector."""
    where = tmp_path_factory.mktemp("where")
    shutil.copytree(shared_detector(tmp_path_factory), where / "my_detector")
    return where


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_each_python_example_runs(number, folder, tmp_path):
    """The first from an interpreter that imports all that it needs."""
    code = f"import os, sys\nsys.path.insert(0, {str(ROOT)!r})\nos.chdir({str(folder)!r})\n{EXAMPLES[number]}"
    script = tmp_path / "example.py"
    script.write_text(code)
    done = command(script) if number else cold_command(script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_knows_its_flags(line):
    words = shlex.split(line)[2:]
    if words[0] == "phase":
        assert words[1] in run.PHASES
        words = words[:2]
    else:
        words = words[:1]
    flags = [word for word in shlex.split(line) if word.startswith("--")]
    shown = command("run.py", *words, "--help")
    assert shown.returncode == 0 and all(flag in shown.stdout for flag in flags), shown.stderr


def test_there_is_an_example_of_every_class_and_a_command_of_every_kind():
    shown = "\n".join(EXAMPLES)
    shown_nowhere = {name for name in phase4_anomaly_detection.__all__ if name not in shown}
    assert shown_nowhere <= {"Detection", "DetectorConfig"}
    assert {"phase", "discover", "detect", "serve"} <= {shlex.split(line)[2] for line in COMMANDS}


def test_a_card_names_a_models_folder_and_not_where_it_lies(folder, tmp_path):
    document = json.loads((folder / "my_detector" / "detector.json").read_text())
    (tmp_path / "coder").mkdir()
    text = model_card({**document, "model": {**document["model"], "name": str(tmp_path / "coder")}})
    assert "# Detector of failures of coder, block" in text and str(tmp_path) not in text
