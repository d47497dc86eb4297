"""Faults at the n-th file operation of a process, in the manner of SQLite's crash tests.

Operations are write, fsync, rename, close, make and remove, on regular files and folders only. `kill` ends the
process with SIGKILL before the operation (a write is torn: half of it reaches the file); `full` makes it and all
that follow fail as on a full disk.
"""

import builtins
import errno
import io
import os
import signal
import stat
from collections.abc import Callable
from typing import Any

KILL, FULL = "kill", "full"
_NEEDS_ROOM = {"write", "fsync", "rename", "make"}  # what a full disk refuses


class Injector:
    """Counts operations; at the `at`-th the fault happens. `at` = 0 only counts."""

    def __init__(self, kind: str, at: int):
        self.kind, self.at, self.count = kind, at, 0

    def install(self) -> None:
        """Take over the file functions of this process."""
        self._wrap("fsync", "fsync"), self._wrap("replace", "rename"), self._wrap("rename", "rename")
        self._wrap("mkdir", "make"), self._wrap("unlink", "remove"), self._wrap("remove", "remove")
        self._wrap("rmdir", "remove")
        self._wrap_descriptor("close", "close")
        plain_open = builtins.open

        def counted_open(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            opened = plain_open(file, mode, *args, **options)
            return _CountedFile(opened, self) if set(mode) & set("wax+") and _is_regular(opened.fileno()) else opened

        builtins.open = io.open = counted_open

    def happens(self, operation: str) -> bool:
        """Count one operation, and let the fault happen if it is its turn. True: the caller must tear its write."""
        self.count += 1
        if not self.at or self.count < self.at:
            return False
        if self.kind == FULL:
            if operation in _NEEDS_ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return False
        if operation == "write":
            return True
        die()

    def _wrap(self, name: str, operation: str) -> None:
        plain: Callable = getattr(os, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.happens(operation)
            return plain(*args, **options)

        setattr(os, name, counted)

    def _wrap_descriptor(self, name: str, operation: str) -> None:
        plain: Callable = getattr(os, name)

        def counted(descriptor: int) -> Any:
            if _is_regular(descriptor):
                self.happens(operation)
            return plain(descriptor)

        setattr(os, name, counted)


class _CountedFile:
    """A file that is written to."""

    def __init__(self, file: Any, injector: Injector):
        self._file, self._injector = file, injector

    def write(self, data: Any) -> int:
        if self._injector.happens("write"):
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            die()
        return self._file.write(data)

    def close(self) -> None:
        if not self._file.closed:
            self._injector.happens("close")
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_CountedFile":
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _is_regular(descriptor: int) -> bool:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
