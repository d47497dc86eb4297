"""Run a program that looks at code: a process of its own, with a time limit, resource limits and capped output.

These limits are against hanging and hunger, not against malice: what executes the code under check is confined
besides (symbolic.py).
"""

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

MIB = 1 << 20
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
            return f"ended by {signal.Signals(-self.status).name}"
        return f"ended with status {self.status}"


def run_limited(
    command: Sequence[str], folder: str, *, seconds: float, memory_bytes: int | None, stdin: bytes = b""
) -> Finished:
    """Run `command` in `folder`, with standard error beside standard output, and wait for it.

    `seconds` bounds elapsed time and processor time alike; `memory_bytes` is of address space (None: no limit).
    """
    limits = [str(max(1, round(seconds))), str(-1 if memory_bytes is None else memory_bytes)]
    with tempfile.TemporaryFile(dir=folder) as given:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, *OPTIONS, "-S", "-c", _LAUNCH, *limits, *command],
            stdin=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
            env=environment(folder), close_fds=True, process_group=0,
        )  # fmt: skip
    with process:
        try:
            output, stopped_for = _read(process, seconds)
        finally:
            _kill(process)
        return Finished(process.wait(), output, stopped_for)


def environment(folder: str) -> dict[str, str]:
    """The whole environment of the new process: nothing of ours, with `folder` for home and temporary files."""
    return {
        "PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": folder, "TMPDIR": folder,
        "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1",
    }  # fmt: skip


def _read(process: "subprocess.Popen[bytes]", seconds: float) -> tuple[bytes, str | None]:
    """What it writes until it ends or is to be ended, and why it is."""
    output, deadline = bytearray(), time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                break
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                ended = _ends(process.pid, max(deadline, time.monotonic() + 0.1))
                return bytes(output), None if ended else f"it did not end within {seconds:g} s"
            output += chunk
            if len(output) > OUTPUT_BYTES:
                return bytes(output[:OUTPUT_BYTES]), f"it wrote more than {OUTPUT_BYTES // MIB} MiB"
    return bytes(output), f"no answer within {seconds:g} s"


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
