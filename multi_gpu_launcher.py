#!/usr/bin/env python3
"""Run a phase on several GPUs: index slices in a queue, one slice at a time on each GPU, one join at the end.

  python3 multi_gpu_launcher.py --phase 1 --start 0 --end 973
  python3 multi_gpu_launcher.py --phase 1 --gpus 0,1,2 --model google/gemma-2-2b
  python3 multi_gpu_launcher.py --phase 1 --workers 2 --preset demo      (CPU processes)
  python3 multi_gpu_launcher.py --phase 1 --cluster slurm --slurm-partition gpu --slurm-time 4:00:00

Both ends are included. There are more slices than workers, so that a slow one does not hold
the rest; a slice whose worker died goes back to the queue. Every other flag is the phase's own.

On a Slurm cluster the slices are an array of jobs. A job whose time is up, or that is pre-empted,
has its worker save and goes back to Slurm's queue, as often as needed; so the time limit need not
be longer than a few batches take. Stop the launcher (Ctrl-C) and its jobs save and end.
"""

import argparse
import collections
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import run
from common.cli import Parser, exit_with
from common.errors import ConfigError
from common.launch.cluster import CLUSTERS, ClusterJobs, Resources, check_cluster
from common.launch.running import context_for, context_sharing_cores, cores_for, dry_run
from common.launch.slices import (
    STOPPED,
    USER_ERROR,
    Ended,
    Slice,
    contiguous_slices,
    failure_text,
    log_of,
    retry_text,
    slice_command,
)
from common.model.settings import ModelConfig
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.phases.revisions import words_as_settled
from common.programs.settings import WritingConfig
from common.progress import Progress
from common.runs.artifacts import AlreadyBuilt
from common.runs.checkpoints import PartStore
from common.runs.discovery import MANIFEST, n_saved
from common.runs.locks import lock_for_launcher
from common.runs.pace import PaceOfAll
from common.runs.records import check_slice
from common.stopping import STOP_SIGNALS

SLICES_PER_WORKER = 4
JOBS_AT_ONCE = 4
CPUS_PER_JOB = 4
POLL_S = 0.2
LOOK_EVERY_S = 5.0


@dataclass
class Worker:
    """One place where a slice can run: a GPU, or a CPU process."""

    environment: dict[str, str]
    process: subprocess.Popen | None = None
    slice: Slice = (0, 0)
    told: int = 0  # how many stop signals it was sent


@dataclass
class LaunchPlan:
    """What is to be done, and where: by `workers` on this machine, or by jobs with `resources`."""

    context: RunContext
    phase_words: list[str]
    n_workers: int
    workers: list[Worker]
    resources: Resources | None = None


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The launcher's own flags, and the words left for the phase."""
    parser = Parser(
        prog="multi_gpu_launcher.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phase", required=True, help="id of a phase that has slices")
    text = "first record, 0-based; slices cut the work and are no samples: a pilot is --limit (default: 0)"
    parser.add_argument("--start", type=int, default=0, help=text)
    parser.add_argument("--end", type=int, default=None, help="last record, included (default: the last one)")
    parser.add_argument("--gpus", default=None, help="GPU numbers, as in 0,1,2 (default: all there are)")
    text = (
        f"CPU processes, where there is no GPU (default: 1); with --cluster, jobs at a time (default: {JOBS_AT_ONCE})"
    )
    parser.add_argument("--workers", type=int, default=None, help=text)
    parser.add_argument("--dry-run", action="store_true", help="show the slices and commands, and start nothing")
    text = "hand the slices to a cluster: slurm | local (the same way, on this machine)"
    parser.add_argument("--cluster", default=None, choices=CLUSTERS, help=text)
    jobs = parser.add_argument_group("each job of a cluster")
    jobs.add_argument("--slurm-partition", default=None, help="partition (default: the cluster's)")
    text = "GPUs (default: 1; 0 with --device cpu, and with --cluster local where there is none)"
    jobs.add_argument("--slurm-gpus", type=int, default=None, help=text)
    jobs.add_argument("--slurm-cpus", type=int, default=None, help=f"processor cores (default: {CPUS_PER_JOB})")
    jobs.add_argument("--slurm-time", default=None, help="time limit, in Slurm's notation (default: 4:00:00)")
    jobs.add_argument("--slurm-mem", default=None, help="memory, as in 32G (default: the cluster's)")
    return parser.parse_known_args(argv)


