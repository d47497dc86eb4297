"""Covers monitor.Watch: time that a program could not use is not held against it."""

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from common.sandbox.monitor import BLOCKED, Outcome, Watch
from common.sandbox.programs import Limits

LIMITS = Limits(cpu_s=1.0, blocked_s=1.0)


@pytest.fixture
def watched() -> Iterator[Callable[..., Outcome]]:
    """watched(act) is the outcome of a child that does it; `disk_use` is called at every tick."""

    def watch(act: Callable[[], object], disk_use: Callable[[], int] = lambda: 0) -> Outcome:
        answers, result = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setpgid(0, 0)
                act()
            finally:
                os._exit(0)
        os.close(result)
        return Watch(pid, answers, LIMITS, disk_use).run()

    yield watch


def test_a_child_that_sleeps_too_long_is_stopped(watched):
    outcome = watched(lambda: time.sleep(30))
    assert outcome.stopped_for == BLOCKED and outcome.wall_s < 10


def test_the_time_in_which_its_server_did_not_run_is_not_its_own(watched):
    pauses = iter([1.5])

    def disk_use() -> int:
        time.sleep(next(pauses, 0.0))
        return 0

    outcome = watched(lambda: time.sleep(2.0), disk_use)
    assert outcome.stopped_for is None and outcome.wall_s > 1.5


def test_work_that_a_late_server_sees_is_no_credit_for_sleep(watched):
    def work_and_sleep() -> None:
        while time.process_time() < 0.9:
            pass
        time.sleep(30)

    def disk_use() -> int:
        time.sleep(0.6)
        return 0

    outcome = watched(work_and_sleep, disk_use)
    assert outcome.stopped_for == BLOCKED and outcome.wall_s < 15


def test_no_disk_is_waited_for_without_end(watched, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    action = (os.POSIX_SPAWN_OPEN, 0, str(fifo), os.O_RDONLY, 0)
    outcome = watched(lambda: os.posix_spawn("/bin/true", ["true"], {}, file_actions=[action]))
    assert outcome.stopped_for == BLOCKED and 3 < outcome.wall_s < 15


def test_the_time_in_which_it_waits_for_a_disk_is_not_its_own(watched, tmp_path):
    """posix_spawn leaves its caller in the state of one who waits for a disk, until a fifo gets its writer."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    opened = threading.Timer(2.0, lambda: os.close(os.open(fifo, os.O_RDWR)))

    def spawn() -> None:
        os.posix_spawn("/bin/true", ["true"], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 0, str(fifo), os.O_RDONLY, 0)])

    opened.start()
    outcome = watched(spawn)
    opened.join()
    assert outcome.stopped_for is None and outcome.wall_s > 1.5 and outcome.blocked_s < 0.5
