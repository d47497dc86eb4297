"""The judge's own process: it alone holds the expected values, and never runs candidate code.

    pipeline -> judge process -> server of programs -> one forked child per program
                              -> server of tests    -> one forked child per program whose tests are not plain

A process of its own because comparing hostile values can cost any time and memory (a set of
colliding hashes, `10 ** f(1)`): its limits then kill a judge, and never the pipeline. It restarts a server
that dies, and retries the program once.
"""

import functools
import json
import os
import resource
import signal
import socket
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NoReturn

from common.sandbox import framing, namespaces, scratch, turns
from common.sandbox.confinement import NAMESPACES, Setup, make_undumpable
from common.sandbox.judge import Finding, NotPlain, judge_plain, judge_report, verdict
from common.sandbox.limits import lower, use_usual_stack
from common.sandbox.plain import PlainTests, plain_tests
from common.sandbox.programs import MIB, Program
from common.sandbox.server_link import Pipeline, ServerFailure, ServerLink
from common.sandbox.setup_code import split_setup

JUDGE_MEMORY_BYTES = 2048 * MIB
_CHANNELS = (0, 1)
_SIGNALLED = [-getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT")]

_Reply = dict[str, Any]


def main() -> NoReturn:
    """Take the set-up from descriptor 0, start a server, then judge until the pipeline is gone."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    use_usual_stack()
    make_undumpable()
    requests, replies = _CHANNELS
    config = framing.receive(requests)
    pipeline = Pipeline(requests, config["pipeline_pid"])
    judge = Judge(Setup.from_json(config["setup"]), pipeline)
    _limit_memory()
    try:
        judge.programs.start()
        framing.send(replies, {"ready": os.getpid(), "scratch": judge.own_scratch})
        while True:
            program = Program(**pipeline.next_request())
            for message in judge.messages(program):
                framing.send(replies, message)
    except ServerFailure as error:
        framing.send(replies, {"failed": str(error)})
    except framing.ChannelClosed:
        pass
    finally:
        judge.close()
    os._exit(0)


def _limit_memory() -> None:
    """Cap this process only: the ceiling stays, and a server raises its own limit back to it."""
    _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
    lower(resource.RLIMIT_AS, JUDGE_MEMORY_BYTES, ceiling)


# Temperatures and steering bring the same tests again and again; planning them is a tenth of a program's cost.
_plan = functools.lru_cache(maxsize=1024)(plain_tests)


class Judge:
    """The servers of programs, tests and references, and the verdicts on what they ran."""

    def __init__(self, setup: Setup, pipeline: Pipeline) -> None:
        self.limits = setup.limits
        # With namespaces each server has its own folder, which exists inside them only.
        self.own_scratch = "" if NAMESPACES in setup.layers else scratch.make()
        turn = turns.create()
        self.page = turns.open_page(turn, for_children=False)
        servers = []
        for role in ("programs", "tests", "references"):
            folder = os.path.join(self.own_scratch, role) if self.own_scratch else namespaces.SCRATCH
            if self.own_scratch:
                os.mkdir(folder)
            servers.append(ServerLink(role, Setup(setup.level, setup.limits, setup.home, folder), pipeline, turn))
        self.programs, self.tests, self.references = servers

    def messages(self, program: Program) -> Iterator[dict[str, Any]]:
        """Yield {"ran": times} once the program has run, then {"verdict": ...} or {"not_run": reason}.

        The first message tells the pipeline, should comparing kill this process, that it was the comparing.
        """
        plan = _plan(tuple(program.tests), program.setup, program.entry_point)
        finding, replies = None, []
        try:
            if plan is not None:
                reply, answers = self._with_retry(lambda: self._run_plain(program, plan))
                yield {"ran": {"cpu_s": round(reply["cpu_s"], 4), "wall_s": round(reply["wall_s"], 4)}}
                finding, replies = self._compared(plan, reply, answers), [reply]
            if finding is None:
                finding, replies = self._with_retry(lambda: self._run_as_written(program))
        except ServerFailure as error:
            yield {"not_run": str(error)}
            return
        yield {"verdict": asdict(verdict(finding, replies, self.limits, self.programs.setup.scratch))}

    def _compared(self, plan: PlainTests, reply: _Reply, answers: bytes) -> Finding | None:
        """The finding by values; None where one is not plain."""
        signal.setitimer(signal.ITIMER_PROF, self.limits.comparison_cpu_s)  # its default action kills this process
        try:
            return judge_plain(plan, reply, answers, self.limits)
        except NotPlain:
            return None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _with_retry(self, run: Any) -> Any:
        """What `run` gives; once more with new servers if they failed, or if it was ended from outside."""
        try:
            result, measured = run()
        except ServerFailure:
            self._stop_servers()
            return run()
        # By itself, by a kernel short of memory, or by a cluster that signals every process of a job when its
        # time is up: the second run tells.
        return run() if _was_signalled(result, measured) else (result, measured)

    def _run_plain(self, program: Program, plan: PlainTests) -> tuple[_Reply, bytes]:
        calls = [test.call for test in plan.tests]
        self.programs.ask({"code": program.code, "imports": plan.imports, "calls": calls})
        return self.programs.answer()

    def _run_as_written(self, program: Program) -> tuple[Finding, list[_Reply]]:
        """Run the tests as they are written, beside the program."""
        given, setup, refused = split_setup(program.setup, program.code, program.tests)
        if refused is not None:
            never = {"cpu_s": 0.0, "wall_s": 0.0, "blocked_s": 0.0, "stopped_for": None, "exit_code": 0}
            return Finding("unsupported", None, None, refused), [never]
        sides = [(self.programs, program.code)] + ([(self.references, program.reference)] if program.reference else [])
        theirs: list[socket.socket] = []
        self.page[0] = turns.TURNS["programs"]
        try:
            for server, code in sides:
                ours, other = socket.socketpair()
                theirs.append(other)
                with ours:
                    server.ask({"code": code, "given": given}, [ours])
            request = {"tests": list(program.tests), "setup": setup, "entry_point": program.entry_point}
            self.tests.ask(request, theirs)
        finally:
            for each in theirs:
                each.close()
        tests_reply, written = self.tests.answer()
        self.page[0] = turns.OVER
        replies = [server.answer()[0] for server, _ in sides]
        finding = judge_report(_report(written), replies[0], tests_reply, self.limits)
        return finding, [replies[0], tests_reply]

    def _stop_servers(self) -> None:
        for server in (self.programs, self.tests, self.references):
            server.stop()

    def close(self) -> None:
        self._stop_servers()
        if self.own_scratch:
            scratch.remove(self.own_scratch)


def _report(written: bytes) -> Any:
    frames = framing.split_frames(written)
    return json.loads(frames[0]) if frames else None


def _was_signalled(result: Any, measured: Any) -> bool:
    if isinstance(result, Finding):
        replies, interrupted = measured, result.message.startswith("KeyboardInterrupt")
    else:
        replies, interrupted = [result], b'"KeyboardInterrupt"' in measured
    return interrupted or any(each["exit_code"] in _SIGNALLED and each["stopped_for"] is None for each in replies)
