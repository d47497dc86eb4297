"""The one folder a program may write to: made per server, emptied before every program."""

import os
import time

PREFIX = "pva-sandbox-"


def make() -> str:
    """A new, private, empty folder on the machine's usual place for temporary files, named by the process."""
    import tempfile  # with half a dozen libraries that a server, which imports this module too, need not hold

    return tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-")


def empty(folder: str) -> None:
    """Remove everything in `folder`, however deep, without following links. Raises: OSError.

    A program can nest folders deeper than any recursion or path length allows, so nested folders
    are first moved up into `folder`, one level at a time.
    """
    moved = 0
    while entries := list(os.scandir(folder)):
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)  # a program may have made it unreadable
            for inner in list(os.scandir(entry.path)):
                if inner.is_dir(follow_symlinks=False):
                    moved += 1
                    os.rename(inner.path, os.path.join(folder, f".moved-{moved}"))
                else:
                    os.unlink(inner.path)
            os.rmdir(entry.path)


def used_bytes(folder: str, most_entries: int = 5000) -> int:
    """Bytes on disk under `folder`, counted no further than `most_entries` entries."""
    total, pending, seen = 0, [folder], 0
    while pending and seen < most_entries:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    seen += 1
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:
            continue  # removed, or made unreadable, while we looked
    return total


def remove(folder: str, attempts: int = 20) -> None:
    """Remove the folder itself at the end; what cannot be removed stays, with nobody left to tell.

    A program that was killed a moment ago may still finish one last system call, hence the attempts.
    """
    for _ in range(attempts):
        try:
            empty(folder)
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
