#!/usr/bin/env python3
"""Run a phase on several GPUs: index slices in a queue, one subprocess per GPU, one join at the end.

  python3 multi_gpu_launcher.py --phase 1 --start 0 --end 973
  python3 multi_gpu_launcher.py --phase 1 --gpus 0,1,2 --model google/gemma-2-2b
  python3 multi_gpu_launcher.py --phase 1 --workers 2 --preset demo      (CPU processes)

Both ends are included. There are more slices than workers, so that a slow one does not hold
the rest; a slice whose worker died goes back to the queue. Every other flag is the phase's own.
"""

import argparse
import collections
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import run
from common.discovery import n_saved
from common.errors import ConfigError, PipelineError
from common.phase import AlreadyBuilt, RunContext
from common.records import check_slice

SLICES_PER_WORKER = 4
TRIES = 3
LOG_LINES_SHOWN = 20
POLL_S = 0.2
LINE_EVERY_S = 10.0


@dataclass
class Worker:
    """One place where a slice can run: a GPU, or a CPU process."""

    environment: dict[str, str]
    process: subprocess.Popen | None = None
    slice: tuple[int, int] = (0, 0)
    log: Path = Path()


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


def make_workers(gpus: str | None, n_workers: int | None, device: str) -> list[Worker]:
    """One worker per GPU, or CPU processes. Raises: ConfigError."""
    if n_workers is not None and n_workers < 1:
        raise ConfigError(f"--workers is {n_workers}\nGive 1 or more")
    if gpus is not None:
        numbers = gpus.split(",")
        if not all(number.strip().isdigit() for number in numbers):
            raise ConfigError(f"--gpus is '{gpus}'\nGive GPU numbers with commas, as in 0,1,2")
        return [Worker({"CUDA_VISIBLE_DEVICES": number.strip()}) for number in numbers]
    if device == "cuda":
        import torch

        return [Worker({"CUDA_VISIBLE_DEVICES": str(number)}) for number in range(torch.cuda.device_count())]
    n_workers = n_workers or 1
    threads = max(1, (os.cpu_count() or 1) // n_workers)
    return [Worker({"OMP_NUM_THREADS": str(threads)}) for _ in range(n_workers)]


def launch(args: argparse.Namespace, phase_words: list[str]) -> int:
    phase = run.load_phase(args.phase)
    if phase.n_records is None:
        raise ConfigError(f"phase {phase.id} has no slices\nRun it with: python3 run.py phase {phase.id}")
    context, _ = run.context_for(phase, phase_words)
    context.pick_inputs()
    n_records = phase.n_records(context)
    check_slice(args.start, args.end, n_records)
    end = n_records - 1 if args.end is None else args.end
    workers = make_workers(args.gpus, args.workers, context.device)
    step = getattr(context.config, "batch_size", 1)
    slices = contiguous_slices(args.start, end, len(workers) * SLICES_PER_WORKER, step)
    words = [word for word in phase_words if word != "--fresh"]  # the folder is begun once, here
    command = [sys.executable, str(Path(run.__file__)), "phase", phase.id, *words]
    if args.dry_run:
        for first, last in slices:
            print(f"slice {first} to {last}: {' '.join([*command[1:], '--start', str(first), '--end', str(last)])}")
        print(f"{len(slices)} slices for {len(workers)} workers, then one run that joins them")
        return 0
    folder = context.claim_folder()
    code = work_off(Queue(collections.deque(slices)), workers, command, folder, context, n_records)
    if code or (args.start, end) != (0, n_records - 1):
        return code
    return subprocess.run(command, check=False).returncode


def work_off(
    queue: Queue, workers: list[Worker], command: list[str], folder: Path, context: RunContext, n_records: int
) -> int:
    """Run every slice; returns an exit status. A stop signal is passed on, so that workers save."""
    began, before, last_line = time.monotonic(), n_saved(folder), time.monotonic()
    stopping: list[int] = []
    for name in run.STOP_SIGNALS:
        signal.signal(getattr(signal, name), lambda number, _frame: stopping.append(number))
    while queue.waiting or any(worker.process for worker in workers):
        for worker in workers:
            if worker.process is None and queue.waiting and not stopping:
                start(worker, queue.waiting.popleft(), command, folder)
            if worker.process is not None and worker.process.poll() is not None:
                failure = settle(worker, queue, bool(stopping))
                if failure:
                    pass_on(workers, signal.SIGTERM)
                    print(failure, file=sys.stderr)
                    return 1
        if stopping:
            pass_on(workers, stopping[0])
            queue.waiting.clear()
            wait_for(workers)
            context.log.warning("stopped; everything computed is saved. Give the same command to continue")
            return 130
        if time.monotonic() - last_line > LINE_EVERY_S:
            last_line = time.monotonic()
            done = n_saved(folder)
            rate = (done - before) / (last_line - began)
            left = f"{(n_records - done) / rate / 60:.0f} min left" if rate else "time left unknown"
            context.log.info("%d of %d records, %.1f per second, %s", done, n_records, rate, left)
        time.sleep(POLL_S)
    return 0


def start(worker: Worker, piece: tuple[int, int], command: list[str], folder: Path) -> None:
    worker.slice = piece
    worker.log = folder / "locks" / f"worker_{piece[0]:06d}_{piece[1]:06d}.log"
    worker.log.parent.mkdir(parents=True, exist_ok=True)
    with open(worker.log, "a") as log:
        worker.process = subprocess.Popen(
            [*command, "--start", str(piece[0]), "--end", str(piece[1])],
            env={**os.environ, **worker.environment}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C reaches the workers once, from here
        )  # fmt: skip


def settle(worker: Worker, queue: Queue, stopping: bool) -> str | None:
    """Take note of an ended worker. Returns a message when its slice has failed for good."""
    code, worker.process = worker.process.returncode, None
    if code == 0 or stopping:
        return None
    queue.tries[worker.slice] += 1
    if code != 2 and queue.tries[worker.slice] < TRIES:  # exit 2 is an error of the user: trying again is no use
        queue.waiting.append(worker.slice)
        return None
    tail = "\n".join(worker.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])
    return (
        f"error: the worker of records {worker.slice[0]} to {worker.slice[1]} ended with status {code} "
        f"({queue.tries[worker.slice]} of {TRIES} tries); its last lines, from {worker.log}:\n{tail}\n"
        f"Mend the cause and give the same command: what is saved is kept"
    )


def pass_on(workers: list[Worker], number: int) -> None:
    for worker in workers:
        if worker.process is not None and worker.process.poll() is None:
            worker.process.send_signal(number)


def wait_for(workers: list[Worker]) -> None:
    for worker in workers:
        if worker.process is not None:
            worker.process.wait()


def main(argv: list[str]) -> int:
    args, phase_words = parse(argv)
    try:
        return launch(args, phase_words)
    except AlreadyBuilt as built:
        print(f"already built: {built.path} (--fresh builds it again)")
        return 0
    except PipelineError as error:
        if not args.dry_run:
            raise
        print(f"it would stop here: {error}")
        return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
