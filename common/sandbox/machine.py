"""How much memory this process may count on: the machine's, or its cgroup's if that is less."""

import os
from pathlib import Path

_CGROUP_LIMITS = ("memory.max", "memory.limit_in_bytes")
_CGROUP_ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified")


def memory_bytes() -> int:
    """Bytes of memory, by the tightest limit that can be read."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_cgroup_limits()])


def _cgroup_limits() -> list[int]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    groups = {line.split(":", 2)[2].strip("/") for line in lines if line.count(":") >= 2}
    limits = []
    for root in _CGROUP_ROOTS:
        for group in groups | {""}:
            for parent in (Path(group), *Path(group).parents):  # a job's limit is often on a group above ours
                limits += [value for name in _CGROUP_LIMITS if (value := _read(Path(root, parent, name)))]
    return limits


def _read(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) > 0 else None
