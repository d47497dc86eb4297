"""The control groups that bound this process's memory: those of a container, or of a Slurm job."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified")
_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))  # version 2, and 1


@dataclass(frozen=True)
class MemoryBound:
    """Bytes that a group may hold, and holds; copies of files that the kernel drops when it needs room are not held."""

    limit: int
    held: int


def memory_bounds(membership: Path = Path("/proc/self/cgroup"), roots: Sequence[str] = ROOTS) -> list[MemoryBound]:
    """Of every group that this process is in, and of those above them: a job's limit is often on one of these."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    groups = {line.split(":", 2)[2].strip("/") for line in lines if line.count(":") >= 2} | {""}
    folders = {
        Path(root, parent) for root in roots for group in groups for parent in (Path(group), *Path(group).parents)
    }
    bounds = []
    for folder in sorted(folders):
        for limit_name, held_name in _FILES:
            limit = _number(_text(folder / limit_name))
            if limit:
                held = _number(_text(folder / held_name)) or 0
                bounds.append(MemoryBound(limit, max(0, held - _given_back(folder))))
    return bounds


def _given_back(folder: Path) -> int:
    """Bytes of files that were read and are not in use: a model's own files may be most of what a group holds."""
    counts = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    return _number(counts.get("total_inactive_file", counts.get("inactive_file", ""))) or 0


def _number(text: str) -> int | None:
    """None for 'max', and for nothing."""
    return int(text) if text.strip().isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
