"""How much memory this process may count on: the machine's, or its cgroup's if that is less."""

import os

from common.sandbox.cgroups import memory_bounds


def memory_bytes() -> int:
    """Bytes of memory, by the tightest limit that can be read."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(bound.limit for bound in memory_bounds())])
