"""One writer per slice of a run.

A lock is the kernel's, so it goes when its process does. Where the kernel's word does not reach (a shared
folder whose locks other machines do not see), the owner's note beside the lock stands: it is taken back at
a clean end, and otherwise believed until the owner is known to be gone.
"""

import contextlib
import errno
import os
import shlex
import socket
import weakref
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from common.errors import PipelineError
from common.files import read_sealed_json, write_sealed_json

LAUNCHER = "launcher.lock"
WRITING_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_held: "weakref.WeakSet[Claim]" = weakref.WeakSet()


class Claim:
    """A lock that this process holds, with the note that says so."""

    def __init__(self, path: Path):
        self.lock = FileLock(path)
        self.lock.acquire(blocking=False)
        self._note = path.with_suffix(".owner")
        write_sealed_json(self._note, describe_owner())
        _held.add(self)

    def release(self) -> None:
        """Take the note back and free the lock."""
        with contextlib.suppress(OSError):  # the folder may be swept already
            self._note.unlink(missing_ok=True)
        self.lock.release()
        _held.discard(self)

    def forget(self) -> None:
        """Close this process's copy of the lock, which the process that forked it still holds."""
        if (fd := self.lock._context.lock_file_fd) is not None:
            with contextlib.suppress(OSError):
                os.close(fd)


def _forget_all() -> None:
    for claim in list(_held):
        claim.forget()


os.register_at_fork(after_in_child=_forget_all)  # a child that outlives its parent must not keep the lock


def lock_slice(run: Path, start: int, end: int) -> Claim:
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
        return Claim(folder / f"slice_{start:06d}_{end:06d}.lock")


def lock_for_launcher(run: Path) -> Claim:
    """Own the handing out of a run's slices. Raises: PipelineError, naming the owner, when somebody else does."""
    path = run / "locks" / LAUNCHER
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_free(path, run)
    return Claim(path)


def in_use(run: Path) -> bool:
    """Whether some process computes a slice of this run, or hands them out, as far as one can tell."""
    folder = run / "locks"
    for path in [*folder.glob("slice_*.lock"), *folder.glob(LAUNCHER)]:
        try:
            _check_free(path, run)
        except PipelineError:
            return True
    return False


def worked_on_by(run: Path) -> str:
    """'process 2492 on node7' of who computes this run, by the notes alone; nothing where nobody is known to."""
    for note in sorted((run / "locks").glob("*.owner")):
        owner = _read(note)
        if owner is not None and not _is_gone(owner):
            return f"process {owner['pid']} on {owner['host']}"
    return ""


def describe_owner() -> dict[str, Any]:
    """What another process needs to know to tell whether this one is gone."""
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "pid": os.getpid(),
        "started": _start_time(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID"),
        "restarts": int(os.environ.get("SLURM_RESTART_COUNT", 0)),
    }


def _check_free(path: Path, run: Path) -> None:
    """Raises: PipelineError when the lock is held, or its last owner may still be at work."""
    note = path.with_suffix(".owner")
    probe = FileLock(path)
    try:
        probe.acquire(blocking=False)
    except Timeout as held:
        raise PipelineError(_is_held(path, run, _read(note))) from held
    except OSError as error:
        if error.errno not in WRITING_REFUSED:
            raise
        owner = _read(note)  # whoever may only read has no more than the note's word
        if owner is None or _is_gone(owner):
            return
        raise PipelineError(_is_held(path, run, owner)) from error
    try:
        owner = _read(note)
        if owner is None or _is_gone(owner):
            note.unlink(missing_ok=True)
            return
        if _is_seen_from_here(owner):
            raise PipelineError(_is_held(path, run, owner))
        raise PipelineError(
            f"{_what(path)} being computed by process {owner['pid']} on {owner['host']}, which did not end cleanly "
            f"and cannot be looked at from here ({socket.gethostname()}): {run}\n"
            f"If it is gone, type: rm {shlex.quote(str(note))}"
        )
    finally:
        probe.release()


def _is_held(path: Path, run: Path, owner: dict[str, Any] | None) -> str:
    owner = owner or {"pid": "?", "host": "?"}  # it is still writing its name
    return (
        f"{_what(path)} being computed by process {owner['pid']} on {owner['host']}: {run}\n"
        f"Wait for it, or stop it with: kill {owner['pid']}"
    )


def _what(path: Path) -> str:
    if path.name == LAUNCHER:
        return "this run is"
    first, last = map(int, path.stem.split("_")[1:])
    return f"records {first} to {last} are"


def _read(note: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError):
        return read_sealed_json(note)
    return None


def _is_gone(owner: dict[str, Any]) -> bool:
    """Whether the process that left its note behind has certainly ended."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is not None and job == owner["job"] and owner["restarts"] < int(os.environ.get("SLURM_RESTART_COUNT", 0)):
        return True  # an earlier start of this very job, on whatever node
    if not _is_seen_from_here(owner):
        return False
    if owner["pid"] == os.getpid():  # our own, from before: the lock is free
        return True
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(owner["pid"], 0)
        return _start_time(owner["pid"]) != owner["started"]  # another process with the same number
    return not Path(f"/proc/{owner['pid']}").exists()


def _is_seen_from_here(owner: dict[str, Any]) -> bool:
    return (owner["host"], owner["boot"]) == (socket.gethostname(), _boot())


def _boot() -> str:
    """Names this start of this machine and the process numbers in use here; containers have their own."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return "unknown"


def _start_time(pid: int) -> str | None:
    """When a process began, in ticks since boot; None where the kernel does not tell."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None
