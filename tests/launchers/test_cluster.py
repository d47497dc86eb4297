"""Covers common/launch/cluster.py and --cluster where no Slurm is needed: flags, a job and its worker, --cluster
local.
"""

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import cloudpickle
import pytest
from runs import content, end, n_saved, newest, save_records, start, wait_until, workers_of
from support import command

from common.errors import ConfigError
from common.launch import cluster
from common.launch.cluster import Resources, SliceJob
from common.launch.slices import TRIES, Ended, failure_text, log_of
from multi_gpu_launcher import device_of_jobs

LAUNCHER = ("multi_gpu_launcher.py", "--phase", "1")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("0:40", 40), ("4:00:00", 14400), ("1-12", 129600), ("1-0:30", 88200), ("1-0:0:5", 86405)],
)
def test_a_time_limit_is_read_as_slurm_reads_it(text, seconds):
    assert Resources(gpus=1, cpus=1, time=text).seconds == seconds


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"time": "soon"}, "--slurm-time is 'soon'\nGive minutes"),
        ({"time": "0"}, "--slurm-time is '0'"),
        ({"mem": "much"}, "--slurm-mem is 'much'\n.*32G"),
        ({"gpus": -1}, "--slurm-gpus is -1\nGive 0 or more"),
        ({"cpus": 0}, "--slurm-cpus is 0\nGive 1 or more"),
    ],
)
def test_impossible_resources_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Resources(**{"gpus": 1, "cpus": 1, **wrong})


def test_the_device_is_the_jobs_and_not_the_login_node_s():
    """The device is that of the jobs and not that of the login node."""
    assert device_of_jobs("slurm", None, None, here="cpu") == ("cuda", 1)
    assert device_of_jobs("slurm", 0, None, here="cuda") == ("cpu", 0)
    assert device_of_jobs("slurm", None, "cpu", here="cuda") == ("cpu", 0)
    assert device_of_jobs("slurm", 2, "auto", here="cpu") == ("cuda", 2)
    assert device_of_jobs("local", None, None, here="cpu") == ("cpu", 0)
    with pytest.raises(ConfigError, match=r"--device is 'cpu'.* --slurm-gpus is 1\n.*--slurm-gpus 0"):
        device_of_jobs("slurm", 1, "cpu", here="cpu")


def test_the_commands_of_the_jobs_name_their_device_and_their_threads(begun, flags):
    at = flags.index("--threads")
    words = [*LAUNCHER, "--cluster", "slurm", *flags[:at], *flags[at + 4 :], "--data-dir", begun, "--dry-run"]
    assert "--device" not in words and "--threads" not in words
    done = command(*words)
    assert done.returncode == 0 and "10 slices for 4 jobs at a time" in done.stdout, done.stderr
    assert done.stdout.count("--device cuda --start") == 10 and "--threads" not in done.stdout
    done = command(*words, "--slurm-gpus", 0, "--slurm-cpus", 3)
    assert done.stdout.count("--threads 3 --device cpu --start") == 10


