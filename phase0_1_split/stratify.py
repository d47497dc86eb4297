"""Split problems into parts of given fractions, alike in complexity, that share no near duplicate.

1. Sizes: what n problems dealt in whole rounds give (see `split_sizes`).
2. Strata: quantile bins of complexity; equal complexities are never parted.
3. Quotas: in every stratum each split gets its proportional share rounded down or up, such
   that strata and splits both add up (controlled rounding; a transport problem, solved exactly).
4. Groups of near duplicates are placed first, whole, each into a split drawn in proportion to
   the room left among those with room in every stratum the group touches. A group that fits
   nowhere goes where most room is left, and the sizes then differ by what it takes too much.
5. The single problems of a stratum fill its quotas in a random order.

Random means by a hash of (seed, task_id): it depends on neither the order of the input nor a
library's version, and a problem that leaves the dataset does not reshuffle the others.
Source for step 3: Cox 1987, "A constructive procedure for unbiased controlled rounding".
"""

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from scipy.optimize import linprog
from scipy.stats import ks_2samp

from common.errors import ConfigError
from common.evaluation.statistics import p_of
from common.handoffs.preparation import (
    ComplexityOfSplit,
    DuplicateGroupOfSplit,
    DuplicatePair,
    SplitDocument,
    Stratum,
)
from common.problems.near_duplicates import DuplicateGroup

DEFAULT_STRATA = 10


def split_problems(
    task_ids: Sequence[int],
    complexity: Sequence[int],
    groups: Sequence[Sequence[int]],
    fractions: Mapping[str, float],
    seed: int,
    n_strata: int = DEFAULT_STRATA,
) -> dict[str, list[int]]:
    """Task ids of each split, ascending, the splits in the order of `fractions`.

    `complexity` is parallel to `task_ids`; `groups` holds task ids that must stay together
    (groups of one may be left out).

    Raises: ConfigError when the fractions are not positive or do not add up to 1.
    """
    names = list(fractions)
    sizes = split_sizes(len(task_ids), fractions)
    stratum_of = dict(zip(task_ids, strata(complexity, n_strata), strict=True))
    counts = np.bincount(list(stratum_of.values()), minlength=1)
    room = _controlled_rounding(counts, np.array([sizes[name] for name in names]))
    split_of: dict[int, int] = {}
    together = [group for group in groups if len(group) > 1]
    for group in sorted(together, key=lambda group: (-len(group), _hash(seed, min(group)))):
        needed = np.bincount([stratum_of[task_id] for task_id in group], minlength=len(counts))
        split = _split_for_group(room, needed, _hash(seed, min(group)) / 2**64)
        room[:, split] -= needed
        split_of.update(dict.fromkeys(group, split))
    for stratum in range(len(counts)):
        single = [task_id for task_id in task_ids if stratum_of[task_id] == stratum and task_id not in split_of]
        single.sort(key=lambda task_id: _hash(seed, task_id))
        quotas = _fitted(room[stratum], len(single))
        split_of.update(zip(single, np.repeat(np.arange(len(names)), quotas).tolist(), strict=True))
    return {name: sorted(id_ for id_ in task_ids if split_of[id_] == index) for index, name in enumerate(names)}


