"""Whose turn it is, the program's or its tests': one shared byte, so that waiting for the other is no blocking.

The tests' process writes it and both servers read it. The program's process does not have it. The judge gives
the first turn, and ends the game: a program that stays when its tests are over would wait for ever.
"""

import mmap
import os
import tempfile

TURNS = {"tests": 0, "programs": 1, "references": 2}  # by the role of the server whose child works
OVER = len(TURNS)  # the tests have ended: nothing that the program does counts any more


def create() -> int:
    """A descriptor of the byte, for both servers to inherit."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pva-sandbox-turn")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, mmap.PAGESIZE)
    return descriptor


def open_page(descriptor: int, for_children: bool) -> mmap.mmap:
    """The byte in this process; `for_children`: also in processes that it forks."""
    page = mmap.mmap(descriptor, mmap.PAGESIZE)
    if not for_children and hasattr(mmap, "MADV_DONTFORK"):
        page.madvise(mmap.MADV_DONTFORK)
    return page
