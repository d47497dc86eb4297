"""Run a program that looks at code: a process of its own, with a time limit, resource limits and capped output.

These limits are against hanging and hunger, not against malice: what executes the code under check is confined
besides (symbolic.py). Processor time decides, so that a loaded machine changes no answer; elapsed time is bounded
by ELAPSED times as much, and by what is left for the whole verification.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.sandbox.judge import signal_name
from common.sandbox.programs import MIB

ELAPSED = 3  # seconds on the clock for a second of processor time
OUTPUT_BYTES = 1 * MIB
OPTIONS = ("-s", "-P", "-B", "-X", "utf8", "-W", "ignore")  # of Python: no user site, nothing from the working folder
# Limits are set by the new process itself: between fork and exec of a process with threads nothing else may run.
_LAUNCH = """import os, resource, sys
cpu, memory = int(sys.argv[1]), int(sys.argv[2])
for kind, limit in ((resource.RLIMIT_CPU, cpu), (resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0),
                    (resource.RLIMIT_FSIZE, 64 << 20)):
    ceiling = resource.getrlimit(kind)[1]
    if limit >= 0 and (ceiling == resource.RLIM_INFINITY or limit < ceiling):
        resource.setrlimit(kind, (limit, limit))
os.execv(sys.argv[3], sys.argv[3:])
"""


class Patience:
    """How long one verification may take in all, from `begin` on; any thread may end it before, with `stop`."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._deadline = time.monotonic() + seconds
        self.stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        """The time runs from now."""
        self._deadline = time.monotonic() + self.seconds

    @property
    def left_s(self) -> float:
        return 0.0 if self.stopped else max(0.0, self._deadline - time.monotonic())

    @property
    def ended_by(self) -> str | None:
        """Why nothing more is to be looked at, once that is so."""
        if self.stopped:
            return "nobody waits for it any more"
        return None if self.left_s > 0 else f"the verification's {self.seconds:g} s are over"

    def stop(self) -> None:
        """End the process that runs now; none starts after it."""
        with self._lock:
            self.stopped = True
            if self._process is not None:
                _kill(self._process)

    @contextlib.contextmanager
    def watching(self, process: "subprocess.Popen[bytes]") -> Iterator[None]:
        """While this is open, `stop` ends that process; it may be reaped only afterwards."""
        with self._lock:
            self._process = process
            if self.stopped:
                _kill(process)
        try:
            yield
        finally:
            with self._lock:
                self._process = None


@dataclass(frozen=True)
class Finished:
    """How a process ended. `stopped_for`: why it was ended from outside, if it was; `status`: negative for signals."""

    status: int
    output: bytes
    stopped_for: str | None

    def reason(self) -> str:
        """Why there is no answer."""
        if self.stopped_for is not None:
            return self.stopped_for
        if self.status < 0:
            return f"ended by {signal_name(-self.status)}"
        return f"ended with status {self.status}"


def run_limited(
    command: Sequence[str],
    folder: str,
    patience: Patience,
    *,
    cpu_s: float,
    memory_bytes: int | None,
    stdin: bytes = b"",
) -> Finished:
    """Run `command` in `folder`, with standard error beside standard output, and wait for it.

    `memory_bytes` is of address space (None: no limit). `patience` may end it before its time is over.
    """
    seconds = min(ELAPSED * cpu_s, patience.left_s)
    if seconds <= 0:
        return Finished(-signal.SIGKILL, b"", patience.ended_by)
    limits = [str(max(1, round(cpu_s))), str(-1 if memory_bytes is None else memory_bytes)]
    with tempfile.TemporaryFile(dir=folder) as given:
        given.write(stdin)
        given.seek(0)
        words = [sys.executable, *OPTIONS, "-S", "-c", _LAUNCH, *limits, *command]
        out, err, env = subprocess.PIPE, subprocess.STDOUT, environment(folder)
        process = subprocess.Popen(words, cwd=folder, env=env, process_group=0, stdin=given, stdout=out, stderr=err)
    with process:
        with patience.watching(process):
            try:
                output, stopped_for = _read(process, seconds)
            finally:
                _kill(process)
        return Finished(process.wait(), output, patience.ended_by if patience.stopped else stopped_for)


def environment(folder: str) -> dict[str, str]:
    """The whole environment of the new process: nothing of ours, with `folder` for home and temporary files."""
    usual = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
    alone = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    return {**usual, "HOME": folder, "TMPDIR": folder, **alone}


def _read(process: "subprocess.Popen[bytes]", seconds: float) -> tuple[bytes, str | None]:
    """What it writes until it ends or is to be ended, and why it is."""
    output, deadline = bytearray(), time.monotonic() + seconds
    assert process.stdout is not None  # it is a pipe
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                ended = _ends(process.pid, max(deadline, time.monotonic() + 0.1))
                return bytes(output), None if ended else f"it did not end within {round(seconds, 1):g} s"
            output += chunk
            if len(output) > OUTPUT_BYTES:
                return bytes(output[:OUTPUT_BYTES]), f"it wrote more than {OUTPUT_BYTES // MIB} MiB"
    return bytes(output), f"no answer within {round(seconds, 1):g} s"


def _ends(pid: int, deadline: float) -> bool:
    """Whether it ends by then. It is not reaped: until that its number, and its group's, belong to nobody else."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End it, where it still runs, and what it started in its group."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(process.pid, signal.SIGKILL)
