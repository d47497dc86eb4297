"""Contenders measured in turn, round by round, so that what slows the machine slows all of them."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping

from benchmarks.rows import Row

Contender = Callable[[int], float | None]  # number of the round -> units of work that were done; None is 1


@dataclasses.dataclass(frozen=True)
class Rounds:
    """Seconds for a unit of work, of each contender in each round."""

    seconds: dict[str, list[float]]

    @property
    def n(self) -> int:
        return len(next(iter(self.seconds.values())))

    def median(self, name: str) -> float:
        """Seconds for a unit of work."""
        return statistics.median(self.seconds[name])

    def times_as_fast(self, ours: str, other: str) -> list[float]:
        """In each round, how often `ours` does its work while `other` does it once."""
        return [b / a for a, b in zip(self.seconds[ours], self.seconds[other], strict=True)]

    def times_as_long(self, ours: str, other: str) -> list[float]:
        """In each round, how many times the seconds of `other` it takes `ours`."""
        return self.times_as_fast(other, ours)


def alternate(contenders: Mapping[str, Contender], rounds: int) -> Rounds:
    """Call every contender once in each round, with the round's number: A B, then B A, and so on.

    What it returns is the amount of work it did, where that differs between contenders; seconds are for one unit.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in list(contenders) if number % 2 == 0 else reversed(list(contenders)):
            began = time.perf_counter()
            units = contenders[name](number)
            seconds[name].append((time.perf_counter() - began) / (1 if units is None else units))
    return Rounds(seconds)


def row_of(name: str, against: str, ratios: list[float], *, goal: str = "", text: str = "") -> Row:
    """The row of one ratio, measured in each round."""
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    return Row(name, against, ratio=middle, low=low, high=high, goal=goal, text=text, n_rounds=len(ratios))
