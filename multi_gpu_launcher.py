#!/usr/bin/env python3
"""Run a phase on several GPUs: index slices in a queue, one slice at a time on each GPU, one join at the end.

  python3 multi_gpu_launcher.py --phase 1 --start 0 --end 973
  python3 multi_gpu_launcher.py --phase 1 --gpus 0,1,2 --model google/gemma-2-2b
  python3 multi_gpu_launcher.py --phase 1 --workers 2 --preset demo      (CPU processes)

Both ends are included. There are more slices than workers, so that a slow one does not hold
the rest; a slice whose worker died goes back to the queue. Every other flag is the phase's own.
"""

import argparse
import collections
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import run
from common.artifacts import AlreadyBuilt
from common.checkpoints import PartStore
from common.discovery import MANIFEST
from common.errors import ConfigError
from common.locks import lock_for_launcher
from common.phase import RunContext
from common.progress import Progress
from common.records import check_slice
from common.stopping import STOP_SIGNALS

SLICES_PER_WORKER = 4
TRIES = 3
LOG_LINES_SHOWN = 20
POLL_S = 0.2
LOOK_EVERY_S = 5.0
USER_ERROR = 2


@dataclass
class Worker:
    """One place where a slice can run: a GPU, or a CPU process."""

    environment: dict[str, str]
    process: subprocess.Popen | None = None
    slice: tuple[int, int] = (0, 0)
    log: Path = Path()
    told: int = 0  # how many stop signals it was sent


@dataclass
class Queue:
    """Slices to do, and how often each was tried."""

    waiting: collections.deque = field(default_factory=collections.deque)
    tries: collections.Counter = field(default_factory=collections.Counter)


