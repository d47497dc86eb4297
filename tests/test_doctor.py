"""Covers run.py doctor: what a machine has, its labels, a model and its SAEs; each thing in a line, with what to do."""

import importlib.metadata
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import ROOT, cold_command, command

from common.launch.doctor import machine
from common.launch.doctor.finding import BAD, GOOD, WORTH_KNOWING, Finding
from common.launch.doctor.machine import libraries, on_the_hub, room
from common.launch.doctor.model import about_model

PROBLEM = {"task_id": 5, "text": "t", "code": "def g(n):\n    return -n", "test_list": ["assert g(2) == -2"]}
WRONG = {**PROBLEM, "task_id": 6, "test_list": ["assert g(2) == 2"]}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_it_judges_reference_solutions_and_names_the_ones_that_fail(tmp_path):
    good = cold_command("run.py", "doctor", "--dataset", write(tmp_path / "good.jsonl", PROBLEM))
    assert good.returncode == 0 and "1 of 1 reference solutions of good pass" in good.stdout, good.stderr
    bad = command("run.py", "doctor", "--dataset", write(tmp_path / "bad.jsonl", PROBLEM, WRONG))
    assert bad.returncode == 1 and "1 of 2 reference" in bad.stdout
    assert "problem 6 is incorrect: wrong_answer" in bad.stdout and re.search(r"\d wrong", bad.stdout)


def test_every_line_says_of_what_it_is_and_how_it_stands(tmp_path):
    done = command("run.py", "doctor", "--dataset", write(tmp_path / "good.jsonl", PROBLEM))
    *lines, last = done.stdout.splitlines()
    assert {line.split()[1] for line in lines} >= {"libraries", "devices", "room", "sandbox", "labels"}
    assert all(line.split()[0] in ("ok", "note", "BAD") for line in lines)
    n_notes = sum(line.startswith("note") for line in lines)
    assert last == ("all is well" if n_notes == 0 else f"0 wrong, {n_notes} worth knowing")


def test_versions_are_compared_with_the_tested_ones(tmp_path, monkeypatch):
    [whole] = libraries()
    assert whole.state == GOOD
    required, pinned = tmp_path / "requirements.txt", tmp_path / "constraints.txt"
    required.write_text("-c constraints.txt\n# words\nnumpy>=2\nnot-there>=1\nscipy>=1\n# tests\npytest\n")
    here = importlib.metadata.version("scipy")
    pinned.write_text(f"numpy==1.0\nscipy=={here}\npytest==1.0\n")
    monkeypatch.setattr(machine, "REQUIREMENTS", required)
    monkeypatch.setattr(machine, "CONSTRAINTS", pinned)
    missing, other = libraries()
    assert missing.state == BAD and missing.words == "missing: not-there" and "pip install" in missing.advice
    assert other.state == WORTH_KNOWING and other.words.endswith("(tested: 1.0)") and "scipy" not in other.words


def test_little_disk_is_worth_knowing(tmp_path, monkeypatch):
    assert str(tmp_path) in room(tmp_path / "data" / "of" / "a run").words
    monkeypatch.setattr(machine, "LITTLE_DISK", 1e18)
    found = room(tmp_path)
    assert found.state == WORTH_KNOWING and "--data-dir" in found.advice


def test_a_model_that_is_nowhere_says_so(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = on_the_hub("no-such/model")
    assert found.state == BAD and "no-such/model" in found.words and found.advice


def test_a_sound_model_agrees_with_transformer_lens_and_its_saes_fit():
    found = {one.what: one for one in about_model("organism", "auto", "cpu")}
    assert {one.state for one in found.values()} == {GOOD}, found
    assert float(re.search(r"within (\S+) of", found["agreement"].words)[1]) < 1e-5
    assert re.search(r"layer 3: FVU 0\.\d\d; its makers: 0\.\d\d", found["SAEs"].words)


def test_saes_that_do_not_fit_and_models_that_are_none_are_bad(tmp_path):
    broken = tmp_path / "saes"
    shutil.copytree(ROOT / "model_organism" / "weights" / "saes", broken)
    for path in broken.rglob("*.safetensors"):
        weights = load_file(path)
        weights["W_dec"] = torch.roll(weights["W_dec"], 1, 0)
        save_file(weights, path)
    found = {one.what: one for one in about_model("organism", str(broken), "cpu")}
    assert found["SAEs"].state == BAD and found["SAEs"].advice
    [nothing] = about_model(str(tmp_path / "none"), "auto", "cpu")
    assert nothing.state == BAD and nothing.advice


@pytest.mark.parametrize(("state", "mark"), [(GOOD, "ok"), (WORTH_KNOWING, "note"), (BAD, "BAD")])
def test_a_finding_is_one_line(state, mark):
    assert str(Finding("room", state, "words", "Do this")).split(maxsplit=2) == [mark, "room", "words. Do this"]
