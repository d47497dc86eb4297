"""Covers multi_gpu_launcher.py --cluster slurm, on a real Slurm of one node that the tests start and stop."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from runs import (
    content,
    end,
    kill,
    n_saved,
    newest,
    parent_of,
    processes_of,
    save_records,
    start,
    wait_until,
    workers_of,
)
from slurm.one_node import NoSlurm, one_node_slurm, why_not
from support import command, in_whole_sweeps

pytestmark = [pytest.mark.sweep, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]
JOBS = ("multi_gpu_launcher.py", "--phase", "1", "--cluster", "slurm", "--slurm-cpus", 1, "--workers", 1)


@pytest.fixture(scope="module")
def slurm():
    """The environment in which sbatch finds the Slurm of these tests."""
    try:
        with one_node_slurm() as environment:
            yield environment
    except NoSlurm as reason:
        pytest.skip(str(reason))


def type_in(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(words, env=environment, text=True, capture_output=True, timeout=60, check=True)
    return done.stdout.strip()


def jobs_of(environment: dict[str, str]) -> list[str]:
    """Ids of the arrays that are queued or at work."""
    return sorted(set(type_in(environment, "squeue", "--noheader", "--format=%F").split()))


def finish_alone(data: Path, flags: list[str]) -> Path:
    """The same run, continued without a cluster."""
    done = command("run.py", "phase", "1", *flags, "--data-dir", data)
    assert done.returncode == 0, done.stderr
    assert "continuing, with" in done.stderr
    return newest(data / "phase1_0")


def break_off_two(environment: dict[str, str], data: Path, launcher: subprocess.Popen) -> int:
    """Hold the second slice in its middle until its time is up, and pre-empt a later one; whichever runs first."""
    held: list[int] = []
    preempted: list[int] = []

    def look() -> bool:
        for pid, first in workers_of(data).items():
            if first == 30 and not held and list(data.glob("phase1_0/*/parts/part_000030_*")):
                os.kill(pid, signal.SIGSTOP)
                held.append(pid)
            if first >= 50 and not preempted:  # as when another job needs its place
                job = f"{jobs_of(environment)[0]}_{[0, 30, 50, 80].index(first)}"
                type_in(environment, "scontrol", "requeue", job)
                preempted.append(first)
        return bool(held and preempted)

    wait_until(look, launcher)
    return held[0]


@in_whole_sweeps
def test_broken_off_jobs_are_requeued_and_the_bytes_are_the_same(slurm, whole, begun, flags, figures):
    """Jobs that run out of time, die or are pre-empted go back to the queue and the bytes are the same."""
    words = (*JOBS[:-1], 2, "--slurm-time", "0:40", *flags, "--data-dir", begun)
    save_records(begun, flags, (10, 29), (60, 79))  # which leaves four slices of eight
    launcher = start(*words, environment=slurm)
    try:
        wait_until(lambda: 0 in workers_of(begun).values(), launcher)
        dying = next(pid for pid, first in workers_of(begun).items() if first == 0)
        kill(parent_of(dying))  # a job's own process: nobody is left to give a result
        held = break_off_two(slurm, begun, launcher)
        wait_until(lambda: "SIGUSR2" in "".join(p.read_text() for p in begun.glob("phase1_0/.jobs/*/*.err")), launcher)
        os.kill(held, signal.SIGCONT)
        rest = launcher.communicate(timeout=180)[1]
    finally:
        end(launcher)
    assert launcher.returncode == 0, rest
    restarts = re.findall(r"Restarts=(\d+)", type_in(slurm, "scontrol", "--oneliner", "show", "jobs"))
    n_requeued = sum(int(n) > 0 for n in restarts)
    assert n_requeued >= 3, "one job died, one ran out of time, and one was pre-empted; a busy machine makes more"
    assert "ended without a result" in rest
    run = newest(begun / "phase1_0")
    assert content(run) == content(newest(whole / "phase1_0"))
    assert sum(process["n_records"] for process in processes_of(run)) == 100
    assert not jobs_of(slurm) and not (run.parent / ".jobs").exists()
    figures.add("requeues by a real Slurm", "a dead job, a time limit, a pre-emption", n=n_requeued)


@in_whole_sweeps
def test_a_job_cancelled_by_somebody_else_keeps_its_work(slurm, whole, begun, flags):
    launcher = start(*JOBS, *flags, "--data-dir", begun, environment=slurm)
    try:
        wait_until(lambda: n_saved(begun), launcher)
        saved = set(begun.glob("phase1_0/*/parts/part_*"))
        type_in(slurm, "scancel", *jobs_of(slurm))
        rest = launcher.communicate(timeout=120)[1]
    finally:
        end(launcher)
    assert launcher.returncode == 130 and "was cancelled: records" in rest, rest
    assert "Continue with: python3 multi_gpu_launcher.py --phase 1 --cluster slurm" in rest
    assert saved <= set(begun.glob("phase1_0/*/parts/part_*")) and not workers_of(begun)
    assert content(finish_alone(begun, flags)) == content(newest(whole / "phase1_0"))


def test_jobs_of_a_killed_launcher_are_not_submitted_twice(slurm, whole, begun, flags):
    """Jobs of a killed launcher are not submitted twice and a stopped one has them save."""
    words = (*JOBS, *flags, "--data-dir", begun)
    launcher = start(*words, environment=slurm)
    try:
        wait_until(lambda: workers_of(begun), launcher)
        kill(launcher.pid)
        launcher.wait()
        (job,) = jobs_of(slurm)
        second = subprocess.run(launcher.args, env=slurm, cwd=Path(__file__).parents[2], text=True, capture_output=True)
        assert second.returncode == 2 and f": scancel {job}" in second.stderr, second.stderr
        assert jobs_of(slurm) == [job]
        type_in(slurm, "scancel", job)
        wait_until(lambda: not jobs_of(slurm))
    finally:
        end(launcher)
    launcher = start(*words, environment=slurm)
    try:
        before = n_saved(begun)
        wait_until(lambda: n_saved(begun) > before, launcher)
        os.kill(launcher.pid, signal.SIGINT)
        began, rest = time.monotonic(), launcher.communicate(timeout=60)[1]
    finally:
        end(launcher)
    assert launcher.returncode == 130 and "Continue with: " in rest, rest
    assert not jobs_of(slurm) and not workers_of(begun) and time.monotonic() - began < 40
    assert content(finish_alone(begun, flags)) == content(newest(whole / "phase1_0"))


def test_what_slurm_refuses_is_one_message(slurm, begun, flags):
    launcher = start(*JOBS, "--slurm-partition", "nowhere", *flags, "--data-dir", begun, environment=slurm)
    rest = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == 2 and re.search(r"Slurm refused .*\n.*sinfo .*--help", rest)