def split_sizes(n: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """How many of n problems each split gets.

    As if dealt round by round: with fractions .5, .1, .4 a round is 5, 1 and 4 of 10 problems,
    and the last, unfinished round is dealt in the same order. 974 problems are 97 rounds and 4
    more for the first split: 489, 97, 388, the published sizes (rounding the shares would give
    487, 97, 390). Fewer problems than one round are shared by largest remainder, at least one
    for each split while they last.

    Raises: ConfigError when the fractions are not positive or do not add up to 1.
    """
    shown = ", ".join(f"{name} {fraction:g}" for name, fraction in fractions.items())
    if not fractions or not all(fraction > 0 for fraction in fractions.values()):
        raise ConfigError(f"split fractions must be above 0; they are {shown or 'none'}\nGive for example 0.5,0.1,0.4")
    if abs(sum(fractions.values()) - 1) > 1e-6:
        raise ConfigError(
            f"split fractions must add up to 1; {shown} add up to {sum(fractions.values()):g}\n"
            "Give for example 0.5,0.1,0.4"
        )
    exact = {name: Fraction(fraction).limit_denominator(1000) for name, fraction in fractions.items()}
    round_length = math.lcm(*(share.denominator for share in exact.values()))
    n_rounds, left = divmod(n, round_length)
    if n_rounds == 0 or sum(exact.values()) != 1:
        return _by_largest_remainder(n, fractions)
    sizes = {}
    for name, share in exact.items():
        in_round = int(share * round_length)
        sizes[name] = n_rounds * in_round + min(left, in_round)
        left -= min(left, in_round)
    return sizes


def strata(complexity: Sequence[int], n_strata: int = DEFAULT_STRATA) -> list[int]:
    """The stratum of each value, from 0: at most `n_strata` quantile bins, equal values together."""
    if not len(complexity):
        return []
    ordered, n = sorted(complexity), len(complexity)
    # Ranks in whole numbers: 3/10 of 100 is 30.000000000000004 in floating point.
    last_of_bin = sorted({ordered[-(-n * k // n_strata) - 1] for k in range(1, n_strata)})
    return np.unique(np.searchsorted(last_of_bin, complexity, side="left"), return_inverse=True)[1].tolist()


def split_report(
    splits: Mapping[str, Sequence[int]],
    complexity: Mapping[int, int],
    groups: Sequence[DuplicateGroup],
    fractions: Mapping[str, float],
    seed: int,
    n_strata: int = DEFAULT_STRATA,
) -> SplitDocument:
    """What a reader needs to judge a split: sizes, strata, complexity by split, and the groups kept together.

    `complexity` maps task_id to complexity. Means come with their standard error (sd / sqrt(n)),
    pairs of splits with the p of a two-sided Kolmogorov-Smirnov test, which ties make conservative.
    """
    split_of = {task_id: name for name, ids in splits.items() for task_id in ids}
    ids = sorted(split_of)
    stratum_of = dict(zip(ids, strata([complexity[task_id] for task_id in ids], n_strata), strict=True))
    values = {name: np.array([complexity[task_id] for task_id in members]) for name, members in splits.items()}
    together = [group for group in groups if len(group.task_ids) > 1]
    return SplitDocument(
        seed=seed,
        fractions=dict(fractions),
        sizes={name: len(members) for name, members in splits.items()},
        sizes_wanted=split_sizes(len(ids), fractions),
        strata=[_stratum(stratum, splits, stratum_of, complexity) for stratum in sorted(set(stratum_of.values()))],
        complexity={name: _moments(sample) for name, sample in values.items()},
        kolmogorov_smirnov_p={f"{a} vs {b}": _ks_p(values[a], values[b]) for a, b in itertools.combinations(splits, 2)},
        n_groups=len(together),
        groups=[_group(group, split_of) for group in together],
        pairs_across_splits=[
            [pair.task_id_a, pair.task_id_b]
            for group in together
            for pair in group.pairs
            if split_of[pair.task_id_a] != split_of[pair.task_id_b]
        ],
    )


def _by_largest_remainder(n: int, fractions: Mapping[str, float]) -> dict[str, int]:
    sizes = {name: math.floor(n * fraction + 1e-9) for name, fraction in fractions.items()}
    by_remainder = sorted(fractions, key=lambda name: -round(n * fractions[name] - sizes[name], 9))
    for name in by_remainder[: n - sum(sizes.values())]:
        sizes[name] += 1
    for name in [name for name, size in sizes.items() if size == 0]:
        largest = max(sizes, key=lambda name: sizes[name])
        if sizes[largest] > 1:
            sizes[largest], sizes[name] = sizes[largest] - 1, 1
    return sizes


def _controlled_rounding(counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Integers [n_strata, n_splits] that add up to `counts` and `sizes`, each a rounding of its proportional share."""
    n_strata, n_splits = len(counts), len(sizes)
    share = np.outer(counts, sizes) / max(1, sizes.sum())
    floor = np.floor(share + 1e-9)
    remainder = np.clip(share - floor, 0, 1)
    rows = np.kron(np.eye(n_strata), np.ones(n_splits))
    columns = np.kron(np.ones(n_strata), np.eye(n_splits))
    solution = linprog(
        -remainder.ravel(),
        A_eq=np.vstack([rows, columns]),
        b_eq=np.concatenate([counts - floor.sum(1), sizes - floor.sum(0)]),
        bounds=[(0, 1 if value > 1e-9 else 0) for value in remainder.ravel()],
        method="highs-ds",  # the simplex method ends in a corner, and here every corner is whole
    )
    assert solution.success, solution.message
    return (floor + np.rint(solution.x).reshape(n_strata, n_splits)).astype(int)


def _split_for_group(room: np.ndarray, needed: np.ndarray, draw: float) -> int:
    """The split for a group that needs `needed` [n_strata] places; `draw` is uniform in [0, 1)."""
    total = np.clip(room, 0, None).sum(axis=0)
    fits = (room >= needed[:, None]).all(axis=0)
    if not fits.any():
        return int(np.argmax(total))
    weight = np.cumsum(np.where(fits, total, 0))
    return int(np.searchsorted(weight, draw * weight[-1], side="right"))


def _fitted(room: np.ndarray, n: int) -> np.ndarray:
    """Quotas that add up to n. They do unless a group took more than its stratum's room: then the largest give way."""
    quotas = np.clip(room, 0, None)
    while quotas.sum() > n:
        quotas[np.argmax(quotas)] -= 1
    return quotas


def _hash(seed: int, task_id: int) -> int:
    """64 random bits."""
    return int.from_bytes(hashlib.sha256(f"split:{seed}:{task_id}".encode()).digest()[:8], "big")


def _stratum(
    stratum: int, splits: Mapping[str, Sequence[int]], stratum_of: Mapping[int, int], complexity: Mapping[int, int]
) -> Stratum:
    values = [complexity[task_id] for task_id, its_stratum in stratum_of.items() if its_stratum == stratum]
    counts = {name: sum(stratum_of[task_id] == stratum for task_id in members) for name, members in splits.items()}
    return Stratum(lowest=int(min(values)), highest=int(max(values)), n=len(values), counts=counts)


def _moments(sample: np.ndarray) -> ComplexityOfSplit:
    n = len(sample)
    sd = float(sample.std(ddof=1)) if n > 1 else None
    return ComplexityOfSplit(
        n=n,
        mean=float(sample.mean()) if n else None,
        sd=sd,
        standard_error=sd / math.sqrt(n) if sd is not None else None,
    )


def _ks_p(a: np.ndarray, b: np.ndarray) -> float | None:
    return p_of(ks_2samp(a, b)) if len(a) and len(b) else None


def _group(group: DuplicateGroup, split_of: Mapping[int, str]) -> DuplicateGroupOfSplit:
    pairs = [
        DuplicatePair(task_ids=[pair.task_id_a, pair.task_id_b], why=list(pair.reasons), cosine=round(pair.cosine, 4))
        for pair in group.pairs
    ]
    return DuplicateGroupOfSplit(task_ids=list(group.task_ids), split=split_of[group.task_ids[0]], pairs=pairs)
