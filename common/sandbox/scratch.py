"""The one folder a program may write to: made per server, emptied or replaced before every program, and measured.

Inside namespaces it is a memory file system, which the kernel bounds and counts. Elsewhere it is a folder on disk,
and what a program leaves there is hostile: names, modes, nesting deeper than any path or recursion, links, files
without a name, more files than can be removed soon. Nothing here follows a link below the folder.
"""

import contextlib
import itertools
import os
import re
import stat
import time
from collections.abc import Iterator

from common.sandbox import libc
from common.sandbox.programs import Limits

PREFIX = "pva-sandbox-"
NAME_BYTES = 4096  # what a name costs beside its content: this bounds how many there are, and how long a look takes
_ASIDE = ".aside"  # beside the folder: what could not be removed in time
_PATIENCE_S = 0.05  # no program waits longer for what others left
_LOOKS = 5
_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY)
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make() -> str:
    """A new, private, empty folder on the machine's usual place for temporary files, named by the process."""
    import tempfile  # with half a dozen libraries that a server, which imports this module too, need not hold

    return tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")


def remove(folder: str, attempts: int = 20) -> None:
    """Remove the folder itself at the end; what cannot be removed stays, with nobody left to tell.

    A program that was killed a moment ago may still finish one last system call, hence the attempts.
    """
    for path in (folder, folder + _ASIDE):
        for _ in range(attempts):
            with contextlib.suppress(OSError):
                if not os.path.lexists(path) or _emptied(path, until=float("inf")):
                    os.rmdir(path)
            if not os.path.lexists(path):
                break
            time.sleep(0.02)


class InMemory:
    """A memory file system mounted on `folder`, inside the server's own namespaces. Raises: OSError."""

    def __init__(self, folder: str, limits: Limits) -> None:
        self.folder = folder
        # One page and one name more than a program may use, so that using them is seen.
        most_bytes, most_names = limits.scratch_bytes, limits.scratch_bytes // NAME_BYTES
        self.room = f"size={most_bytes + os.sysconf('SC_PAGE_SIZE')},nr_inodes={most_names + 2},mode=0700"
        libc.mount_memory(folder, self.room)

    def empty_or_replace(self) -> bool:
        """Leave the next program an empty folder. True if it is another one, which no Landlock rule knows yet."""
        if self.used_bytes(os.getpid()) == 0:
            return False
        libc.unmount(self.folder)
        libc.mount_memory(self.folder, self.room)
        return True

    def used_bytes(self, _pid: int) -> int:
        """Bytes of all files, with a name or without, and NAME_BYTES per name."""
        room = os.statvfs(self.folder)
        n_names = room.f_files - room.f_ffree - 1  # without the root
        return (room.f_blocks - room.f_bfree) * room.f_frsize + n_names * NAME_BYTES


class OnDisk:
    """A plain folder."""

    def __init__(self, folder: str, limits: Limits) -> None:
        self.folder, self.limits = folder, limits

    def empty_or_replace(self) -> bool:
        """Leave the next program an empty folder. True if it is another one, which no Landlock rule knows yet.

        What cannot be removed at all or in time is put aside, and removed bit by bit before later programs.
        Raises: OSError when there is no folder to be had.
        """
        until, aside = time.monotonic() + _PATIENCE_S, self.folder + _ASIDE
        if _emptied(self.folder, until):
            if os.path.isdir(aside) and _emptied(aside, until):
                os.rmdir(aside)
            return False
        for folder in (os.path.dirname(self.folder), aside):
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
        with contextlib.suppress(FileNotFoundError):  # whoever tidies this machine's temporary files took it
            os.rename(self.folder, f"{aside}/{time.monotonic_ns()}")
        os.mkdir(self.folder, 0o700)
        return True

    def used_bytes(self, pid: int) -> int:
        """Bytes in the folder and held by process `pid`; not exact above `scratch_bytes`, only above it as well.

        Blocks count, not sizes, each file once however many names it has, and NAME_BYTES per name. A file without
        a name counts while a descriptor holds it, and as the largest there can be while only a mapping does.
        """
        most = self.limits.scratch_bytes
        for _ in range(_LOOKS):
            named = _named_bytes(self.folder, most)
            if named is not None:
                return named if named > most else named + self._nameless_bytes(pid)
        return most + 1  # folders that are moved at every look hide from it

    def _nameless_bytes(self, pid: int) -> int:
        held: dict[int, int] = {}
        with contextlib.suppress(OSError):  # the process ended
            for number in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):  # closed since it was listed
                    status = os.stat(f"/proc/{pid}/fd/{number}")
                    if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                        held[status.st_ino] = status.st_blocks * 512
            deleted = rb"(?m) (\d+) +" + re.escape(os.fsencode(self.folder)) + rb"/.* \(deleted\)$"
            with open(f"/proc/{pid}/maps", "rb") as mappings:
                for inode in re.findall(deleted, mappings.read()):
                    held.setdefault(int(inode), self.limits.file_bytes)
        return sum(held.values())


