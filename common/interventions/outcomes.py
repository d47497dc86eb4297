"""What steering did to the programs of the same problems: rates with intervals, each from counts alone.

Every steered program is compared with the unsteered one of its problem. Problems where either could not be
judged (not_run, unsupported) are left out, and counted.
"""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from common.evaluation.statistics import Z, counted, rate
from common.handoffs import JUDGED
from common.handoffs.estimates import UNDEFINED, Interval
from common.handoffs.steering import Effect
from common.tables import TableRow


@dataclass(frozen=True)
class Pairs:
    """Rows of the same problems before and after, both judged; `left_out` problems were not."""

    before: list[TableRow]
    after: list[TableRow]
    left_out: int

    @cached_property
    def _counts(self) -> Counter[tuple[str, str]]:
        return Counter((a["label"], b["label"]) for a, b in zip(self.before, self.after, strict=True))

    def count(self, before: str, after: str) -> int:
        """Problems whose label was `before` and is `after`."""
        return self._counts[before, after]

    @property
    def n(self) -> int:
        return len(self.before)

    @property
    def corrected(self) -> int:
        return self.count("incorrect", "correct")

    @property
    def corrupted(self) -> int:
        return self.count("correct", "incorrect")

    @property
    def n_correct_before(self) -> int:
        return sum(row["label"] == "correct" for row in self.before)

    @property
    def net_change(self) -> float:
        """Change of the pass rate, -1 to 1; NaN without a pair."""
        return (self.corrected - self.corrupted) / self.n if self.n else math.nan

    @property
    def newly_degenerate(self) -> int:
        pairs = zip(self.before, self.after, strict=True)
        return sum(b["degenerate"] and not a["degenerate"] for a, b in pairs)


def paired(before: Sequence[TableRow], after: Sequence[TableRow]) -> Pairs:
    """Match rows by problem; each problem has one row in both."""
    by_task = {row["task_id"]: row for row in after}
    assert len(by_task) == len(after) == len(before) and all(row["task_id"] in by_task for row in before)
    both = [(row, by_task[row["task_id"]]) for row in before]
    kept = [(a, b) for a, b in both if a["label"] in JUDGED and b["label"] in JUDGED]
    return Pairs([a for a, _ in kept], [b for _, b in kept], len(both) - len(kept))


def effect(pairs: Pairs) -> Effect:
    """What steering did: see `rate` and `change_interval` for the intervals, all of 95 %.

    correction: of the programs that failed, those that pass; corruption: of those that passed, those that fail;
    preservation: of those that passed, those that still do; net_change: of the pass rate.
    """
    n, n_correct = pairs.n, pairs.n_correct_before
    after = [row["label"] for row in pairs.after].count("correct")
    degenerate = sum(row["degenerate"] for row in pairs.after)
    change, disturbance = change_interval(pairs.corrected, pairs.corrupted, n), trajectory_kl(pairs.after)
    return Effect(
        n=n,
        left_out=pairs.left_out,
        correction=counted(pairs.corrected, n - n_correct),
        corruption=counted(pairs.corrupted, n_correct),
        preservation=counted(n_correct - pairs.corrupted, n_correct),
        net_change=change,
        pass_rate=rate(after, n),
        degenerate_rate=degenerate / n if n else None,
        newly_degenerate=counted(pairs.newly_degenerate, n),
        trajectory_kl=disturbance,
        net_change_per_nat=per_nat(change.value, disturbance),
    )


def transitions(pairs: Pairs) -> dict[str, int]:
    words = {"pass": "correct", "fail": "incorrect"}
    return {f"{a}_to_{b}": pairs.count(words[a], words[b]) for a in words for b in words}


def trajectory_kl(rows: Sequence[TableRow]) -> float | None:
    """Mean over problems of what trajectory_kl.py measures of each: the disturbance [nats per token]."""
    return statistics.fmean(row["trajectory_kl"] for row in rows) if rows else None


def per_nat(change: float | None, disturbance: float | None) -> float | None:
    """Change of the pass rate per nat of disturbance; None where nothing was disturbed."""
    return change / disturbance if change is not None and disturbance else None


def change_interval(n_gained: int, n_lost: int, n: int) -> Interval:
    """(n_gained - n_lost) / n, with a 95 % interval of a difference between paired shares.

    The adjusted Wald interval, in [-1, 1]: with g = (n_gained + 1) / (n + 2) and l = (n_lost + 1) / (n + 2) it is
    g - l plus and minus 1.96 sqrt((g + l - (g - l)^2) / (n + 2)).

    Source: Bonett & Price 2012, J. Educ. Behav. Stat. 37(4), 479-488.
    """
    if not n:
        return UNDEFINED
    gained, lost = (n_gained + 1) / (n + 2), (n_lost + 1) / (n + 2)
    half = Z * math.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    low, high = max(-1.0, gained - lost - half), min(1.0, gained - lost + half)
    return Interval((n_gained - n_lost) / n, low, high)