def visible_gpus() -> list[str]:
    """Names under which CUDA shows this process its GPUs; a cluster may have lent it only some."""
    import torch

    inherited = os.environ.get("CUDA_VISIBLE_DEVICES")
    return inherited.split(",") if inherited else [str(number) for number in range(torch.cuda.device_count())]


def worker_environments(gpus: str | None, n_workers: int | None, available: list[str]) -> list[dict[str, str]]:
    """What each worker's environment adds: a GPU, or nothing where `available` names none. Raises: ConfigError."""
    if n_workers is not None and (n_workers < 1 or (available and gpus is None)):
        advice = "Choose the GPUs here with --gpus, or add --device cpu" if available else "Give 1 or more"
        raise ConfigError(f"--workers is {n_workers}, the number of CPU processes\n{advice}")
    if gpus is not None and n_workers is not None:
        raise ConfigError(
            f"--workers is {n_workers} and --gpus is '{gpus}', which exclude each other\n"
            f"Give --gpus, or --workers with --device cpu"
        )
    if gpus is None:
        return [{"CUDA_VISIBLE_DEVICES": name} for name in available] or [{}] * (n_workers or 1)
    numbers = [number.strip() for number in gpus.split(",")]
    wrong = [number for number in numbers if not (number.isdigit() and int(number) < len(available))]
    if wrong:
        shown = ", ".join(map(str, range(len(available)))) or "none (run.py test-gpu shows what there is)"
        raise ConfigError(f"--gpus is '{gpus}', but there is no GPU {wrong[0] or '(empty)'}\nGive some of: {shown}")
    return [{"CUDA_VISIBLE_DEVICES": available[int(number)]} for number in numbers]


def plan_here(args: argparse.Namespace, phase: Phase, phase_words: list[str]) -> LaunchPlan:
    """One worker for each GPU of this machine, or CPU processes. Raises: ConfigError."""
    given = [name for name, value in vars(args).items() if name.startswith("slurm_") and value is not None]
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')} is for jobs of a cluster\nAdd --cluster slurm")
    context, _ = context_for(phase, phase_words)
    if ":" in context.device:
        number = context.device.partition(":")[2]
        raise ConfigError(
            f"--device is '{context.device}', but each worker has one GPU\nChoose it with: --gpus {number}"
        )
    environments = worker_environments(args.gpus, args.workers, visible_gpus() if context.device == "cuda" else [])
    context, phase_words = context_sharing_cores(phase, phase_words, len(environments))
    return LaunchPlan(context, phase_words, len(environments), [Worker(environment) for environment in environments])


def plan_jobs(args: argparse.Namespace, phase: Phase, phase_words: list[str]) -> LaunchPlan:
    """Jobs, and what each asks for. The device is the jobs', not that of the machine this is typed on.

    Raises: ConfigError.
    """
    if args.gpus is not None:
        raise ConfigError(f"--gpus is '{args.gpus}', but Slurm chooses the GPUs\nGive their number: --slurm-gpus 1")
    if args.workers is not None and args.workers < 1:
        raise ConfigError(f"--workers is {args.workers}, the number of jobs at a time\nGive 1 or more")
    words, device = _without_device(phase_words)
    context, _ = context_for(phase, words)
    context.device, n_gpus = device_of_jobs(args.cluster, args.slurm_gpus, device, context.device)
    n_workers = args.workers or (JOBS_AT_ONCE if args.cluster == "slurm" else 1)
    cores_here = cores_for(n_workers)
    n_cpus = (CPUS_PER_JOB if args.cluster == "slurm" else cores_here) if args.slurm_cpus is None else args.slurm_cpus
    given = {"time": args.slurm_time, "mem": args.slurm_mem, "partition": args.slurm_partition}
    given = {name: value for name, value in given.items() if value is not None}
    resources = Resources(gpus=n_gpus, cpus=n_cpus, **given)
    if context.device == "cpu" and isinstance(context.config, ModelConfig) and not context.config.threads:
        words = [*words, "--threads", str(n_cpus)]
        device_there = context.device
        context, _ = context_for(phase, words)
        context.device = device_there
    context.command += f" --device {context.device}"
    return LaunchPlan(context, [*words, "--device", context.device], n_workers, [], resources)


