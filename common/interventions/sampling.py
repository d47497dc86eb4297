"""Which problems of a split are taken where a phase takes some: evenly spaced, or drawn with a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.problems.problem import ProblemRow


def spaced(problems: Sequence[ProblemRow], n: int) -> list[ProblemRow]:
    """`n` problems, evenly spaced over the split; all of them for 0, or where there are no more."""
    n = n_spaced(len(problems), n)
    return [problems[i] for i in np.linspace(0, len(problems) - 1, n).round().astype(int)]


def n_spaced(n_problems: int, n: int) -> int:
    """How many problems `spaced` gives."""
    return min(n, n_problems) if n else n_problems


def drawn(problems: Sequence[ProblemRow], n: int, seed: int) -> list[ProblemRow]:
    """`n` problems, drawn with the seed, in the order of the split; all of them where there are no more."""
    chosen = np.random.default_rng(seed).choice(len(problems), size=min(n, len(problems)), replace=False)
    return [problems[place] for place in np.sort(chosen)]
