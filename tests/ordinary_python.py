"""The label of a harmless program by one ordinary Python process: its code, then its tests."""

import contextlib
import io
import os
import resource
import signal

from common.sandbox import Program

CPU_S = 2


def passes(program: Program) -> bool | None:
    """Whether code, setup and tests run through in a fork of this process; None when it takes too long."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _run(program, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        found = answer.read()
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) in (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGALRM):
        return None
    return found == b"1"


def _run(program: Program, writing: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(20 * CPU_S)
    names = {"__name__": "program"}
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for source in (program.code, program.setup, *program.tests):
                exec(compile(source, "<program>", "exec", dont_inherit=True), names)
        os.write(writing, b"1")
    except BaseException:
        os.write(writing, b"0")
    os._exit(0)
