"""The judge's own process: it alone holds the expected values, and never runs candidate code.

    pipeline -> judge process -> server -> one forked child per program

A process of its own because comparing hostile values can cost any time and memory (a set of
colliding hashes, `10 ** f(1)`): its limits then kill a judge, and never the pipeline. One judge has
one server, restarts it when it dies, and retries the program once.
"""

import functools
import os
import resource
import select
import signal
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NoReturn

from common.sandbox import framing, interpreter, namespaces, scratch
from common.sandbox.asserts import TestPlan, plan_tests
from common.sandbox.confinement import NAMESPACES, Setup, make_undumpable
from common.sandbox.judge import judge
from common.sandbox.limits import lower, use_usual_stack
from common.sandbox.programs import MIB, Program

JUDGE_MEMORY_BYTES = 2048 * MIB
_POLL_MS = 1000
_SERVER_GRACE_S = 60
_CHANNELS = (0, 1)
_SIGNALLED = [-getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT")]


class ServerFailure(Exception):
    """The server is gone, silent, or could not set up a child."""


def main() -> NoReturn:
    """Take the set-up from descriptor 0, start a server, then judge until the pipeline is gone."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    use_usual_stack()
    make_undumpable()
    requests, replies = _CHANNELS
    config = framing.receive(requests)
    link = ServerLink(Setup.from_json(config["setup"]), requests, config["pipeline_pid"])
    _limit_memory()
    try:
        link.start()
        framing.send(replies, {"ready": os.getpid(), "scratch": link.own_scratch})
        while True:
            program = link.next_request()
            for message in judge_program(program, link):
                framing.send(replies, message)
    except ServerFailure as error:
        framing.send(replies, {"failed": str(error)})
    except framing.ChannelClosed:
        pass
    finally:
        link.close()
    os._exit(0)


def _limit_memory() -> None:
    """Cap this process only: the ceiling stays, and a server raises its own limit back to it."""
    _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
    lower(resource.RLIMIT_AS, JUDGE_MEMORY_BYTES, ceiling)


def judge_program(fields: dict[str, Any], link: "ServerLink") -> Iterator[dict[str, Any]]:
    """Yield {"ran": times} once the program has run, then {"verdict": ...} or {"not_run": reason}.

    The first message tells the pipeline, should comparing kill this process, that it was the comparing.
    """
    program = Program(**fields)
    limits = link.setup.limits
    plan = _plan(tuple(program.tests), program.setup, program.entry_point)
    try:
        reply, answers = link.run_with_retry(_request(program, plan))
    except ServerFailure as error:
        yield {"not_run": str(error)}
        return
    yield {"ran": {"cpu_s": round(reply["cpu_s"], 4), "wall_s": round(reply["wall_s"], 4)}}
    signal.setitimer(signal.ITIMER_PROF, limits.comparison_cpu_s)  # its default action kills this process
    verdict = judge(plan, reply, answers, limits, link.setup.scratch)
    signal.setitimer(signal.ITIMER_PROF, 0)
    yield {"verdict": asdict(verdict)}


# Temperatures and steering bring the same tests again and again; planning them is a tenth of a program's cost.
_plan = functools.lru_cache(maxsize=1024)(plan_tests)


def _request(program: Program, plan: TestPlan) -> dict[str, Any]:
    steps = [(step.statements, step.expressions) for step in plan.steps]
    return {"code": program.code, "setup": program.setup, "steps": steps, "required_names": plan.required_names}


class ServerLink:
    """The judge's end of its server, and of the pipeline that may disappear at any moment."""

    def __init__(self, setup: Setup, requests: int, pipeline_pid: int) -> None:
        self.own_scratch = ""
        if NAMESPACES in setup.layers:
            folder = namespaces.SCRATCH  # it exists inside the namespaces only
        else:
            folder = self.own_scratch = scratch.make()
        self.setup = Setup(setup.level, setup.limits, setup.home, folder)
        self.requests, self.pipeline_pid = requests, pipeline_pid
        self.process: interpreter.Piped | None = None

    def start(self) -> None:
        """Raises: ServerFailure, with what the server said."""
        self.process = interpreter.start("server", self.setup.scratch, stderr=2, new_session=False)
        try:
            framing.send(self.process.stdin.fileno(), self.setup.to_json())
            self.wait_for(self.process.stdout.fileno())
            ready = framing.receive(self.process.stdout.fileno())
        except framing.ChannelClosed:
            raise ServerFailure(f"the server ended at its start, status {self.process.wait()}") from None
        if "failed" in ready:
            raise ServerFailure(ready["failed"])

    def next_request(self) -> dict[str, Any]:
        """The next program. Raises: ChannelClosed when the pipeline closed or died."""
        while not select.select([self.requests], [], [], _POLL_MS / 1000)[0]:
            self.check_pipeline()
        return framing.receive(self.requests)

    def check_pipeline(self) -> None:
        """A pipeline that died while a process forked from it keeps our pipe open shows no end of file."""
        if os.getppid() != self.pipeline_pid:
            raise framing.ChannelClosed("the pipeline is gone")

    def run_with_retry(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The program's run; once more with a new server if the first run failed or was ended from outside."""
        try:
            reply, answers = self.run(request)
        except ServerFailure:
            self.restart()
            return self.run(request)
        # By itself, by a kernel short of memory, or by a cluster that signals every process of a job when its
        # time is up: the second run tells.
        was_signalled = reply["exit_code"] in _SIGNALLED and reply["stopped_for"] is None
        if was_signalled or b'"KeyboardInterrupt"' in answers:
            return self.run(request)
        return reply, answers

    def run(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Raises: ServerFailure; ChannelClosed only when the pipeline is gone."""
        assert self.process is not None  # it was started
        to_server, from_server = self.process.stdin.fileno(), self.process.stdout.fileno()
        try:
            framing.send(to_server, request)
        except framing.ChannelClosed:
            raise ServerFailure("the server is gone") from None
        self.wait_for(from_server)
        try:
            reply = framing.receive(from_server)
            answers = framing.receive_bytes(from_server, reply["n_bytes"])
        except framing.ChannelClosed:
            raise ServerFailure("the server died while it ran the program") from None
        if "failed" in reply:
            raise ServerFailure(reply["failed"])
        return reply, answers

    def wait_for(self, fd: int) -> None:
        """Until the server has something to say. Raises: ServerFailure when it is silent for too long."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self.requests, 0)  # POLLHUP alone: the pipeline is gone
        silent_s = 0.0
        while True:
            ready = dict(poll.poll(_POLL_MS))
            if self.requests in ready:
                raise framing.ChannelClosed("the pipeline is gone")
            if fd in ready:
                return
            self.check_pipeline()
            silent_s += _POLL_MS / 1000
            if silent_s > self.setup.limits.wall_s + _SERVER_GRACE_S:
                raise ServerFailure(f"the server was silent for {silent_s:.0f} s")

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None

    def close(self) -> None:
        self.stop()
        if self.own_scratch:
            scratch.remove(self.own_scratch)
