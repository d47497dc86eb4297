"""The layer every level has: resource limits and dropped capabilities, applied in the child."""

import math
import resource
import sys

from common.sandbox.libc import drop_capabilities
from common.sandbox.programs import Limits

STACK_BYTES = 8 << 20


def lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, never above what this process is allowed already."""
    _, ceiling = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(kind, (soft, hard))


def apply_limits(limits: Limits) -> None:
    """CPU, memory, file, descriptor and core limits for this process; no capabilities from here on.

    The hard CPU limit is one second above the soft one: SIGXCPU at the soft limit tells a timeout
    from other kills, and where both are equal the kernel kills early (2.76 s for 3 s).
    """
    cpu = math.ceil(limits.cpu_s)
    lower(resource.RLIMIT_CPU, cpu, cpu + 1)
    lower(resource.RLIMIT_AS, limits.memory_bytes)
    lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    lower(resource.RLIMIT_NOFILE, limits.open_files)
    lower(resource.RLIMIT_CORE, 0)
    if hasattr(resource, "RLIMIT_MEMLOCK"):
        lower(resource.RLIMIT_MEMLOCK, 0)
    if sys.platform == "linux":
        drop_capabilities()


def use_usual_stack() -> None:
    """The soft stack limit most machines have, so that `ulimit -s unlimited` changes no verdict."""
    _, ceiling = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_BYTES, ceiling))
