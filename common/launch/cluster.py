"""Slices of a run as jobs of a Slurm cluster, handed over by submitit.

1. All slices are submitted as one array. A job runs `run.py phase ... --start A --end B`, as a worker here does.
2. Before the time limit Slurm signals the job (SIGUSR2). It asks its worker to stop, waits until that has saved,
   and goes back to the queue; so it does when it is pre-empted. A slice may take any number of jobs' time.
3. A worker that dies is started again by its own job, three times in all.

Signals go to the job's first process alone, not to the worker too, which would take the second one for "stop at
once": Slurm is told so (`B:`, `--batch`), and for that the job is no step of srun's but the batch script itself.
Only Slurm's own SIGTERM (scancel, pre-emption) reaches every process, and is therefore not passed on.

`--cluster local` takes the same way on this machine, through submitit's local executor.
"""

import contextlib
import dataclasses
import json
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import ConfigError, PipelineError
from common.files import write_json
from common.launch.slices import STOPPED, TRIES, USER_ERROR, Ended, Slice, log_of, slice_command
from common.provenance import ROOT
from common.runs.discovery import MANIFEST, PART

CLUSTERS = ("slurm", "local")
SAVING_S = 300  # between Slurm's warning and its time limit; a quarter of the limit where that is less
LOOK_EVERY_S = 10.0  # Slurm has others to answer, too
URGENT_LOOK_EVERY_S = 1.0
NO_LIMIT = 10**6  # of time-outs
ENDED_STATES = set(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT".split()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resources:
    """What one job asks for. `time` and `mem` are in Slurm's own notation. Raises: ConfigError."""

    gpus: int
    cpus: int
    time: str = "4:00:00"
    mem: str | None = None
    partition: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("gpus", 0), ("cpus", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"--slurm-{name} is {getattr(self, name)}\nGive {least} or more")
        if self.mem is not None and not re.fullmatch(r"\d+[KMGT]?B?", self.mem, re.IGNORECASE):
            raise ConfigError(f"--slurm-mem is '{self.mem}'\nGive memory per job, as in 32G")
        _ = self.seconds

    @property
    def seconds(self) -> int:
        """The time limit. Raises: ConfigError."""
        match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", self.time)
        numbers = [int(number or 0) for number in match.groups()] if match else [0]
        if match and match[1] is None and match[4] is None:  # minutes or minutes:seconds; with days, hours come first
            numbers = [0, 0, *numbers[1:3]]
        seconds = sum(number * unit for number, unit in zip(numbers, (86400, 3600, 60, 1), strict=False))
        if seconds <= 0:
            raise ConfigError(
                f"--slurm-time is '{self.time}'\nGive minutes (90), or hours:minutes:seconds (4:00:00), or "
                f"days-hours (1-12)"
            )
        return seconds


@dataclasses.dataclass
class SliceJob:
    """What a job runs: the worker of one slice. submitit stores it, calls it, and checkpoints it."""

    command: list[str]
    piece: Slice
    folder: Path  # of the run
    directory: Path  # where the launcher was started
    child: subprocess.Popen | None = dataclasses.field(default=None, init=False)
    is_ending: bool = dataclasses.field(default=False, init=False)

    def __call__(self) -> tuple[int, int]:
        """The worker's status, and after how many tries. A job that was asked to end leaves no result."""
        on_slurm = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
        signal.signal(signal.SIGUSR1 if on_slurm else signal.SIGTERM, self._end_child)
        if on_slurm:
            signal.signal(signal.SIGTERM, self._note_end)
        for tries in range(1, TRIES + 1):
            if (self.folder / MANIFEST).exists():  # the other slices have joined it, while this one waited
                return 0, tries
            code = self._run_child(in_session_of_its_own=not on_slurm)
            if self.is_ending or code == STOPPED:
                raise SystemExit(STOPPED)
            if code in (0, USER_ERROR):
                break
        return code, tries

    def checkpoint(self) -> Any:
        """Called by submitit, in its signal handler, when the time limit nears: have the worker save, and go on later.

        The handler may have interrupted a call of `Popen`, whose lock it must not wait for.
        """
        import submitit

        self._end_child()
        if self.child is not None:
            _wait_for_end(self.child.pid)
        return submitit.helpers.DelayedSubmission(dataclasses.replace(self))

    def _run_child(self, in_session_of_its_own: bool) -> int:
        with open(log_of(self.folder, self.piece), "a") as log:
            self.child = subprocess.Popen(
                slice_command(self.command, self.piece),
                cwd=self.directory,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=in_session_of_its_own,
            )
        _wait_for_end(self.child.pid)
        return self.child.wait()

    def _note_end(self, *_signal: object) -> None:
        self.is_ending = True

    def _end_child(self, *_signal: object) -> None:
        """Ask the worker to save and end; once, because it takes a second request for haste."""
        if self.child is not None and not self.is_ending:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child.pid, signal.SIGTERM)
        self.is_ending = True


