"""Watch one child from outside: read its answers, stop it at a limit, measure what it used."""

import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from common.sandbox.programs import Limits

TICK_S = 0.1
# A tick that took longer means that the server itself did not run (suspended, starved): not the child's time, but for
# what the child was at work in it.
LONGEST_TICK_S = 2 * TICK_S
MOST_DISK_TIMES = 3  # so many times the limit on blocked time may pass in waiting for a disk
LEAVING_S = 1.0  # how long a program may take to see that its tests are over, or to reach a limit that says why

CPU, BLOCKED, WALL, FLOOD, DISK, THREADS = "cpu", "blocked", "wall", "flood", "disk", "threads"


@dataclass(frozen=True)
class Outcome:
    """What a child sent and how it ended. `stopped_for` is the limit that the server stopped it at."""

    answers: bytes
    stopped_for: str | None
    exit_code: int  # negative: the signal that killed it
    cpu_s: float
    wall_s: float
    blocked_s: float


class Clocks:
    """On-CPU seconds and seconds waiting for a core, summed over all threads of a process.

    `on_disk`: whether one of its threads waits for a disk or a network folder (state D) at the last reading.
    """

    def __init__(self, pid: int) -> None:
        self.process = f"/proc/{pid}"
        self.by_thread: dict[str, tuple[int, int]] = {}
        self.available = False
        self.n_threads = 1
        self.on_disk = False

    def read(self) -> tuple[float, float]:
        """(on CPU, waiting). Threads that ended keep what was last seen of them."""
        self.available = os.path.exists(f"{self.process}/schedstat")
        try:
            threads = os.listdir(f"{self.process}/task")
        except OSError:
            threads = []
        self.n_threads = len(threads)
        self.on_disk = False
        for thread in threads:
            try:
                with open(f"{self.process}/task/{thread}/schedstat", "rb") as file:
                    running, waiting, _ = file.read().split()
                with open(f"{self.process}/task/{thread}/stat", "rb") as file:
                    self.on_disk |= file.read().rpartition(b")")[2].split()[0] == b"D"
            except (OSError, ValueError):
                continue  # the thread ended between listing and reading
            self.by_thread[thread] = (int(running), int(waiting))
        totals = self.by_thread.values()
        return sum(run for run, _ in totals) / 1e9, sum(wait for _, wait in totals) / 1e9


class Watch:
    """One child's run. `disk_use` measures its scratch folder; `waits` says whether it is another process's turn.

    `is_over`: whether nothing that it does counts any more.
    """

    def __init__(
        self,
        pid: int,
        answers_fd: int,
        limits: Limits,
        disk_use: Callable[[], int],
        waits: Callable[[], bool] = lambda: False,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self.pid, self.fd, self.limits, self.disk_use = pid, answers_fd, limits, disk_use
        self.waits, self.is_over = waits, is_over
        self.answers = bytearray()
        self.clocks = Clocks(pid)
        self.started = self.last_tick = time.monotonic()
        self.elapsed = self.used = self.on_disk = self.blocked = 0.0
        self.over_since: float | None = None

    def run(self) -> Outcome:
        """Until the child closes its end, exits or reaches a limit; then it is killed and reaped."""
        os.set_blocking(self.fd, False)
        ended = _pidfd(self.pid)
        poll = select.poll()
        for fd in (self.fd, ended):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        stopped_for: str | None = None
        while stopped_for is None:
            ready = {fd for fd, _ in poll.poll(TICK_S * 1000)}
            open_end = self.drain() if ready else True
            if not open_end or ended in ready or self.outstays():
                break  # no more answers can come, even if a thread or a grandchild lives on
            stopped_for = self.tick()
            if len(self.answers) > self.limits.answer_bytes:
                stopped_for = FLOOD
        if len(self.answers) > self.limits.answer_bytes:
            stopped_for = FLOOD
        return self.finish(stopped_for, ended)

    def outstays(self) -> bool:
        """Whether it is still there some time after nothing that it does counts any more."""
        if not self.is_over():
            return False
        self.over_since = self.over_since or time.monotonic()
        return time.monotonic() - self.over_since > LEAVING_S

    def drain(self) -> bool:
        """Read what is there, to the cap. False when the writing end is closed."""
        while len(self.answers) <= self.limits.answer_bytes:
            try:
                chunk = os.read(self.fd, 1 << 18)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self.answers += chunk
        return True

    def tick(self) -> str | None:
        """Advance the clocks; the name of the limit that is now passed, if any."""
        now = time.monotonic()
        if now - self.last_tick < TICK_S / 2:
            return None
        real, self.last_tick = now - self.last_tick, now
        running, waiting = self.clocks.read()
        at_work, self.used = running + waiting - self.used, running + waiting
        lasted = 0.0 if self.waits() else min(real, max(LONGEST_TICK_S, at_work))
        self.elapsed += lasted
        if self.clocks.on_disk:  # a slow disk is the machine's fault, as a busy core is
            self.on_disk = min(self.on_disk + lasted, MOST_DISK_TIMES * self.limits.blocked_s)
        if self.clocks.available:
            self.blocked = max(0.0, self.elapsed - running - waiting - self.on_disk)
        else:  # without schedstat only elapsed time is left, and load can flip a label
            self.blocked = max(0.0, self.elapsed - self.limits.cpu_s)
        if running > self.limits.cpu_s:
            return CPU
        if self.blocked > self.limits.blocked_s:
            return BLOCKED
        if self.elapsed > self.limits.wall_s:
            return WALL
        if self.clocks.n_threads > self.limits.threads:
            return THREADS
        return DISK if self.disk_use() > self.limits.scratch_bytes else None

    def finish(self, stopped_for: str | None, ended: int | None) -> Outcome:
        exited_alone = stopped_for is None and _ends_soon(self.pid, ended)
        for kill, target in ((os.killpg, self.pid), (os.kill, self.pid)):
            try:
                kill(target, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.fd)
        if ended is not None:
            os.close(ended)
        code = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime
        if stopped_for is None and (code == -signal.SIGXCPU or cpu > self.limits.cpu_s):
            stopped_for = CPU
        if code == -signal.SIGKILL and not exited_alone and stopped_for is None:
            code = 0  # it had closed its answers and was only cleaned up
        wall = time.monotonic() - self.started
        return Outcome(bytes(self.answers), stopped_for, code, cpu, wall, self.blocked)


def _pidfd(pid: int) -> int | None:
    """A descriptor that is readable once the process ended; None on kernels before 5.3."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _ends_soon(pid: int, ended: int | None) -> bool:
    """Whether the process ends by itself in the moment that an exit takes after the last answer."""
    if ended is not None:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        return bool(poll.poll(TICK_S * 1000))
    deadline = time.monotonic() + TICK_S
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True