def _emptied(folder: str, until: float) -> bool:
    """Remove what `folder` holds; False where that fails, or is not done at the monotonic time `until`."""
    try:
        top = _open_folder(folder)
    except OSError:
        return False
    try:
        return all(time.monotonic() < until for _ in _removals(top))
    except OSError:
        return False
    finally:
        os.close(top)


def _removals(top: int) -> Iterator[None]:
    """Remove what the folder open at `top` holds, one step at a time, so that the caller can stop. Raises: OSError.

    Inner folders are moved up to `top` first: a step then costs the same however deep they lay.
    """
    token = os.urandom(8).hex()  # the start of names that no program has taken
    moved = (f"{token}-{number}" for number in itertools.count())
    pending = os.listdir(top)
    while pending:
        name = pending.pop()
        if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
            os.unlink(name, dir_fd=top)
            yield
            continue
        inner = _open_folder(name, top)
        try:
            for entry in list(os.scandir(inner)):
                if entry.is_dir(follow_symlinks=False):
                    os.close(_open_folder(entry.name, inner))  # a folder that cannot be written to cannot be moved
                    pending.append(next(moved))
                    os.rename(entry.name, pending[-1], src_dir_fd=inner, dst_dir_fd=top)
                else:
                    os.unlink(entry.name, dir_fd=inner)
                yield
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)
        yield


def _named_bytes(folder: str, most: int) -> int | None:
    """Bytes below `folder`, or some number above `most`; None if a folder was moved while it was looked at.

    Two descriptors are open at most: the way back leads through "..", and is checked.
    """
    try:
        here = _open_folder(folder)
    except OSError:
        return 0  # without isolation a program can remove its folder
    linked: set[int] = set()
    above: list[tuple[tuple[int, int], list[str]]] = []
    try:
        inner, total = _look(here, linked, most)
        while total <= most and (inner or above):
            if inner:
                try:
                    there = _open_folder(inner.pop(), here)
                except OSError:
                    continue  # removed since it was listed
                above.append((_identity(here), inner))
                os.close(here)
                here = there
                inner, n_bytes = _look(here, linked, most - total)
                total += n_bytes
            else:
                there = os.open("..", os.O_RDONLY | _FOLDER, dir_fd=here)
                os.close(here)
                here = there
                expected, inner = above.pop()
                if _identity(here) != expected:
                    return None
        return total
    finally:
        os.close(here)


def _look(folder: int, linked: set[int], most: int) -> tuple[list[str], int]:
    """(names of the folders, bytes) of what lies directly in the folder open at `folder`, until above `most`."""
    names, total = [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                status = entry.stat(follow_symlinks=False)
                total += NAME_BYTES
                if status.st_ino not in linked:
                    total += status.st_blocks * 512
                if stat.S_ISDIR(status.st_mode):
                    names.append(entry.name)
                elif status.st_nlink > 1:
                    linked.add(status.st_ino)
            if total > most:
                break
    return names, total


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def _open_folder(path: str, parent: int | None = None) -> int:
    """A descriptor of a folder that its owner may read, enter and change, whatever mode a program gave it."""
    handle = os.open(path, _PATH_ONLY | _FOLDER, dir_fd=parent)
    try:
        if os.fstat(handle).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        return os.open(".", os.O_RDONLY | _FOLDER, dir_fd=handle)
    finally:
        os.close(handle)