def device_of_jobs(cluster: str, n_gpus: int | None, given: str | None, here: str) -> tuple[str, int]:
    """Device of each job and its number of GPUs; `given` by --device, `here` is this machine's.

    Raises: ConfigError when --device and --slurm-gpus contradict each other.
    """
    if n_gpus is None:
        n_gpus = int(given == "cuda" or (given in (None, "auto") and (cluster == "slurm" or here == "cuda")))
    device = "cuda" if n_gpus else "cpu"
    if given not in (None, "auto", device):
        told = f"--device is '{given}', but --slurm-gpus is {n_gpus}"
        raise ConfigError(f"{told}\nGive --device cuda and --slurm-gpus 1, or --device cpu and --slurm-gpus 0")
    return device, n_gpus


def _without_device(words: list[str]) -> tuple[list[str], str | None]:
    """The words but for --device, and its value: a login node may lack the device of the jobs."""
    parser = Parser(prog="multi_gpu_launcher.py", add_help=False)
    parser.add_argument("--device", default=None)
    known, rest = parser.parse_known_args(words)
    return rest, known.device


def launch(args: argparse.Namespace, phase_words: list[str]) -> int:
    phase = run.CATALOGUE.phase(args.phase)
    if phase.n_records is None:
        again = shlex.join(["python3", "run.py", "phase", phase.id, *phase_words])
        raise ConfigError(f"phase {phase.id} has no slices\nRun it with: {again}")
    plan = (plan_jobs if args.cluster else plan_here)(args, phase, phase_words)
    context = plan.context
    if args.dry_run and context.unusable_inputs():
        return dry_run(context)
    typed = context.config
    context.pick_inputs(network=not args.dry_run)
    n_records = phase.count_records(context)
    check_slice(args.start, args.end, n_records)
    end = n_records - 1 if args.end is None else args.end
    step = getattr(context.config, "batch_size", 1)
    slices = contiguous_slices(args.start, end, plan.n_workers * SLICES_PER_WORKER, step)
    # --fresh begins the folder once, here, and not in every worker.
    command = [sys.executable, str(Path(run.__file__).resolve()), "phase", phase.id]
    lasting = [word for word in plan.phase_words if word != "--fresh"]
    command += words_as_settled(lasting, typed, context.config)
    whole = (args.start, end) == (0, n_records - 1)
    what = "job" if args.cluster else "worker"
    said = f"{_count(len(slices), 'slice')} for {_count(plan.n_workers, what)}{' at a time' if args.cluster else ''}"
    if args.dry_run:
        for piece in slices:
            words = shlex.join(["python3", "run.py", *slice_command(command[2:], piece)])
            print(f"slice {piece[0]} to {piece[1]}: {words}")
        print(f"{said}; {'then the parts are joined' if whole else 'other records are left to other slices'}")
        return 0
    if args.cluster:
        check_cluster(args.cluster)
    folder = context.claim_folder()
    lock = lock_for_launcher(folder)
    try:
        context.log.info("%s in %s", said, folder)
        if plan.resources is None:
            place = LocalProcesses(plan.workers, command, folder)
        else:
            place = ClusterJobs(args.cluster, plan.resources, plan.n_workers, command, folder, context.log)
        code = Launch(context, place, folder).work_off(slices)
        if not code and whole and not (folder / MANIFEST).exists():  # as a rule, the last slice joins the parts
            code = Launch(context, place, folder).work_off([(args.start, end)])
        place.close()
    finally:
        lock.release()
    if code == STOPPED:
        again = [word for word in sys.argv[1:] if word != "--fresh"]
        typed = shlex.join(["python3", "multi_gpu_launcher.py", *again])
        context.log.warning("stopped; everything computed is saved. Continue with: %s", typed)
    elif not code and (folder / MANIFEST).exists():
        context.log.info("wrote %s", folder)
    elif not code:
        context.log.info("saved %d of %d records in %s", n_saved(folder), n_records, folder)
    return code


def _count(n: int, what: str) -> str:
    return f"1 {what}" if n == 1 else f"{n} {what}s"


