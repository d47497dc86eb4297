"""An experiment as a list of commands: each is run once, measured, and noted; what is finished is not run again.

1. A step is one command. Its time is added up over its attempts; memory is looked at twice a second, in /proc, over all
   processes that descend from it.
2. After every attempt, and every half a minute while one runs, the log in the experiment's folder is written anew: a
   power cut loses half a minute of measurement, and the phases lose what they say they lose.
3. A signal to stop is handed to the command, which saves and ends; the same command of ours goes on there.
4. Two lists may run in one folder at the same time, each with steps of its own: dictionaries train while programs are
   written.
"""

import contextlib
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from common.errors import PipelineError
from common.files import write_json
from common.launch.slices import STOPPED
from common.provenance import ROOT
from common.stopping import STOP_SIGNALS
from natural.memory import Memory

LOG_FILE = "steps.json"
LOOK_EVERY_S, SAVE_EVERY_S = 0.5, 30
THREADS = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Step:
    """One command, as words after `python3`; `makes` is what it leaves, to be measured."""

    name: str
    words: tuple[str, ...]
    makes: Path

    @property
    def command(self) -> str:
        return shlex.join(["python3", *self.words])


@dataclass
class Record:
    """What is known of a step: times are sums over its attempts, memory is the largest of them."""

    name: str
    command: str
    finished: bool = False
    attempts: int = 0
    seconds: float = 0.0
    largest_process: int = 0  # peak resident memory [bytes]
    all_processes: int = 0  # together, what they share counted once [bytes]
    on_disk: int = 0  # [bytes]


@dataclass
class StepLog:
    """The records of an experiment's folder, by command."""

    path: Path
    records: dict[str, Record] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "StepLog":
        path = folder / LOG_FILE
        rows = json.loads(path.read_bytes())["steps"] if path.is_file() else []
        return cls(path, {row["command"]: Record(**row) for row in rows})

    def record_of(self, step: Step) -> Record:
        return self.records.setdefault(step.command, Record(step.name, step.command))

    def save(self, record: Record) -> None:
        """Write one record; the others stay as they are on disk, where another command may be writing them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):
            records = StepLog.read(self.path.parent).records | {record.command: record}
            facts = {"cores": len(os.sched_getaffinity(0)), "unit": "seconds, bytes"}
            write_json(self.path, {**facts, "steps": [vars(each) for each in records.values()]})


def run_steps(steps: Sequence[Step], folder: Path, log: logging.Logger) -> int:
    """Run what is not finished, in order; the status of the command that did not end well, else 0.

    Raises: PipelineError when a command fails, naming it.
    """
    signals = _listen()
    for number, step in enumerate(steps, 1):
        known = StepLog.read(folder)
        record = known.record_of(step)
        if record.finished:
            log.info("step %d of %d, %s: finished before", number, len(steps), step.name)
            continue
        log.info("step %d of %d, %s: %s", number, len(steps), step.name, step.command)
        status = _attempt(step, record, partial(known.save, record), signals)
        if signals and status:
            return STOPPED
        if status:
            raise PipelineError(
                f"step '{step.name}' ended with status {status}: {step.command}\n"
                f"Mend what it says above, and give the same command again: what is finished is not run again"
            )
        record.finished, record.on_disk = True, size_of(step.makes)
        known.save(record)
        log.info("step %d of %d, %s: %s", number, len(steps), step.name, _in_words(record))
        if signals:
            return STOPPED
    return 0


def _attempt(step: Step, record: Record, save: Callable[[], None], signals: list[int]) -> int:
    """Run a command until it ends, hand it the signals, and add what it took to its record. Returns its status."""
    began, before, memory = time.monotonic(), record.seconds, Memory()
    record.attempts += 1
    # In a session of its own, a Ctrl-C of the terminal reaches it once, through us.
    child = subprocess.Popen(
        [sys.executable, *step.words], cwd=ROOT, env={**os.environ, **THREADS}, start_new_session=True
    )
    saved, status, handed_on = began, None, len(signals)
    while status is None:
        memory.look(child.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = child.wait(timeout=LOOK_EVERY_S)
        for _ in signals[handed_on:]:
            child.send_signal(signal.SIGTERM)  # what was begun in the background may ignore SIGINT
            handed_on += 1
        record.seconds = round(before + time.monotonic() - began, 3)
        record.largest_process = max(record.largest_process, memory.largest_process)
        record.all_processes = max(record.all_processes, memory.all_processes)
        if status is not None or time.monotonic() - saved > SAVE_EVERY_S:
            saved = time.monotonic()
            save()
    return status


def _listen() -> list[int]:
    """The signals to stop that come from now on; none raises an exception, so that no note is left half made."""
    signals: list[int] = []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda sent, _frame: signals.append(sent))
    return signals


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _in_words(record: Record) -> str:
    return (
        f"{record.seconds / 60:.1f} min, {record.largest_process / 1e9:.2f} GB in the largest process, "
        f"{record.on_disk / 1e6:.1f} MB on disk"
    )


def costs_table(steps: Sequence[Step], folder: Path) -> str:
    """Markdown: what each finished step took, in the order of the steps, and all of them together."""
    known = StepLog.read(folder).records
    rows = [known[step.command] for step in steps if step.command in known and known[step.command].finished]
    lines = [
        "| step | minutes | peak memory of the largest process | of all together | on disk |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {row.name} | {row.seconds / 60:.1f} | {row.largest_process / 1e9:.2f} GB | "
            f"{row.all_processes / 1e9:.2f} GB | {row.on_disk / 1e6:,.1f} MB |"
            for row in rows
        ),
        f"| all | {sum(row.seconds for row in rows) / 60:.1f} | {_largest(rows, 'largest_process')} | "
        f"{_largest(rows, 'all_processes')} | {sum(row.on_disk for row in rows) / 1e6:,.1f} MB |",
    ]
    return "\n".join(lines)


def _largest(rows: list[Record], name: str) -> str:
    values: list[Any] = [getattr(row, name) for row in rows]
    return f"{max(values, default=0) / 1e9:.2f} GB"
