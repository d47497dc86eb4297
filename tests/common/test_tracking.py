"""Covers pipeline --report-to: what a tracker is told, and that nothing it does wrong ends a run.

Packages of trackers are the user's. Where one is installed it is used, offline; what it is told, and what happens when
it fails, is seen with a module in its place that writes down what it is called with.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT, write_problems

from common.errors import ConfigError
from common.launch.pipeline import main, run_in_order
from common.launch.tracking import TRACKERS, tracker_of
from run import CATALOGUE

RECORDER = """
calls = []
def init(**told): calls.append(("init", told))
def log(told, step): calls.append(("log", told, step))
def finish(): calls.append(("finish",))
"""
FAILING = (
    RECORDER
    + """
def log(told, step): raise RuntimeError("no network")
"""
)
REAL = """
import sys
import time
from pathlib import Path
from common.handoffs import DIFFICULTY
from common.launch.tracking import tracker_of
tracker = tracker_of(sys.argv[1], ["pipeline"])
tracker.phase_ended(DIFFICULTY, Path(sys.argv[2]), 1.5)
tracker.close()
"""


@pytest.fixture
def in_its_place(tmp_path, monkeypatch):
    """Puts a module of this text in the place of trackio; gives it once it is imported."""

    def put(text: str):
        (tmp_path / "trackio.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        sys.modules.pop("trackio", None)
        return importlib.import_module("trackio")

    yield put
    sys.modules.pop("trackio", None)


@pytest.fixture
def words(tmp_path, small_problem_rows):
    dataset = write_problems(tmp_path / "few.jsonl", small_problem_rows)
    return ["--dataset", str(dataset), "--data-dir", str(tmp_path / "data")]


def run_two_phases(words: list[str]) -> int:
    with contextlib.closing(tracker_of("trackio", ["pipeline", *words])) as tracker:
        return run_in_order(CATALOGUE, ["0", "0.1"], words, "pipeline", ended=tracker.phase_ended)


def test_every_phase_is_a_step_with_its_seconds_and_the_numbers_of_its_summary(in_its_place, words):
    module, data = in_its_place(RECORDER), Path(words[-1])
    assert run_two_phases(words) == 0
    (_, begun), (_, first, one), (_, second, two), (last,) = module.calls
    assert begun["project"] == "pva-sae" and words[1] in begun["config"]["command"]
    for phase, told in {"0": first, "0.1": second}.items():
        [manifest] = data.glob(f"phase{phase.replace('.', '_')}/*/manifest.json")
        summary = json.loads(manifest.read_text())["summary"]
        numbers = {f"{phase}/{name}": value for name, value in summary.items() if isinstance(value, int | float)}
        assert numbers and told == {f"{phase}/seconds": told[f"{phase}/seconds"], **numbers}
        assert told[f"{phase}/seconds"] > 0
    assert first["0/problems"] > 0 and (one, two, last) == (1, 2, "finish")


def test_what_was_built_before_is_no_number_of_this_run(in_its_place, words):
    """Nor what the newest run of another experiment found."""
    module = in_its_place(RECORDER)
    assert not any(CATALOGUE.command("phase")([phase_id, *words]) for phase_id in ("0", "0.1"))
    time.sleep(1.1)  # ends of runs are noted to the second
    assert run_two_phases(words) == 0
    assert [list(call[1]) for call in module.calls if call[0] == "log"] == [["0/seconds"], ["0.1/seconds"]]


def test_a_tracker_that_fails_is_named_once_and_the_run_goes_on(in_its_place, words, capsys):
    in_its_place(FAILING)
    assert run_two_phases(words) == 0
    assert capsys.readouterr().err.count("trackio failed (no network): the run goes on") == 1


@pytest.mark.parametrize(("name", "message"), [("wandbb", "wandb"), ("trackio", "pip install trackio")])
def test_a_tracker_that_is_not_here_is_an_error_before_anything_runs(monkeypatch, words, name, message):
    monkeypatch.setitem(sys.modules, "trackio", None)  # whether it is installed or not
    with pytest.raises(ConfigError, match=message):
        main([*words, "--report-to", name], CATALOGUE)
    assert not Path(words[-1]).exists()


def test_a_run_that_is_only_looked_at_has_no_tracker(monkeypatch, words, capsys):
    monkeypatch.setitem(sys.modules, "trackio", None)
    assert main(["--help", "--report-to", "trackio"], CATALOGUE) == 0
    assert "--report-to" in capsys.readouterr().out


@pytest.mark.parametrize("name", TRACKERS)
def test_the_real_package_takes_what_it_is_told(name, words, tmp_path):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    assert CATALOGUE.command("phase")(["0", *words]) == 0
    home = {"HOME": str(tmp_path), "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "TRACKIO_DIR": str(tmp_path)}
    words = [sys.executable, "-c", REAL, name, words[-1]]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(sys.path), **home}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "failed" not in done.stderr, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".db", ".wandb", ".parquet")]
