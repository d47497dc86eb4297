"""Programs that exist already (of `grade`, reference solutions) judged in their order, so many ahead that every worker
is busy and memory stays bounded. What a model writes is judged in writing.py, as it is written.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

from common.sandbox import Program, Sandbox, Verdict

PROGRAMS_AHEAD = 32  # for each worker: a slow program then does not leave the others idle

Item = TypeVar("Item")


def verdicts_of(programs: Iterable[tuple[Item, Program]], sandbox: Sandbox) -> Iterator[tuple[Item, Verdict]]:
    """What was given with each program, and its verdict; a program is read when there is room for it."""
    waiting = deque()
    for item, program in programs:
        waiting.append((item, sandbox.submit(program)))
        if len(waiting) >= PROGRAMS_AHEAD * sandbox.workers:
            item, future = waiting.popleft()
            yield item, future.result()
    while waiting:
        item, future = waiting.popleft()
        yield item, future.result()