def _wait_for_end(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # it was waited for already
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


class ClusterJobs:
    """The jobs of one launcher: submits slices, says which have ended, and ends them all.

    Raises: PipelineError when jobs of an earlier launcher still work on this run; ConfigError,
    from `take`, when Slurm refuses them.
    """

    def __init__(
        self, cluster: str, resources: Resources, at_once: int, command: list[str], folder: Path, log: logging.Logger
    ):
        self.cluster, self.resources, self.at_once = cluster, resources, at_once
        self.command, self.folder, self.log = command, folder, log
        self.jobs: dict[str, tuple[Any, Slice]] = {}  # job id -> submitit's job, and its slice
        self.tries: Counter[Slice] = Counter()  # that ended without a result, and without a new record
        self._saved: Counter[Slice] = Counter()
        self._looks_without: Counter[str] = Counter()
        self._last_look = self._last_stop = -LOOK_EVERY_S
        self._n_signals = 0
        self._check_no_jobs_of_another()
        # Not in the run folder, from which the slice that joins it removes what only an unfinished run needs.
        self.scratch = folder.parent / ".jobs" / folder.name

    @property
    def busy(self) -> bool:
        return bool(self.jobs)

    def take(self, waiting: deque[Slice]) -> None:
        """Submit what waits: all of it to Slurm, which queues it; here as many as may run at once."""
        n = len(waiting) if self.cluster == "slurm" else min(len(waiting), self.at_once - len(self.jobs))
        pieces = [waiting.popleft() for _ in range(n)]
        if not pieces:
            return
        work = [SliceJob(self.command, piece, self.folder, Path.cwd()) for piece in pieces]
        with _no_signals_from_the_terminal() if self.cluster == "local" else contextlib.nullcontext():
            jobs = self._submit(work)
        self.jobs.update((job.job_id, (job, piece)) for job, piece in zip(jobs, pieces, strict=True))
        self._last_look = time.monotonic()
        write_json(self._note, {"cluster": self.cluster, "host": socket.gethostname(), "jobs": self._ids()})
        self.log.info("%s: %s", "submitted to Slurm" if self.cluster == "slurm" else "started", self._shown())

    def ended(self) -> list[Ended]:
        """Slices whose job has ended since the last call."""
        ended = [self._with_result(name) for name, (job, _) in list(self.jobs.items()) if _has_result(job)]
        is_urgent = self.cluster == "local" or self._n_signals or any(self._looks_without.values())
        if time.monotonic() - self._last_look > (URGENT_LOOK_EVERY_S if is_urgent else LOOK_EVERY_S):
            self._last_look = time.monotonic()
            if (states := self._states()) is None:
                return ended
            for name in list(self.jobs):
                gone = states.get(name, "") in {"", *ENDED_STATES} and not _has_result(self.jobs[name][0])
                self._looks_without[name] = self._looks_without[name] + 1 if gone else 0
                if self._looks_without[name] > 1:  # its result may be slow to appear on a shared disk
                    ended += self._without_result(name, states.get(name, ""))
        return ended

    def stop(self, signals: list[int]) -> None:
        """Ask every worker to save and end. From the second signal on, Slurm ends them by its own rules."""
        if len(signals) == self._n_signals and time.monotonic() - self._last_stop < LOOK_EVERY_S:
            return
        self._last_stop = time.monotonic()
        if self.cluster == "local":
            for job, _ in self.jobs.values():
                job._process.send_signal(signal.SIGTERM)  # job.cancel() would leave a second for saving
        elif len(signals) > max(1, self._n_signals):
            _type("scancel", *self._ids())
        else:  # again and again, for those that were between two states; a worker hears it once
            _type("scancel", "--state=PENDING", *self._ids())
            _type("scancel", "--batch", "--signal=USR1", *self._ids())
        self._n_signals = len(signals)

    def close(self) -> None:
        """Forget the jobs, all of which have ended, and what submitit kept of them."""
        self._note.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        with contextlib.suppress(OSError):  # other runs have jobs
            self.scratch.parent.rmdir()

    @property
    def _note(self) -> Path:
        return self.folder / "locks" / "jobs.json"

    def _ids(self) -> list[str]:
        return sorted({name.split("_")[0] for name in self.jobs}, key=int)

    def _shown(self) -> str:
        ids, how = self._ids(), "scancel" if self.cluster == "slurm" else "kill"
        return f"{'job' if len(ids) == 1 else 'jobs'} {', '.join(ids)} (to end by hand: {shlex.join([how, *ids])})"

    def _submit(self, work: list[SliceJob]) -> list[Any]:
        import submitit
        from submitit.core.utils import FailedJobError

        want, minutes = self.resources, max(1, -(-self.resources.seconds // 60))
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        python = ["env", f"PYTHONPATH={path}", sys.executable]
        executor = submitit.AutoExecutor(
            self.scratch,
            cluster=self.cluster,
            slurm_max_num_timeout=NO_LIMIT,
            local_max_num_timeout=NO_LIMIT,
            slurm_python="exec " + shlex.join(python),
            local_python=shlex.join(python),
        )
        warning = min(SAVING_S, want.seconds // 4)
        exact = {"time": want.time, "signal": f"B:USR2@{warning}", "requeue": True, "mem": want.mem}
        executor.update_parameters(
            name="pva-sae",
            timeout_min=minutes,
            nodes=1,
            tasks_per_node=1,
            cpus_per_task=want.cpus,
            gpus_per_node=want.gpus or None,
            slurm_partition=want.partition,
            slurm_use_srun=False,
            slurm_array_parallelism=self.at_once,
            slurm_additional_parameters={key: value for key, value in exact.items() if value is not None},
        )
        try:
            return executor.submit_array(work)
        except FailedJobError as error:
            refusal = [line for line in str(error).splitlines() if "error" in line.lower()] or [str(error)]
            raise ConfigError(
                f"Slurm refused the jobs: {refusal[-1].strip()}\n"
                f"sinfo shows its partitions and limits; see the --slurm flags in: python3 multi_gpu_launcher.py --help"
            ) from error

    def _with_result(self, name: str) -> Ended:
        job, piece = self.jobs.pop(name)
        error = job.exception()
        if error is None:
            code, tries = job.result()
            return Ended(piece, code, tries)
        with open(log_of(self.folder, piece), "a") as log:  # of submitit, or of SliceJob: no try changes it
            log.write(f"{error}\n")
        return Ended(piece, 1, TRIES)

    def _without_result(self, name: str, state: str) -> list[Ended]:
        """A job that was cancelled, or that died with its worker: that one gets another try, if it was not its last."""
        job, piece = self.jobs[name]
        del self._looks_without[name]
        if state == "CANCELLED" or self._n_signals:
            del self.jobs[name]
            if not self._n_signals:
                self.log.warning("job %s was cancelled: records %d to %d are left", name, *piece)
            return [Ended(piece, None, 1)]
        saved = self._n_saved(piece)
        self.tries[piece] = 1 if saved > self._saved[piece] else self.tries[piece] + 1  # none that got on was in vain
        self._saved[piece] = saved
        self.log.warning("job %s ended without a result: %s", name, state or "nobody knows it any more")
        if state and self.cluster == "slurm" and self.tries[piece] < TRIES:
            # The same job again: it may take over the locks that it has left behind on another machine.
            if _type("scontrol", "requeue", name)[0] == 0:
                return []
        del self.jobs[name]
        return [Ended(piece, 1, self.tries[piece])]

    def _n_saved(self, piece: Slice) -> int:
        parts = [PART.fullmatch(path.name) for path in (self.folder / "parts").glob("part_*")]
        return sum(int(part[2]) for part in parts if part and piece[0] <= int(part[1]) <= piece[1])

    def _states(self) -> dict[str, str] | None:
        """Slurm's word for the state of each job that it still knows; None when it does not answer."""
        if self.cluster == "slurm":
            return slurm_states(self._ids())
        return {name: "" if job.done() else "RUNNING" for name, (job, _) in self.jobs.items()}

    def _check_no_jobs_of_another(self) -> None:
        """Raises: PipelineError, naming the jobs that a launcher which was killed has left at work."""
        if not self._note.exists():
            return
        note = json.loads(self._note.read_bytes())
        on_slurm, ids = note["cluster"] == "slurm", note["jobs"]
        if on_slurm:
            states = slurm_states(ids)
            at_work = ids if states is None else [name for name, state in states.items() if state not in ENDED_STATES]
            alive = sorted({name.split("_")[0] for name in at_work}, key=int)
        else:
            alive = [pid for pid in ids if note["host"] == socket.gethostname() and _is_a_local_job(pid)]
        if alive:
            look = f"squeue -j {','.join(alive)}" if on_slurm else f"ps {' '.join(alive)}"
            raise PipelineError(
                f"jobs of an earlier launcher still compute this run ({', '.join(alive)}): {self.folder}\n"
                f"Wait for them ({look}), or end them with: {'scancel' if on_slurm else 'kill'} {' '.join(alive)}"
            )


def check_cluster(cluster: str) -> None:
    """Raises: ConfigError when jobs cannot be handed over from here."""
    try:
        import submitit  # noqa: F401 - asks only whether it is there
    except ModuleNotFoundError:
        raise ConfigError(
            f"the package submitit is not installed for this Python: {sys.executable}\n"
            "Type: .venv/bin/python -m pip install -r requirements.txt"
        ) from None
    missing = [program for program in ("sbatch", "squeue", "scancel", "scontrol", "srun") if not shutil.which(program)]
    if cluster == "slurm" and missing:
        raise ConfigError(
            f"--cluster is 'slurm', but this machine ({socket.gethostname()}) has no {missing[0]}\n"
            f"Type the command on a login node of the cluster, or leave out --cluster to use this machine alone"
        )


def slurm_states(ids: list[str]) -> dict[str, str] | None:
    """State of each job or array element, as {'12_0': 'RUNNING'}; None when Slurm does not answer."""
    status, out, error = _type("squeue", "--noheader", "--array", "--states=all", "--format=%i %T", "-j", ",".join(ids))
    if status != 0:
        return {} if "Invalid job id" in error else None
    return {name: state for name, state in (line.split() for line in out.splitlines())}


def _type(*words: str) -> tuple[int, str, str]:
    done = subprocess.run(words, text=True, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr


def _has_result(job: Any) -> bool:
    return job.paths.result_pickle.exists()


def _is_a_local_job(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return b"submitit" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@contextlib.contextmanager
def _no_signals_from_the_terminal() -> Iterator[None]:
    """Processes that are started meanwhile hear neither Ctrl-C nor the closing of the terminal: only the launcher."""
    numbers = (signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
