"""The layer every level has: resource limits and dropped capabilities, applied in the child."""

import math
import resource
import sys
from collections.abc import Sequence

from common.sandbox.libc import drop_capabilities
from common.sandbox.programs import Limits

STACK_BYTES = 8 << 20


def lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, never above what this process is allowed already."""
    resource.setrlimit(kind, _allowed(kind, soft, soft if hard is None else hard))


def _allowed(kind: int, soft: int, hard: int) -> tuple[int, int]:
    _, ceiling = resource.getrlimit(kind)
    return (soft, hard) if ceiling == resource.RLIM_INFINITY else (min(soft, ceiling), min(hard, ceiling))


def process_limits(limits: Limits) -> list[tuple[int, tuple[int, int]]]:
    """(kind, (soft, hard)) of every limit that a program gets, none above what this process is allowed itself.

    The CPU limit only stands in for the server, which counts exactly: the kernel counts it in ticks, and on a loaded
    machine these run ahead (2.69 s for 3 s). The hard limit is one second above the soft one: SIGXCPU at the soft
    limit tells a timeout from other kills.
    """
    cpu = math.ceil(2 * limits.cpu_s)
    wanted = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_AS: (limits.memory_bytes,) * 2,
        resource.RLIMIT_FSIZE: (limits.file_bytes,) * 2,
        resource.RLIMIT_NOFILE: (limits.open_files,) * 2,
        resource.RLIMIT_CORE: (1, 1),  # too small for any file; with 0 the kernel still starts a machine's core_pattern
    }
    if hasattr(resource, "RLIMIT_MEMLOCK"):
        wanted[resource.RLIMIT_MEMLOCK] = (0, 0)
    return [(kind, _allowed(kind, *pair)) for kind, pair in wanted.items()]


def apply_limits(limits: Sequence[tuple[int, tuple[int, int]]]) -> None:
    """Set what `process_limits` found, for this process; no capabilities from here on."""
    for kind, pair in limits:
        resource.setrlimit(kind, pair)
    if sys.platform == "linux":
        drop_capabilities()


def use_usual_stack() -> None:
    """The soft stack limit most machines have, so that `ulimit -s unlimited` changes no verdict."""
    _, ceiling = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, ceiling))
