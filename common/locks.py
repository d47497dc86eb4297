"""One writer per slice of a run. A lock is the kernel's, so it goes when its process does."""

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from common.errors import PipelineError
from common.files import write_json

LAUNCHER = "launcher.lock"


def lock_slice(run: Path, start: int, end: int) -> FileLock:
    """Own the records from `start` to `end`, both included, of the run folder `run`.

    Raises: PipelineError, naming the owner, when another process works on one of them.
    """
    folder = run / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "claims.lock"):
        for path in sorted(folder.glob("slice_*.lock")):
            first, last = map(int, path.stem.split("_")[1:])
            if first <= end and start <= last:
                _check_free(path, run)
        lock = FileLock(folder / f"slice_{start:06d}_{end:06d}.lock")
        lock.acquire(blocking=False)
        write_json(Path(lock.lock_file).with_suffix(".owner"), {"host": socket.gethostname(), "pid": os.getpid()})
    return lock


def lock_for_launcher(run: Path) -> FileLock:
    """Own the handing out of a run's slices. Raises: PipelineError, naming the owner, when somebody else does."""
    path = run / "locks" / LAUNCHER
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_free(path, run)
    lock = FileLock(path)
    lock.acquire(blocking=False)
    write_json(path.with_suffix(".owner"), {"host": socket.gethostname(), "pid": os.getpid()})
    return lock


def in_use(run: Path) -> bool:
    """Whether some process computes a slice of this run, or hands them out."""
    folder = run / "locks"
    for path in [*folder.glob("slice_*.lock"), *folder.glob(LAUNCHER)]:
        try:
            _check_free(path, run)
        except PipelineError:
            return True
    return False


def _check_free(path: Path, run: Path) -> None:
    probe = FileLock(path)
    try:
        probe.acquire(blocking=False)
    except Timeout as held:
        owner: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):  # the owner is still writing its name
            owner = json.loads(path.with_suffix(".owner").read_bytes())
        first, last = map(int, path.stem.split("_")[1:]) if path.name != LAUNCHER else (0, 0)
        what = f"records {first} to {last} are" if last else "this run is"
        raise PipelineError(
            f"{what} being computed by process {owner.get('pid', '?')} on {owner.get('host', '?')}: {run}\n"
            f"Wait for it, or stop it with: kill {owner.get('pid', 'PID')}"
        ) from held
    probe.release()
