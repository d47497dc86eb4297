"""The smallest effect that so many problems could have shown: what a null result is worth."""

from __future__ import annotations

from scipy.stats import beta, binom, binomtest

from common.handoffs.steering import SmallestEffect

POWER, ALPHA = 0.8, 0.05


def rate_to_beat(n: int, of: int) -> float | None:
    """The rate of the controls to test against: n / of, and 0.5 / (of + 1) where no control program changed.

    Never zero: against zero a single change would be proof. None without a program.
    """
    if not of:
        return None
    return n / of if n else 0.5 / (of + 1)


def binomial_p(n: int, of: int, against: float | None) -> float | None:
    """One-sided exact p of `n` or more changes of `of`, when each comes with probability `against`."""
    return float(binomtest(n, of, against, alternative="greater").pvalue) if of and against is not None else None


def smallest_effect(of: int, against: float | None, outcome: str) -> SmallestEffect:
    """The smallest true rate that a one-sided binomial test at 0.05 finds with 80 % power, and words.

    Exact: with k the smallest count whose tail under `against` is at most 0.05, the rate p at which k or more of
    `of` have probability 0.8 is the 0.8 quantile of Beta(k, of - k + 1). None where no count would be significant.
    The comparison with controls that the verdict rests on asks for more, so this is a lower bound.
    """
    what = f"{of} programs that could be {outcome}"
    if not of or against is None:
        return SmallestEffect(power=POWER, rate=None, words=f"nothing could be shown: there are {what}")
    needed = next((k for k in range(of + 1) if binom.sf(k - 1, of, against) <= ALPHA), None)
    against_words = f"controls, of whose programs {100 * against:.2g} % are {outcome}"
    if needed is None:
        words = f"with {what}, no rate could be told from that of the {against_words}"
        return SmallestEffect(power=POWER, rate=None, words=words)
    smallest = float(beta.ppf(POWER, needed, of - needed + 1))
    words = (
        f"with {what}, a binomial test alone would tell a rate of {100 * smallest:.2g} % or more, with "
        f"{100 * POWER:g} % power, from that of the {against_words}; the verdict asks for more, so the smallest "
        f"effect that it could have found is larger"
    )
    return SmallestEffect(power=POWER, rate=smallest, words=words)