def test_a_machine_without_sbatch_is_told_what_to_do(begun, flags, tmp_path):
    launcher = start(
        *LAUNCHER, "--cluster", "slurm", *flags, "--data-dir", begun, environment={**os.environ, "PATH": str(tmp_path)}
    )
    rest = launcher.communicate(timeout=60)[1]
    assert launcher.returncode == 2 and "Traceback" not in rest
    assert re.search(r"--cluster is 'slurm'.* no sbatch\n.*login node.*--cluster", rest)
    assert not (begun / "phase1_0").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--slurm-gpus", 1], r"--slurm-gpus .*\n.*--cluster slurm"),
        (["--cluster", "slurm", "--gpus", "0,1"], r"--gpus is '0,1'.*\n.*--slurm-gpus 1"),
        (["--cluster", "slurm", "--workers", 0], r"--workers is 0.*jobs.*\n.*1 or more"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(begun, flags, words, message):
    done = command(*LAUNCHER, *words, *flags, "--data-dir", begun)
    assert done.returncode == 2 and re.search(message, done.stderr)


def test_a_failed_slice_is_reported_with_the_end_of_its_log(tmp_path):
    """A slice that failed is reported with the last twenty lines of its log."""
    log_of(tmp_path, (5, 9)).write_text("".join(f"line {i}\n" for i in range(30)))
    text = failure_text(Ended((5, 9), -9, 3), tmp_path)
    assert "records 5 to 9 ended with status -9 (3 of 3 tries)" in text
    assert [line for line in text.splitlines() if line.startswith("line ")] == [f"line {i}" for i in range(10, 30)]


@pytest.fixture
def job_of(tmp_path, monkeypatch):
    """Makes the job of a worker that is a few lines of Python; this process then plays Slurm's job."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM)}

    def make(code: str) -> SliceJob:
        return SliceJob([sys.executable, "-c", code], (5, 9), tmp_path, tmp_path)

    yield make
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("status", "starts"), [(0, 1), (2, 1), (7, TRIES)])
def test_a_job_starts_a_worker_again_only_when_that_may_help(job_of, tmp_path, status, starts):
    job = job_of(f"import sys; open('starts', 'a').write(' '.join(sys.argv[1:]) + '\\n'); sys.exit({status})")
    assert job() == (status, starts)
    assert (tmp_path / "starts").read_text().splitlines() == ["--start 5 --end 9"] * starts


SAVES_WHEN_ASKED = """
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.5)
    open('saved', 'a').write('once\\n')
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
pathlib.Path('ready').touch()
time.sleep(60)
"""


def at_the_worker_s_ready(path: Path, act) -> None:
    """Call `act` in a signal handler of this process, soon after the worker has begun."""

    def handle(*_signal: object) -> None:
        if (path / "ready").exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            act()

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)


def test_a_job_whose_time_is_up_saves_and_is_requeued(job_of, tmp_path):
    """A job whose time is up has its worker save before it goes back to the queue."""
    job, kept = job_of(SAVES_WHEN_ASKED), []

    def time_is_up() -> None:
        kept.append(job.checkpoint())
        assert (tmp_path / "saved").read_text() == "once\n"

    at_the_worker_s_ready(tmp_path, time_is_up)
    with pytest.raises(SystemExit):  # no result: the job is not over
        job()
    again = cloudpickle.loads(cloudpickle.dumps(kept[0])).function
    assert (again.command, again.piece, again.child, again.is_ending) == (job.command, (5, 9), None, False)


def test_a_job_that_is_asked_twice_to_end_asks_its_worker_once(job_of, tmp_path):
    at_the_worker_s_ready(tmp_path, lambda: [os.kill(os.getpid(), signal.SIGUSR1) for _ in range(2)])
    with pytest.raises(SystemExit) as ended:
        job_of(SAVES_WHEN_ASKED)()
    assert ended.value.code == 130 and (tmp_path / "saved").read_text() == "once\n"


def test_a_job_that_comes_after_the_run_was_finished_starts_nothing(job_of, tmp_path):
    (tmp_path / "manifest.json").touch()
    assert job_of("import sys; sys.exit(7)")() == (0, 1)


def test_local_jobs_stopped_and_continued_give_the_same_bytes(whole, begun, flags):
    """The cluster's way on this machine, stopped and continued, gives the same bytes."""
    words = (*LAUNCHER, "--cluster", "local", *flags, "--data-dir", begun)
    save_records(begun, flags, (0, 49))  # which leaves two slices
    launcher = start(*words)
    try:
        wait_until(lambda: n_saved(begun) > 50, launcher)
        os.killpg(launcher.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
        began, rest = time.monotonic(), launcher.communicate(timeout=60)[1]
    finally:
        end(launcher)
    assert launcher.returncode == 130 and time.monotonic() - began < 30, rest
    assert 50 < n_saved(begun) < 100 and not workers_of(begun)
    done = command(*rest.split("Continue with: python3 ")[1].split())
    assert done.returncode == 0, done.stderr
    assert content(newest(begun / "phase1_0")) == content(newest(whole / "phase1_0"))


def test_a_job_that_cannot_be_done_is_reported_with_its_reason(begun, flags, tmp_path):
    at = flags.index("--model") + 1
    broken = shutil.copytree(flags[at], tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"not a model")
    words = [*flags[:at], str(broken), *flags[at + 1 :], "--end", "9"]
    done = command(*LAUNCHER, "--cluster", "local", *words, "--data-dir", begun)
    assert done.returncode == 2 and "its last lines" in done.stderr and "cannot be loaded" in done.stderr
    assert "(1 of 3 tries)" in done.stderr


def test_jobs_find_the_project_from_whatever_folder_they_are_started():
    assert (cluster.ROOT / "run.py").is_file() and (cluster.ROOT / "common").is_dir()
