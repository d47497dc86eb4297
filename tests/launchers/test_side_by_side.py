"""Covers pipeline --jobs: phases at the same time, what they wait for, and how they stop, fail and go on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT, command, in_whole_sweeps, write_problems

from common.launch.running import context_for
from common.launch.side_by_side import Step
from common.launch.slices import STOPPED
from run import CATALOGUE, PHASES

# run.py pipeline, of phases that the first word names.
SOME = """
import sys
from common.cli import exit_with
from common.launch.pipeline import run_in_order
from run import CATALOGUE
ids = sys.argv.pop(1).split(",")
exit_with(lambda words: run_in_order(CATALOGUE, ids, words, "pipeline"))
"""
TWO = ["--preset", "demo", "--jobs", "2"]
PATIENCE_S = 120


def begin(ids: str, *words: object) -> subprocess.Popen:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    typed = [sys.executable, "-c", SOME, ids, *map(str, words)]
    return subprocess.Popen(typed, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE)


def outcome(ids: str, *words: object) -> tuple[int, list[str]]:
    """Status, and the lines that were printed."""
    process = begin(ids, *words)
    lines = process.communicate(timeout=PATIENCE_S)[1].splitlines()
    return process.returncode, lines


def until(process: subprocess.Popen, pattern: str) -> str:
    """The line that has it, once it is printed."""
    assert process.stderr
    return next(line for line in process.stderr if re.search(pattern, line))


def contents_of(data: Path) -> dict[str, str]:
    manifests = [json.loads(path.read_text()) for path in data.glob("phase*/*/manifest.json")]
    return {manifest["phase"]: manifest["content_sha256"] for manifest in manifests}


def steps_of_all() -> list[Step]:
    return [Step(context_for(CATALOGUE.phase(phase_id), [])[0], []) for phase_id in PHASES]


def test_every_phase_that_reads_saes_of_ones_own_waits_for_their_training():
    common = {"0", "0.1", "1", "1.1", "1.3"}
    needs = {step.id: step.needs(common) for step in steps_of_all() if "sae" in vars(step.context.config)}
    assert len(needs) > 10 and not [one for one, needed in needs.items() if "1.3" in needed]
    for phase_id in needs:
        context, _ = context_for(CATALOGUE.phase(phase_id), ["--sae", "own"])
        assert "1.3" in Step(context, []).needs(common), phase_id


def test_no_phase_needs_one_behind_it():
    seen: set[str] = set()
    for step in steps_of_all():
        assert step.needs(list(PHASES)) <= seen, step.id
        seen.add(step.id)
    assert {"3.1", "3.2"} < next(step for step in steps_of_all() if step.id == "3.3").needs(list(PHASES))


def test_what_is_made_is_what_is_made_one_by_one(tmp_path):
    """And each line says which phase it is of, while several run; cores are shared, where nobody chose threads."""
    ids = "0,0.1,1.1,5.1,5.2"
    flags = {"1.1": ["--documents", "20"], "5.2": ["--threads", str(max(1, (os.cpu_count() or 1) // 3))]}
    together, alone = tmp_path / "together", tmp_path / "alone"
    words = ["--preset", "demo", "--documents", 20, "--threads", 0, "--jobs", 3, "--data-dir", together]
    status, lines = outcome(ids, *words)
    assert status == 0, lines
    flags["1.1"] += flags["5.2"]
    for phase_id in ids.split(","):
        typed = ["--preset", "demo", *flags.get(phase_id, []), "--data-dir", alone]
        assert command("run.py", "phase", phase_id, *typed).returncode == 0
    made = contents_of(together)
    assert set(made) == set(ids.split(",")) and made == contents_of(alone)
    order = [(line.split(" | ")[0], " wrote " in line) for line in lines if " | " in line]
    assert order.index(("0", True)) < order.index(("0.1", False))
    assert order.index(("5.1", True)) < order.index(("5.2", False))
    assert order.index(("1.1", False)) < order.index(("0", True))


@pytest.mark.sweep
@in_whole_sweeps
def test_after_one_that_fails_those_that_run_are_finished_and_none_is_begun(tmp_path):
    row = {"task_id": 7, "text": "Write a function to add one.", "code": "def f(n): return n"}
    wrong = write_problems(tmp_path / "wrong.jsonl", [{**row, "test_list": ["assert f(1) == 2"]}])
    words = ["--preset", "demo", "--documents", 400, "--jobs", 2, "--data-dir", tmp_path]
    status, lines = outcome("0,1.1,0.1,5.1", *words, "--dataset", wrong)
    text = "\n".join(lines)
    assert status == 2 and re.search(r"^0 \| error: .*7", text, re.MULTILINE), text
    assert "phase 0 ended with status 2: phase 1.1 is finished first, and no other begun" in text
    assert set(contents_of(tmp_path)) == {"1.1"} and "0.1 |" not in text
    again = "phase 0 failed. Go on with: python3 run.py pipeline --preset demo --documents 400 --jobs 2 --data-dir"
    assert again in text


@pytest.mark.sweep
@in_whole_sweeps
def test_a_stop_signal_reaches_each_phase_which_saves_and_goes_on_later(tmp_path):
    words = [*TWO, "--documents", 400, "--batch-size", 8, "--data-dir", tmp_path]
    process = begin("0,1.1,5.1", *words)
    until(process, r"^1\.1 \| .*writing ")
    until(process, r"^5\.1 \| .*wrote ")
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == STOPPED and re.search(r"^1\.1 \| .*stopped", rest, re.MULTILINE), rest
    assert "phase 1.1 was stopped. Go on with: python3 run.py pipeline --preset demo --jobs 2" in rest
    _, lines = outcome("0,1.1,5.1", *words)
    assert not [line for line in lines if re.match(r"(0|5\.1) \| .* wrote ", line)]
    assert set(contents_of(tmp_path)) == {"0", "1.1", "5.1"}


def test_a_phase_that_is_killed_is_told_as_a_shell_would(tmp_path):
    process = begin("1.1", *TWO, "--documents", 400, "--batch-size", 8, "--data-dir", tmp_path)
    until(process, r"^1\.1 \| .*writing ")
    [child] = children_of(process.pid)
    os.kill(child, signal.SIGKILL)
    rest = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 128 + signal.SIGKILL and "phase 1.1 ended with status 137" in rest


def children_of(pid: int) -> list[int]:
    """Processes that carry out a phase: they lead sessions of their own below the one that forks them."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        table = subprocess.run(["ps", "-eo", "pid,ppid,sid"], text=True, capture_output=True, check=True).stdout
        rows = [tuple(map(int, line.split())) for line in table.splitlines()[1:]]
        below = {one for one, parent, _ in rows if parent == pid}
        if leaders := [one for one, parent, session in rows if parent in below and one == session]:
            return leaders
        time.sleep(0.1)
    return []


def test_fewer_than_one_at_a_time_is_refused_before_anything_runs(tmp_path):
    done = command("run.py", "phase", "3", "--jobs", "0", "--data-dir", tmp_path / "data")
    assert done.returncode == 2 and "--jobs is 0" in done.stderr and not (tmp_path / "data").exists()
