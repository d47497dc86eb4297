"""Covers crashes, full disks, stop signals and many runs at once: after each, the same command gives the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import command, swept, write_problems

pytestmark = pytest.mark.sweep
SWEEPS = Path(__file__).with_name("sweeps.py")


def sweep(name: str, folder: Path, *words: object) -> dict[str, int]:
    """Figures of one sweep; see sweeps.py, whose runs are forks of a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(SWEEPS), name, str(folder / "sweep"), *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("phase", ["8", "9"])
def test_a_run_killed_at_any_file_operation_goes_on_to_the_same_bytes(phase, tmp_path, figures):
    found = sweep(f"crash-{phase}", tmp_path)
    assert found["faults"] > swept(40, 5)
    where = {"8": "a phase without records", "9": "a phase with records"}[phase]
    figures.add("kills at a file operation", where, n=found["faults"])


def test_phase_1_killed_at_file_operations_goes_on_to_the_same_bytes(tmp_path, small_problem_rows, tiny_gemma, figures):
    problems = write_problems(tmp_path / "problems.jsonl", small_problem_rows[:24])
    flags = ["--dataset", problems, "--model", tiny_gemma, "--threads", 1, "--max-new-tokens", 8, "--batch-size", 8]
    found = sweep("crash-1", tmp_path, *flags)
    assert found["faults"] > swept(10, 2)
    figures.add("kills at a file operation", "phase 1", n=found["faults"])


def test_grading_killed_at_file_operations_goes_on_to_the_same_labels(tmp_path, figures):
    found = sweep("crash-grade", tmp_path)
    assert found["faults"] > swept(10, 2)
    figures.add("kills at a file operation", "grade", n=found["faults"])


@pytest.mark.parametrize("phase", ["8", "9"])
def test_a_disk_that_fills_up_at_any_file_operation_costs_nothing_but_time(phase, tmp_path, figures):
    found = sweep(f"full-{phase}", tmp_path)
    assert found["faults"] > swept(40, 5)
    where = {"8": "a phase without records", "9": "a phase with records"}[phase]
    figures.add("full disks", where, n=found["faults"])


def test_a_limit_on_file_sizes_is_a_message(tmp_path, small_dataset, figures):
    """A limit on file sizes is a message and the run goes on without it."""
    words = ["run.py", "phase", "0", "--dataset", small_dataset, "--data-dir", tmp_path / "data"]
    limited = subprocess.run(
        ["bash", "-c", 'ulimit -f 4; trap "" XFSZ; exec "$@"', "bash", sys.executable, *map(str, words)],
        cwd=SWEEPS.parents[2],
        capture_output=True,
        text=True,
    )
    assert limited.returncode == 2 and "File too large" in limited.stderr and "Traceback" not in limited.stderr
    assert not list((tmp_path / "data").glob("phase0/*/manifest.json"))
    assert command(*words).returncode == 0
    figures.add("full disks", "a limit on file sizes", n=1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_small_disk_is_a_message(tmp_path, small_dataset, figures):
    """A small disk that is full is a message and the run goes on once there is room."""
    data = tmp_path / "data"
    data.mkdir()
    script = """
mount -t tmpfs -o size=12k none "$1" || exit 77
shift; "$@"; first=$?; mount -o remount,size=4m "$DATA" && "$@" && exit $((first + 100))
"""
    words = [sys.executable, "run.py", "phase", "0", "--dataset", small_dataset, "--data-dir", data]
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script, "bash", str(data), *map(str, words)],
        cwd=SWEEPS.parents[2],
        capture_output=True,
        text=True,
        env={**os.environ, "DATA": str(data)},
    )
    if done.returncode in (1, 77):
        pytest.skip(f"this machine mounts no small file system: {done.stderr.strip()[:200]}")
    assert done.returncode == 102, done.stderr  # the first ended with 2, the second well
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
    figures.add("full disks", "a small file system", n=1)


def test_a_run_stopped_at_any_moment_goes_on_to_the_same_bytes(tmp_path, figures):
    found = sweep("signals", tmp_path)
    assert found["signals"] == swept(200, 16) and found["stopped"] >= swept(50, 1)
    figures.add("stop signals", "a phase with records", n=found["signals"])


def test_of_runs_that_begin_together_one_works_and_the_others_name_it(tmp_path, figures):
    found = sweep("together", tmp_path)
    assert found == {"runs": 22, "refused": 20}
    figures.add("runs at once on one folder", "2 and 20", n=found["runs"])
