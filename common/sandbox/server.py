"""The fork-server: a lean interpreter that forks one confined child per program, or per program's tests.

Exec'ed, never forked from the process that holds torch: forking a process of 1 GB costs 60 ms, and a
child would inherit its threads' locks and its secrets. A server of programs never holds an expected value:
tests have a server of their own. Requests come on descriptor 0, and sockets between a program and its tests on
a descriptor of their own; replies go to descriptor 1: one JSON frame, then the child's answers as they came.
"""

import _socket
import contextlib
import gc
import importlib
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from common.sandbox import framing, libc, monitor, namespaces, scratch, turns
from common.sandbox.child import FAILED, READY, RunTests, run_child
from common.sandbox.confinement import (
    MAX_DESCRIPTORS,
    NAMESPACES,
    SECCOMP,
    Confinement,
    Setup,
    die_with_parent,
    make_undumpable,
)
from common.sandbox.limits import lower

# Imported once here, so that a program's `import collections` costs nothing and needs no file. Not all that a
# program may import: each library makes every fork dearer (threading and shutil with theirs by a third).
OFFERED_MODULES = (
    "abc array bisect calendar cmath collections copy dataclasses datetime decimal enum fractions functools gc "
    "heapq io itertools json math operator random re statistics string struct textwrap time traceback types typing "
    "warnings"
).split()
_INT = struct.Struct("i")
# Imported once by a server whose programs or tests name them, so that each child need not.
_WHEN_NAMED = ("numpy", "unittest", "pytest", "asyncio")


def main(run_tests: RunTests | None = None, read_ahead: Callable[[dict[str, Any]], Any] | None = None) -> NoReturn:
    """Take the set-up from descriptor 0, get ready, then serve until the other end closes."""
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, replies = _move_channels()
    try:
        server = Server(framing.receive(requests), run_tests, read_ahead)
    except OSError as error:
        framing.send(replies, {"failed": str(error)})
        os._exit(1)
    framing.send(replies, {"ready": os.getpid()})
    try:
        while True:
            reply, answers = server.serve(framing.receive(requests))
            framing.send(replies, {**reply, "n_bytes": len(answers)})
            framing.send_bytes(replies, answers)
    except framing.ChannelClosed:
        os._exit(0)


def _move_channels() -> tuple[int, int]:
    """The request and reply channels on high descriptors, with /dev/null in their old places."""
    channels = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    return channels


class Server:
    """Forks, watches and reaps. One program at a time."""

    def __init__(
        self, config: dict[str, Any], run_tests: RunTests | None, read_ahead: Callable[[dict[str, Any]], Any] | None
    ) -> None:
        self.run_tests, self.read_ahead = run_tests, read_ahead
        setup = Setup.from_json(config["setup"])
        self.turn = turns.TURNS[config["role"]]
        self.sockets = _socket.socket(fileno=config["descriptors"])
        self.modules: set[str] = set()
        _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))  # the judge's own limit stays with the judge
        lower(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)
        for name in OFFERED_MODULES:
            importlib.import_module(name)
        if NAMESPACES in setup.layers:
            namespaces.enter(setup.home, setup.scratch)
        # After the namespaces, which fork: a server of programs keeps the page from what it forks.
        self.page = turns.open_page(config["turn"], for_children=run_tests is not None)
        os.close(config["turn"])
        self.setup = setup
        self.scratch = (scratch.InMemory if NAMESPACES in setup.layers else scratch.OnDisk)(setup.scratch, setup.limits)
        self.confinement = Confinement(setup)
        self.may_leave_strays = SECCOMP not in setup.layers
        if sys.platform == "linux":
            if self.may_leave_strays:
                libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
            with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")  # short of memory, the kernel takes a program before the pipeline
        make_undumpable()  # from here on, an ordinary user's own /proc/self cannot be written any more
        sys.argv = [""]
        _forget_own_modules()
        gc.collect()
        gc.freeze()  # children share these pages for good, and gc.get_objects() does not show them

    def serve(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """(reply, answers of the child). A reply with `failed` says that the sandbox broke."""
        sockets = self.take_sockets(request.pop("n_sockets", 0))
        try:
            self.import_what_is_named(request)
            if self.read_ahead is not None:
                self.read_ahead(request)
                gc.freeze()  # what it keeps is for children too; no cycles are made here
            if self.scratch.empty_or_replace():
                self.confinement.build_rules()
            outcome = self.run(request, sockets)
        except OSError as error:
            return {"failed": str(error)}, b""
        finally:
            for descriptor in sockets:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        if not outcome.answers.startswith(READY):
            reason = outcome.answers.removeprefix(FAILED).decode("utf-8", "replace")
            return {"failed": reason or f"the child ended before it was ready, status {outcome.exit_code}"}, b""
        reply = {
            "stopped_for": outcome.stopped_for,
            "exit_code": outcome.exit_code,
            "cpu_s": outcome.cpu_s,
            "wall_s": outcome.wall_s,
            "blocked_s": outcome.blocked_s,
        }
        return reply, outcome.answers[len(READY) :]

    def take_sockets(self, count: int) -> list[int]:
        """Descriptors of the sockets that belong to a request."""
        if not count:
            return []
        room = _socket.CMSG_SPACE(count * _INT.size)
        _, ancillary, _, _ = self.sockets.recvmsg(1, room)
        return [number for _, _, data in ancillary for (number,) in _INT.iter_unpack(data)]

    def import_what_is_named(self, request: dict[str, Any]) -> None:
        text = "\n".join([request.get("code", ""), request.get("setup", ""), *request.get("tests", ())])
        named = {name for name in _WHEN_NAMED if name in text} - self.modules
        for name in named:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        if named:
            self.modules |= named
            gc.collect()
            gc.freeze()

    def run(self, request: dict[str, Any], sockets: list[int]) -> monitor.Outcome:
        answers, result = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(answers)
            os.close(result)
            raise
        if pid == 0:
            run_child(request, self.confinement, result, sockets, self.page, self.run_tests)
        os.close(result)
        for descriptor in sockets:
            os.close(descriptor)  # so that the other end sees when the child is gone
        sockets.clear()
        turns_of = () if "calls" in request else (self.waits, self.is_over)
        outcome = monitor.Watch(pid, answers, self.setup.limits, lambda: self.scratch.used_bytes(pid), *turns_of).run()
        if self.may_leave_strays:
            _kill_strays()
        return outcome

    def waits(self) -> bool:
        """Whether the child may wait, because its program or its tests are at work."""
        return self.page[0] != self.turn

    def is_over(self) -> bool:
        """Whether the tests have ended, and the child is a program that they were about."""
        return self.run_tests is None and self.page[0] == turns.OVER


def _forget_own_modules() -> None:
    """`import common` in a program must fail as it would anywhere else."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "common"]:
        del sys.modules[name]


def _kill_strays(rounds: int = 50) -> None:
    """Kill and reap what a program forked and left behind: orphans become children of this process."""
    for _ in range(rounds):
        with contextlib.suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as file:
            for pid in file.read().split():
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)