class Launch:
    """Slices, the place where they are worked off, and what the user sees of it."""

    def __init__(self, context: RunContext, place: "LocalProcesses | ClusterJobs", folder: Path):
        self.context, self.place, self.folder = context, place, folder
        self.store = PartStore(folder, context.log)
        self.seen: set[int] = set()
        self.failed: Ended | None = None
        self.left: list[Slice] = []
        self.signals: list[int] = []
        for number in STOP_SIGNALS:
            signal.signal(number, lambda sent, _frame: self.signals.append(sent))

    def work_off(self, slices: list[Slice]) -> int:
        """Run every slice; returns an exit status. Each stop signal is passed on, so that workers save."""
        first, last, last_look = slices[0][0], slices[-1][1], time.monotonic()
        waiting = collections.deque([piece for piece in slices if self.is_unfinished(piece)] or slices[-1:])
        labels, pace = self.new_labels(first, last), PaceOfAll(self.folder)
        unit = "programs" if isinstance(self.context.config, WritingConfig) else "records"
        with Progress(last - first + 1, labels, self.context.log, unit, work=pace) as bar:
            while waiting or self.place.busy:
                for ended in self.place.ended():
                    if ended.deserves_another_try:
                        waiting.append(ended.piece)
                        self.context.log.warning("%s", retry_text(ended))
                    elif ended.code is None:
                        self.left.append(ended.piece)
                    elif ended.code and not self.signals:
                        self.failed = self.failed or ended
                if self.failed or self.signals:
                    waiting.clear()
                    self.place.stop(self.signals or [signal.SIGTERM])
                else:
                    self.place.take(waiting)
                if time.monotonic() - last_look > LOOK_EVERY_S or not self.place.busy:
                    last_look = time.monotonic()
                    bar.add(self.new_labels(first, last))
                time.sleep(POLL_S)
        if self.failed:
            print(failure_text(self.failed, self.folder), file=sys.stderr)
            return USER_ERROR if self.failed.code == USER_ERROR else 1
        return STOPPED if self.signals or self.left else 0

    def is_unfinished(self, piece: Slice) -> bool:
        return any(index not in self.store.rows for index in range(piece[0], piece[1] + 1))

    def new_labels(self, first: int, last: int) -> list[str]:
        """Labels of the records that were saved since the last look."""
        self.store.refresh()
        new = [i for i in sorted(self.store.rows) if first <= i <= last and i not in self.seen]
        self.seen.update(new)
        rows = [next(iter(self.store.rows[index].values())) for index in new]
        return [row.get("label", "done") for row in rows]


class LocalProcesses:
    """Workers on this machine."""

    def __init__(self, workers: list[Worker], command: list[str], folder: Path):
        self.workers, self.command, self.folder = workers, command, folder
        self.tries: collections.Counter[Slice] = collections.Counter()

    @property
    def busy(self) -> bool:
        return any(worker.process is not None for worker in self.workers)

    def take(self, waiting: collections.deque[Slice]) -> None:
        """Start as many of the waiting slices as there are idle workers."""
        for worker in self.workers:
            if worker.process is None and waiting:
                self.start(worker, waiting.popleft())

    def start(self, worker: Worker, piece: Slice) -> None:
        worker.slice, worker.told = piece, 0
        with open(log_of(self.folder, piece), "a") as log:
            words, environment = slice_command(self.command, piece), {**os.environ, **worker.environment}
            worker.process = subprocess.Popen(  # in a session of its own: a Ctrl-C reaches it from here, and once
                words, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def ended(self) -> list[Ended]:
        """Slices whose worker has ended since the last call."""
        ended = []
        for worker in self.workers:
            code = worker.process.poll() if worker.process is not None else None
            if code is not None:
                worker.process = None
                self.tries[worker.slice] += 1
                ended.append(Ended(worker.slice, code, self.tries[worker.slice]))
        return ended

    def stop(self, signals: list[int]) -> None:
        """Send each worker the signals that it was not sent yet."""
        for worker in self.workers:
            if worker.process is not None:
                for number in signals[worker.told :]:
                    worker.process.send_signal(number)
                worker.told = len(signals)

    def close(self) -> None:
        """Nothing is left to be done: every worker has ended."""


def main(argv: list[str]) -> int:
    args, phase_words = parse(argv)
    try:
        return launch(args, phase_words)
    except AlreadyBuilt as built:
        print(f"already built: {built.path} (--fresh builds it again)")
        return 0


if __name__ == "__main__":
    exit_with(main)
