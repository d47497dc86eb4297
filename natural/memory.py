"""The memory of a command and all processes that descend from it, from Linux' /proc."""

import re
import time
from pathlib import Path

PROC = Path("/proc")
COST = 0.01  # share of the time that asking for shared memory may take: 0.1 s of a process of 5 GB


class Memory:
    """Peaks over all looks so far, in bytes.

    The kernel keeps each process' own peak, so a look late in its life suffices for that. What all processes have
    together is only known at the looks; memory that they share, as of mapped weights, counts once.
    """

    def __init__(self) -> None:
        self.largest_process = 0
        self.all_processes = 0
        self._ask_at = 0.0

    def look(self, pid: int) -> None:
        """Note each process' own peak, and more rarely what all have together, which is dear to ask."""
        family = descendants(pid)
        peaks = (kilobytes(PROC / str(one) / "status", "VmHWM") for one in family)
        self.largest_process = max(self.largest_process, *(1024 * peak for peak in peaks), 0)
        began = time.monotonic()
        if began < self._ask_at:
            return
        now = sum(kilobytes(PROC / str(one) / "smaps_rollup", "Pss") for one in family)
        self.all_processes = max(self.all_processes, 1024 * now)
        asked = time.monotonic()
        self._ask_at = asked + (asked - began) / COST


def descendants(pid: int) -> set[int]:
    """A process and all below it, from the kernel's own lists of children: nobody else's processes are looked at."""
    processes, waiting = set(), [pid]
    while waiting:
        one = waiting.pop()
        processes.add(one)
        for path in (PROC / str(one)).glob("task/*/children"):
            waiting += map(int, _text(path).split())
    return processes


def kilobytes(path: Path, key: str) -> int:
    """What a file of /proc says of a key; 0 for a process that has ended meanwhile."""
    match = re.search(rf"^{key}:\s+(\d+) kB", _text(path), re.MULTILINE)
    return int(match[1]) if match else 0


def _text(path: Path) -> str:
    """Nothing for a process that has ended meanwhile, or is another user's."""
    try:
        return path.read_text()
    except OSError:
        return ""
