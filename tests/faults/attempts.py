"""Run commands of run.py in forked children of one process that has imported what they need: a crash costs little.

from attempts import attempt, count_operations
"""

import contextlib
import dataclasses
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas  # noqa: F401 - imported by pyarrow when it reads; here once, and not in every child
import pyarrow.dataset  # noqa: F401
import safetensors.numpy  # noqa: F401
from injection import KILL, Injector
from toy_phases import NUMBERS_PHASE, SUMS_PHASE, Config, build_sums

import run
from common import provenance
from common.cli import exit_with
from common.launch.catalogue import Catalogue
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.stopping import STOP_SIGNALS

GO_AHEAD = "go-ahead"  # a file in the data folder


def build_sums_when_told(ctx: RunContext, config: Config) -> None:
    """The same sums, by a run that has its folder and waits until the others have tried."""
    ctx.stop.finishing_batches = _told(ctx.stop.finishing_batches, ctx.data_dir / GO_AHEAD)
    build_sums(ctx, config)


def _told(plain: Callable, go_ahead: Path) -> Callable:
    @contextlib.contextmanager
    def waiting():
        deadline = time.monotonic() + 300
        while not go_ahead.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with plain():
            yield

    return waiting


TOYS = {phase.id: phase for phase in (NUMBERS_PHASE, SUMS_PHASE)}
TOYS["9 when told"] = dataclasses.replace(SUMS_PHASE, run=build_sums_when_told)


class CatalogueWithToys(Catalogue):
    def phase(self, phase_id: str) -> Phase:
        return TOYS.get(phase_id) or super().phase(phase_id)


provenance.library_versions()  # looked up once, here as well
run.CATALOGUE = CatalogueWithToys(**vars(run.CATALOGUE))


@dataclass(frozen=True)
class Ending:
    """How a command ended: its exit status (negative: the signal), and what it said."""

    status: int
    said: str


def start(words: list[str], output: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """Fork a child that runs `run.py WORDS`; returns its process id."""
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # forking is not under test
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return pid
    status = 1
    try:
        for number in STOP_SIGNALS:  # a shell's background jobs ignore some of them, as nohup does
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1), os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = ["run.py", *words]
        prepare()
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            exit_with(run.main)
        except SystemExit as left:
            status = left.code or 0
        except KeyboardInterrupt:  # before run.py's own care began
            status = 130
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stderr.flush()
        finally:  # a late signal raises in the line above; this child must not become a second sweep
            os._exit(status)


def ending(pid: int, output: Path) -> Ending:
    """Wait for a child of `start`."""
    _, status = os.waitpid(pid, 0)
    return Ending(os.waitstatus_to_exitcode(status), output.read_text(errors="replace"))


def attempt(words: list[str], folder: Path, injector: Injector | None = None) -> Ending:
    """Run a command to its end, with a fault in it or without."""
    output = folder / "said.txt"
    return ending(start(words, output, injector.install if injector else lambda: None), output)


def count_operations(words: list[str], folder: Path) -> int:
    """How many operations a command makes when nothing goes wrong."""
    counter, result = Injector(KILL, 0), folder / "count.txt"
    plain_exit = os._exit

    def prepare() -> None:
        counter.install()

        def exit_and_tell(status: int) -> None:
            with os.fdopen(os.open(result, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(str(counter.count))
            plain_exit(status)

        os._exit = exit_and_tell

    ended = ending(start(words, folder / "said.txt", prepare), folder / "said.txt")
    assert ended.status == 0, ended.said
    return int(result.read_text())