def contiguous_slices(start: int, end: int, n_slices: int, step: int) -> list[tuple[int, int]]:
    """At most `n_slices` slices of start..end, both included, whose borders are multiples of `step`.

    A border inside a batch would make two workers compute that batch.
    """
    first_block, last_block = start // step, end // step
    n_blocks = last_block - first_block + 1
    n_slices = min(n_slices, n_blocks)
    borders = [first_block + n_blocks * i // n_slices for i in range(n_slices + 1)]
    pairs = zip(borders, borders[1:], strict=False)
    return [(max(start, a * step), min(end, b * step - 1)) for a, b in pairs]


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own flags, and the words left for the phase."""
    parser = run.Parser(
        prog="multi_gpu_launcher.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phase", required=True, help="id of a phase that has slices")
    parser.add_argument("--start", type=int, default=0, help="first record, 0-based (default: 0)")
    parser.add_argument("--end", type=int, default=None, help="last record, included (default: the last one)")
    parser.add_argument("--gpus", default=None, help="GPU numbers, as in 0,1,2 (default: all there are)")
    parser.add_argument("--workers", type=int, default=None, help="CPU processes, where there is no GPU (default: 1)")
    parser.add_argument("--dry-run", action="store_true", help="show the slices and commands, and start nothing")
    return parser.parse_known_args(argv)


def visible_gpus() -> list[str]:
    """Names under which CUDA shows this process its GPUs; a cluster may have lent it only some."""
    import torch

    inherited = os.environ.get("CUDA_VISIBLE_DEVICES")
    return inherited.split(",") if inherited else [str(number) for number in range(torch.cuda.device_count())]


def worker_environments(gpus: str | None, n_workers: int | None, available: list[str]) -> list[dict[str, str]]:
    """What each worker's environment adds: a GPU, or nothing where `available` names none. Raises: ConfigError."""
    if n_workers is not None and (n_workers < 1 or (available and gpus is None)):
        why = "there are GPUs here: choose them with --gpus, or add --device cpu" if available else "give 1 or more"
        raise ConfigError(f"--workers is {n_workers}, the number of CPU processes\n{why[0].upper()}{why[1:]}")
    if gpus is not None and n_workers is not None:
        raise ConfigError("--workers and --gpus exclude each other\nGive --gpus, or --workers with --device cpu")
    if gpus is None:
        return [{"CUDA_VISIBLE_DEVICES": name} for name in available] or [{}] * (n_workers or 1)
    numbers = [number.strip() for number in gpus.split(",")]
    wrong = [number for number in numbers if not (number.isdigit() and int(number) < len(available))]
    if wrong:
        shown = ", ".join(map(str, range(len(available)))) or "none (run.py test-gpu shows what there is)"
        raise ConfigError(f"--gpus is '{gpus}', but there is no GPU {wrong[0] or '(empty)'}\nGive some of: {shown}")
    return [{"CUDA_VISIBLE_DEVICES": available[int(number)]} for number in numbers]


def launch(args: argparse.Namespace, phase_words: list[str]) -> int:
    phase = run.load_phase(args.phase)
    if phase.n_records is None:
        raise ConfigError(f"phase {phase.id} has no slices\nRun it with: python3 run.py phase {phase.id}")
    context, _ = run.context_for(phase, phase_words)
    environments = worker_environments(args.gpus, args.workers, visible_gpus() if context.device == "cuda" else [])
    n_workers = len(environments)
    if context.device == "cpu" and not context.config.threads:
        # Workers must not fight for cores; and the number of threads is part of what a run is.
        phase_words = [*phase_words, "--threads", str(max(1, (os.cpu_count() or 1) // n_workers))]
        context, _ = run.context_for(phase, phase_words)
    context.pick_inputs()
    n_records = phase.n_records(context)
    check_slice(args.start, args.end, n_records)
    end = n_records - 1 if args.end is None else args.end
    step = getattr(context.config, "batch_size", 1)
    slices = contiguous_slices(args.start, end, n_workers * SLICES_PER_WORKER, step)
    # --fresh begins the folder once, here, and not in every worker.
    command = [sys.executable, str(Path(run.__file__)), "phase", phase.id]
    command += [word for word in phase_words if word != "--fresh"]
    whole = (args.start, end) == (0, n_records - 1)
    plan = f"{_count(len(slices), 'slice')} for {_count(n_workers, 'worker')}"
    if args.dry_run:
        for first, last in slices:
            words = ["python3", "run.py", *command[2:], "--start", str(first), "--end", str(last)]
            print(f"slice {first} to {last}: {shlex.join(words)}")
        print(f"{plan}; {'then the parts are joined' if whole else 'other records are left to other slices'}")
        return 0
    folder = context.claim_folder()
    lock = lock_for_launcher(folder)
    context.log.info("%s in %s", plan, folder)
    code = Launch(context, [Worker(environment) for environment in environments], command, folder).work_off(slices)
    lock.release()
    if code == 130:
        again = [word for word in sys.argv[1:] if word != "--fresh"]
        context.log.warning("stopped; everything computed is saved. Continue with: %s",
                            shlex.join(["python3", "multi_gpu_launcher.py", *again]))  # fmt: skip
    if code or not whole or (folder / MANIFEST).exists():  # the last slice has joined the parts
        if not code:
            context.log.info("wrote %s", folder)
        return code
    return subprocess.run(command, check=False).returncode


def _count(n: int, what: str) -> str:
    return f"1 {what}" if n == 1 else f"{n} {what}s"


class Launch:
    """Workers, their queue, and what the user sees of them."""

    def __init__(self, context: RunContext, workers: list[Worker], command: list[str], folder: Path):
        self.context, self.workers, self.command, self.folder = context, workers, command, folder
        self.queue = Queue()
        self.store = PartStore(folder, context.log)
        self.seen: set[int] = set()
        self.signals: list[int] = []
        for number in STOP_SIGNALS:
            signal.signal(number, lambda sent, _frame: self.signals.append(sent))

    def work_off(self, slices: list[tuple[int, int]]) -> int:
        """Run every slice; returns an exit status. Each stop signal is passed on, so that workers save."""
        self.queue.waiting.extend(slices)
        failure, last_look = None, time.monotonic()
        first, last = slices[0][0], slices[-1][1]
        with Progress(last - first + 1, self.new_labels(first, last), self.context.log) as bar:
            while self.queue.waiting or self.running():
                for worker in self.workers:
                    if worker.process is not None and worker.process.poll() is not None:
                        failure = failure or self.settle(worker)
                    if worker.process is None and self.queue.waiting and not (failure or self.signals):
                        self.start(worker, self.queue.waiting.popleft())
                if failure or self.signals:
                    self.queue.waiting.clear()
                    self.pass_on(self.signals or [signal.SIGTERM])
                if time.monotonic() - last_look > LOOK_EVERY_S or not self.running():
                    last_look = time.monotonic()
                    bar.add(self.new_labels(first, last))
                time.sleep(POLL_S)
        if failure:
            print(failure[1], file=sys.stderr)
            return failure[0]
        if self.signals:
            return 130
        return 0

    def new_labels(self, first: int, last: int) -> list[str]:
        """Labels of the records that were saved since the last look."""
        self.store.refresh()
        new = [i for i in sorted(self.store.rows) if first <= i <= last and i not in self.seen]
        self.seen.update(new)
        rows = [next(iter(self.store.rows[index].values())) for index in new]
        return [row.get("label", "done") for row in rows]

    def running(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.process is not None]

    def start(self, worker: Worker, piece: tuple[int, int]) -> None:
        worker.slice = piece
        worker.told = 0
        worker.log = self.folder / "locks" / f"worker_{piece[0]:06d}_{piece[1]:06d}.log"
        worker.log.parent.mkdir(parents=True, exist_ok=True)
        with open(worker.log, "a") as log:
            worker.process = subprocess.Popen(
                [*self.command, "--start", str(piece[0]), "--end", str(piece[1])],
                env={**os.environ, **worker.environment}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C reaches the workers from here, and once
            )  # fmt: skip

    def settle(self, worker: Worker) -> tuple[int, str] | None:
        """Take note of an ended worker. Returns status and message when its slice has failed for good."""
        code, worker.process = worker.process.returncode, None
        if code == 0 or self.signals:
            return None
        self.queue.tries[worker.slice] += 1
        if code != USER_ERROR and self.queue.tries[worker.slice] < TRIES:
            self.queue.waiting.append(worker.slice)
            return None
        tail = "\n".join(worker.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
        return code if code == USER_ERROR else 1, (
            f"error: the worker of records {worker.slice[0]} to {worker.slice[1]} ended with status {code} "
            f"({self.queue.tries[worker.slice]} of {TRIES} tries); its last lines, from {worker.log}:\n{tail}\n"
            f"Mend the cause and give the same command: what is saved is kept"
        )

    def pass_on(self, signals: list[int]) -> None:
        """Send each worker the signals that it was not sent yet."""
        for worker in self.running():
            for number in signals[worker.told :]:
                worker.process.send_signal(number)
            worker.told = len(signals)


def main(argv: list[str]) -> int:
    args, phase_words = parse(argv)
    try:
        return launch(args, phase_words)
    except AlreadyBuilt as built:
        print(f"already built: {built.path} (--fresh builds it again)")
        return 0


if __name__ == "__main__":
    run.exit_with(main)
