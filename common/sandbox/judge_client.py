"""The pipeline's end of one judge process."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from dataclasses import asdict
from typing import IO

from common.errors import SandboxError
from common.sandbox import framing, interpreter, scratch
from common.sandbox.confinement import Setup
from common.sandbox.programs import Program
from common.sandbox.verdict import Verdict

_CLOSING_S = 5


class JudgeDied(Exception):
    """The judge process ended in the middle of a program. `ran` holds the program's times, if it had run."""

    def __init__(self, status: int, ran: dict[str, float] | None) -> None:
        super().__init__(f"the judge process ended, status {status}")
        self.status, self.ran = status, ran


class JudgeClient:
    """Starts a judge, asks it for one verdict at a time, starts another when it dies."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.process: interpreter.Piped | None = None
        self.scratch = ""
        self._stderr: IO[bytes] | None = None  # of a judge that is begun and not waited for
        self._ending = threading.Lock()
        self._closed = False
        self._owner_pid = os.getpid()

    def start(self) -> interpreter.Piped:
        """Raises: SandboxError with what the judge, its server or their interpreter said."""
        self.begin()
        return self.wait_until_ready()

    def begin(self) -> None:
        """Start the judge, which is not ready before `wait_until_ready`: several get ready at the same time.

        Raises: SandboxError where there is no Python.
        """
        self._stderr = tempfile.TemporaryFile()
        process = interpreter.start("judge_process", tempfile.gettempdir(), self._stderr, new_session=True)
        self.process = process
        config = {"setup": self.setup.to_json(), "pipeline_pid": os.getpid()}
        with contextlib.suppress(framing.ChannelClosed, ValueError, OSError):  # it is told when it is waited for
            framing.send(process.stdin.fileno(), config)

    def wait_until_ready(self) -> interpreter.Piped:
        """Raises: SandboxError, as `start`, and where the sandbox was closed meanwhile."""
        (process, stderr), self._stderr = (self.process, self._stderr), None
        self._check_open()
        assert process is not None and stderr is not None, "a judge is begun before it is waited for"
        with stderr:
            try:
                ready = framing.receive(process.stdout.fileno())
            except (framing.ChannelClosed, ValueError, OSError):  # the last two: closed by close()
                self._check_open()
                status = process.wait()
                stderr.seek(0)
                words = stderr.read().decode("utf-8", "replace").strip().splitlines()
                ready = {"failed": f"its judge ended with status {status}: {words[-1] if words else 'no message'}"}
        if "failed" in ready:
            self._end()
            raise SandboxError(
                f"the sandbox could not start at level {self.setup.level}/3: {ready['failed']}\n"
                "To run programs all the same, with nothing but limits around them: --sandbox none"
            )
        self.scratch = ready["scratch"]
        return process

    def _check_open(self) -> None:
        """Raises: SandboxError once it is closed, which another thread may do at any moment."""
        if self._closed:
            raise SandboxError("the sandbox was closed while a program ran\nSubmit the program again")

    def grade(self, program: Program) -> Verdict:
        """The verdict; not_run when two judges in a row failed on this program."""
        reason = ""
        for _ in range(2):
            self._check_open()
            try:
                return self._ask(program, self.process or self.start())
            except JudgeDied as death:
                self._end()
                if death.ran is not None:
                    return _too_costly(death.ran)
                reason = str(death)
        return _not_run(reason)

    def _ask(self, program: Program, process: interpreter.Piped) -> Verdict:
        ran = None
        try:
            framing.send(process.stdin.fileno(), asdict(program))
            while True:
                message = framing.receive(process.stdout.fileno())
                if "ran" in message:
                    ran = message["ran"]
                elif "verdict" in message:
                    return Verdict(**message["verdict"])
                elif "not_run" in message:
                    return _not_run(message["not_run"])
                else:
                    raise framing.ChannelClosed(message.get("failed", ""))
        except (framing.ChannelClosed, ValueError, OSError):  # the last two: closed by close()
            status = process.wait()
            by_own_limit = status in (-signal.SIGPROF, -signal.SIGSEGV)
            raise JudgeDied(status, ran if by_own_limit else None) from None

    def _end(self) -> None:
        """End the process, which takes its server and its children with it, and clear what it leaves."""
        if os.getpid() != self._owner_pid:
            return  # a process forked from the pipeline holds a copy of this object, and no right to end it
        with self._ending:
            process, self.process = self.process, None
            if self._stderr is not None:
                self._stderr.close()
            if process is None:
                return
            process.stdin.close()
            try:
                process.wait(_CLOSING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
            if self.scratch:
                scratch.remove(self.scratch)
                self.scratch = ""

    def close(self) -> None:
        """End the judge; a program in the middle of its run gets no verdict."""
        self._closed = True
        self._end()


def _not_run(reason: str) -> Verdict:
    return Verdict("not_run", None, None, reason, cpu_s=0.0, wall_s=0.0, near_limit=False)


def _too_costly(ran: dict[str, float]) -> Verdict:
    message = "comparing the values takes more time or stack than the judge has"
    return Verdict("incorrect", "wrong_answer", None, message, near_limit=False, **ran)
