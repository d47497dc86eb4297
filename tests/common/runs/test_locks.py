"""Covers locks: who owns a slice, which dead owners are believed to be gone, and what a fork inherits."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from common.errors import PipelineError
from common.files import read_sealed_json, write_sealed_json
from common.runs.locks import describe_owner, in_use, lock_for_launcher, lock_slice, worked_on_by

NOTE = "locks/slice_000000_000009.owner"


def left_by(run: Path, **differences: object) -> None:
    """A lock that is free, with the note of an owner that did not end cleanly."""
    lock_slice(run, 0, 9).release()
    write_sealed_json(run / NOTE, {**describe_owner(), **differences})


def a_process_that_has_ended() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_clean_end_leaves_no_note(tmp_path):
    claim = lock_slice(tmp_path, 0, 9)
    assert in_use(tmp_path) and read_sealed_json(tmp_path / NOTE)["pid"] == os.getpid()
    claim.release()
    assert not in_use(tmp_path) and not (tmp_path / NOTE).exists()


def test_a_dead_owner_of_this_machine_is_forgotten(tmp_path):
    left_by(tmp_path, pid=a_process_that_has_ended())
    assert not in_use(tmp_path)
    lock_slice(tmp_path, 5, 20).release()


def test_a_process_that_took_a_dead_owner_s_number_is_not_the_owner(tmp_path):
    left_by(tmp_path, pid=os.getppid(), started="1")
    claim = lock_slice(tmp_path, 0, 9)
    assert read_sealed_json(tmp_path / NOTE)["pid"] == os.getpid()
    claim.release()


def test_a_live_owner_whose_lock_this_machine_does_not_see_is_believed(tmp_path):
    started = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]
    left_by(tmp_path, pid=os.getppid(), started=started)
    with pytest.raises(PipelineError, match=f"records 0 to 9 .*process {os.getppid()} on "):
        lock_slice(tmp_path, 3, 3)


@pytest.mark.parametrize("difference", [{"host": "node17"}, {"boot": "another start"}])
def test_an_owner_elsewhere_is_believed_until_its_note_goes(tmp_path, difference):
    """An owner of another machine or start is believed until its note is removed."""
    left_by(tmp_path, pid=a_process_that_has_ended(), **difference)
    assert in_use(tmp_path)
    with pytest.raises(PipelineError, match=r"records 0 to 9 .*process \d+ on .*\n.*: rm ") as refused:
        lock_slice(tmp_path, 3, 3)
    subprocess.run(shlex.split(str(refused.value).split("type: ")[1]), check=True)
    lock_slice(tmp_path, 3, 3).release()


def test_an_earlier_start_of_the_same_slurm_job_is_gone(tmp_path, monkeypatch):
    """An earlier start of the same Slurm job is gone on whatever node it ran."""
    left_by(tmp_path, host="node17", job="812", restarts=0)
    monkeypatch.setenv("SLURM_JOB_ID", "812")
    assert in_use(tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    lock_slice(tmp_path, 0, 9).release()


def test_a_damaged_note_beside_a_free_lock_is_nobody_s(tmp_path):
    left_by(tmp_path, host="node17")
    (tmp_path / NOTE).write_text((tmp_path / NOTE).read_text().replace("node17", "node18"))
    assert not in_use(tmp_path)
    claim = lock_slice(tmp_path, 0, 9)
    assert read_sealed_json(tmp_path / NOTE)["host"] == socket.gethostname()
    claim.release()


def test_a_child_that_outlives_its_owner_does_not_keep_the_lock(tmp_path):
    code = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from common.runs.locks import lock_slice
claim = lock_slice(Path({str(tmp_path)!r}), 0, 9)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.write(writing, b"1")  # it has forgotten the lock: on a busy machine that may take its time
    time.sleep(60)
os.read(reading, 1)
print(child, flush=True)
sys.stdin.read()
"""
    owner = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(owner.stdout.readline())
    with pytest.raises(PipelineError, match=f"process {owner.pid} on {re.escape(socket.gethostname())}"):
        lock_slice(tmp_path, 0, 9)
    owner.kill()
    owner.wait()
    lock_slice(tmp_path, 0, 9).release()
    os.kill(child, signal.SIGKILL)


def test_a_launcher_owns_the_whole_run(tmp_path):
    claim = lock_for_launcher(tmp_path)
    with pytest.raises(PipelineError, match=f"this run .*process {os.getpid()} "):
        lock_for_launcher(tmp_path)
    claim.release()
    lock_for_launcher(tmp_path).release()


def test_who_works_on_a_run_is_known_by_notes_which_stay_as_they_are(tmp_path):
    assert worked_on_by(tmp_path) == ""
    left_by(tmp_path, pid=a_process_that_has_ended())
    assert worked_on_by(tmp_path) == "" and (tmp_path / NOTE).exists()
    words = (
        "import sys, pathlib, common.runs.locks as l; l.lock_slice(pathlib.Path(sys.argv[1]), 0, 9); print(); input()"
    )
    typed = [sys.executable, "-c", words, str(tmp_path)]
    with subprocess.Popen(typed, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout and owner.stdout.readline() == "\n"
        assert worked_on_by(tmp_path) == f"process {owner.pid} on {socket.gethostname()}"
        owner.communicate("\n")
