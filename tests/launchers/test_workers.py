"""Covers multi_gpu_launcher.py on one machine: workers that die."""

import signal
import time

import pytest
from runs import content, end, kill, n_saved, newest, save_records, start, wait_until, workers_of
from support import in_whole_sweeps

pytestmark = pytest.mark.sweep


@in_whole_sweeps
def test_a_killed_worker_is_started_again_with_the_same_bytes(whole, begun, flags, figures):
    """A worker killed in the middle, with another slice to come, is started again and the bytes are the same."""
    save_records(begun, flags, (0, 49))
    launcher = start("multi_gpu_launcher.py", "--phase", "1", "--workers", 1, *flags, "--data-dir", begun)
    try:
        wait_until(lambda: n_saved(begun) > 50 and workers_of(begun), launcher)
        victim, first = max(workers_of(begun).items())
        kill(victim)
        wait_until(lambda: any(pid != victim and at == first for pid, at in workers_of(begun).items()), launcher)
        rest = launcher.communicate(timeout=120)[1]
    finally:
        end(launcher)
    assert launcher.returncode == 0 and "is tried again (try 2 of 3)" in rest, rest
    assert content(newest(begun / "phase1_0")) == content(newest(whole / "phase1_0"))
    figures.add("workers killed", "of the launcher", n=1)


def test_a_worker_that_always_dies_is_reported_after_three_tries(begun, flags, figures):
    """A worker that always dies is reported after three tries with the end of its log."""
    words = ("--phase", "1", "--start", 20, "--end", 29, *flags, "--data-dir", begun)
    launcher, killed = start("multi_gpu_launcher.py", *words), []
    log = "phase1_0/*/locks/worker_000020_000029.log"
    try:
        while launcher.poll() is None:
            if any(path.read_text().count("settings: ") > len(killed) for path in begun.glob(log)):
                killed += workers_of(begun)
                kill(killed[-1])
            time.sleep(0.05)
        rest = launcher.communicate()[1]
    finally:
        end(launcher)
    assert launcher.returncode == 1 and len(killed) == 3
    assert f"records 20 to 29 ended with status {-signal.SIGKILL} (3 of 3 tries)" in rest
    shown = rest.split("_000029.log:\n")[1].split("\nMend the cause")[0].splitlines()
    assert shown == next(begun.glob(log)).read_text().splitlines()[-20:] and any("settings: " in line for line in shown)
    assert not workers_of(begun)
    figures.add("workers killed", "of the launcher", n=3)


def test_a_part_of_the_records_is_saved_and_not_called_written(begun, flags):
    """The launcher says what is there when others' slices are still missing."""
    words = ("--phase", "1", "--workers", 1, "--start", 20, "--end", 22, *flags, "--data-dir", begun)
    launcher = start("multi_gpu_launcher.py", *words)
    said = launcher.communicate(timeout=120)[1]
    assert launcher.returncode == 0 and "saved 3 of " in said and "wrote " not in said
