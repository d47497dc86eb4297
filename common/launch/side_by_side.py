"""Phases at the same time, where none needs what another of them makes: `--jobs` of `run.py pipeline`.

Each phase is a process of its own, forked from one that has imported what they all import. What a phase prints comes
line by line behind its id, as in "3.2 | 12:00:01 ...". Stop signals are handed on, so that each saves what it has.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess

from common.cli import exit_with, new_log
from common.handoffs import DICTIONARIES
from common.launch.catalogue import Catalogue
from common.launch.running import cores_for
from common.launch.slices import STOPPED
from common.phases.context import RunContext
from common.saes.own import OWN
from common.stopping import STOP_SIGNALS

LOOK_EVERY_S = 0.2
PIECE = 65536  # bytes that are read at once


@dataclass(frozen=True)
class Step:
    """A phase of a run: its context, and the words after its id."""

    context: RunContext
    words: Sequence[str]

    @property
    def id(self) -> str:
        return self.context.phase.id

    def needs(self, ids: Collection[str]) -> set[str]:
        """Those of the phases `ids` whose output it reads, or would read if there is one."""
        phase, config = self.context.phase, self.context.config
        needed = {schema.phase for schema in (*phase.needed(config), *phase.optional_inputs(config))}
        if OWN in (getattr(config, "sae", ""), getattr(config, "transcoders", "")):
            needed.add(DICTIONARIES.phase)
        return needed & {*ids}


@dataclass
class Job:
    """A step that is being carried out."""

    step: Step
    process: ForkServerProcess
    output: Connection
    began: float = field(default_factory=time.monotonic)
    told: int = 0  # how many stop signals it was sent
    line: bytes = b""  # the beginning of one, whose end has not come

    def show(self) -> None:
        """Pass on the lines that it has printed since."""
        while self.output.poll() and (piece := os.read(self.output.fileno(), PIECE)):
            *lines, self.line = (self.line + piece).split(b"\n")
            self._print(lines)

    def status(self) -> int | None:
        """As a shell gives it, once it has ended and all that it printed is shown; None before."""
        if (code := self.process.exitcode) is None:
            return None
        self.show()
        self._print([self.line] if self.line else [])
        return code if code >= 0 else 128 - code

    def hand_on(self, signals: Sequence[int]) -> None:
        """Send it those signals that it was not sent yet."""
        pid = self.process.ident
        assert pid is not None  # it was started
        for number in signals[self.told :]:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)
        self.told = len(signals)

    def _print(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            print(self.step.id, "|", line.decode(errors="replace"), file=sys.stderr, flush=True)


def run_side_by_side(
    catalogue: Catalogue, steps: Sequence[Step], n_jobs: int, ended: Callable[[Step, float], None]
) -> tuple[Step, int] | None:
    """Carry out all steps, at most `n_jobs` at a time, in their order as far as what they need allows.

    `ended` is told of each that has ended well, with its seconds. After one that failed none is begun, and those that
    run are waited for. Returns the first that did not end well, with its exit status; None when all did.
    """
    ids = [step.id for step in steps]
    waiting, running, done = list(steps), list[Job](), set[str]()
    failed: tuple[Step, int] | None = None
    server = _server_for(steps, n_jobs)
    with _noted_signals() as signals:
        while running or (waiting and not failed and not signals):
            if not failed and not signals:
                ready = [step for step in waiting if step.needs(ids) <= done][: n_jobs - len(running)]
                waiting = [step for step in waiting if step not in ready]
                running += [_begun(server, catalogue, step) for step in ready]
            wait([job.output for job in running], timeout=LOOK_EVERY_S)
            for job in list(running):
                job.hand_on(signals)
                job.show()
                if (status := job.status()) is None:
                    continue
                running.remove(job)
                if status == 0:
                    done.add(job.step.id)
                    ended(job.step, time.monotonic() - job.began)
                elif not failed:
                    failed = (job.step, STOPPED if signals else status)
                    _say_what_follows(job, status, running)
    return failed or ((waiting[0], STOPPED) if waiting else None)


def _say_what_follows(job: Job, status: int, running: Sequence[Job]) -> None:
    others = " and ".join(f"phase {other.step.id}" for other in running)
    what = f": {others} is finished first, and no other begun" if running else ""
    if status != STOPPED:
        new_log().error("phase %s ended with status %d%s", job.step.id, status, what)


@contextlib.contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Stop signals, as they come."""
    signals: list[int] = []
    before = {number: signal.signal(number, lambda sent, _frame: signals.append(sent)) for number in STOP_SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _server_for(steps: Sequence[Step], n_jobs: int) -> ForkServerContext:
    """What forks the processes: it imports what the phases import, which takes seconds, and runs nothing."""
    # Read by the libraries of linear algebra as they are imported there: with more threads than cores each waits for
    # the others, and two phases at a time take four times as long as one after the other.
    os.environ.setdefault("OMP_NUM_THREADS", str(cores_for(n_jobs)))
    server = multiprocessing.get_context("forkserver")
    functions = [step.context.phase.run for step in steps]
    server.set_forkserver_preload([name.partition(":")[0] for name in functions if isinstance(name, str)])
    return server


def _begun(server: ForkServerContext, catalogue: Catalogue, step: Step) -> Job:
    reading, writing = server.Pipe(duplex=False)
    process = server.Process(target=_carry_out, args=(catalogue, [step.id, *step.words], writing))
    process.start()
    writing.close()
    return Job(step, process, reading)


def _carry_out(catalogue: Catalogue, words: list[str], output: Connection) -> None:
    """In a process of its own: what `python3 run.py phase` does with these words."""
    os.setsid()  # a Ctrl-C comes from whoever began this, and once
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    output.close()  # the end of the process is that of its output
    sys.argv = ["run.py phase", *words]
    exit_with(catalogue.command("phase"))
