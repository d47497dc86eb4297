"""Whether the splits are big enough for the phases that follow; and fractions that would do."""

import itertools

from common.evaluation.label_counts import OF_SPLITS, pass_rates_that_do, too_small
from phase0_1_split.stratify import split_sizes

_STEP = 20  # fractions are sought in twentieths


def fault_of(sizes: dict[str, int]) -> str | None:
    """What is wrong with splits of these sizes, and what to type; None where nothing is.

    The labels are not known yet: this is what the sizes alone rule out.
    """
    needed = too_small(sizes)
    if not needed:
        return None
    name, n = next(iter(needed.items()))
    shares = fractions_that_do(sizes)
    least = 2 * sum(OF_SPLITS.values())
    advice = f"--fractions {','.join(f'{share:g}' for share in shares)}" if shares else f"at least {least} problems"
    return (
        f"the split '{name}' would have {sizes[name]} problems, but later phases need {n // 2} correct and {n // 2} "
        f"incorrect ones there\nGive {advice}"
    )


def fractions_that_do(sizes: dict[str, int]) -> tuple[float, ...] | None:
    """The fractions nearest to those of `sizes` that give every split what it needs at least; None: there are none.

    With a fifth to spare, where that can be had: groups of near duplicates may make a split smaller than planned.
    """
    n = sum(sizes.values())
    every = [(a, b, _STEP - a - b) for a, b in itertools.product(range(1, _STEP), repeat=2) if a + b < _STEP]
    every.sort(
        key=lambda parts: sum(abs(part / _STEP - size / n) for part, size in zip(parts, sizes.values(), strict=True))
    )
    for spare in (1.2, 1.0):
        for parts in every:
            fractions = tuple(part / _STEP for part in parts)
            planned = split_sizes(n, dict(zip(sizes, fractions, strict=True)))
            if all(planned[name] >= spare * 2 * least for name, least in OF_SPLITS.items()):
                return fractions
    return None


def what_they_assume(sizes: dict[str, int]) -> str:
    """What the labels, which nobody knows yet, must be like for every split to be big enough."""
    if (rates := pass_rates_that_do(sizes)) is None:
        n = sum(sizes.values())
        more = next(k for k in itertools.count(n + 1) if pass_rates_that_do({s: k * m // n for s, m in sizes.items()}))
        return (
            "but even if the model solves half of the problems, a split may by chance hold too few of one label for "
            f"the later phases: split like this, {more} problems would do in 95 % of draws"
        )
    low, high = rates
    return (
        f"big enough for the later phases in 95 % of draws, if the model solves {low:.0%} to {high:.0%} of the problems"
    )
