"""Shares of the total effect with their intervals, and what is said of the pairs: for every phase behind the gate.

A share is a ratio of means, mean effect / mean of m(clean) - m(corrupted), never a mean of ratios, which single pairs
with a small total would decide. Its interval is a percentile bootstrap over pairs, numerator and denominator together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from common.evaluation.bootstrap import draws_of_problems, interval
from common.evaluation.statistics import counted
from common.handoffs.error_gate import GateVerdict
from common.handoffs.error_patching import StudiedPairs
from common.handoffs.estimates import Interval
from phase6_error_circuits.pair import ErrorPair


class Shares:
    """Shares of the total of some pairs."""

    def __init__(self, total: Float[np.ndarray, " pairs"], n_resamples: int, seed: int) -> None:
        """`total` is m(clean) - m(corrupted) of each pair."""
        self._draws = draws_of_problems(len(total), n_resamples, seed) / len(total)
        self._total, self._totals = total.mean(), self._draws @ total
        self.total = interval(self._total, self._totals)

    def of(self, effects: Float[np.ndarray, " pairs"]) -> Interval:
        return self.of_each(effects[None])[0]

    def of_each(self, effects: Float[np.ndarray, "places pairs"]) -> list[Interval]:
        """Of each place, all on the same resamples."""
        values = _ratio(effects.mean(1), self._total)
        resampled = _ratio(effects @ self._draws.T, self._totals)
        return [interval(value, again) for value, again in zip(values, resampled, strict=True)]


def _ratio(above: Any, below: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(above, below)


def described(
    pairs: Sequence[ErrorPair], clean: np.ndarray, corrupted: np.ndarray, shares: Shares, tokenizer: Any
) -> StudiedPairs:
    """What the document says of pairs of one shape; `clean` and `corrupted` are their logit differences."""
    return StudiedPairs(
        template=pairs[0].template,
        shape=pairs[0].shape,
        n=len(pairs),
        n_tokens=pairs[0].n_tokens,
        clean=float(clean.mean()),
        corrupted=float(corrupted.mean()),
        total=shares.total,
        both_signs=counted(int(((clean > 0) & (corrupted < 0)).sum()), len(pairs)),
        tokens=token_labels(pairs[0], tokenizer),
        positions=pairs[0].positions,
    )


def token_labels(pair: ErrorPair, tokenizer: Any) -> list[str]:
    """Each token of the prompts, 'a'/'b' where they differ; spaces and newlines can be seen."""
    both = zip(pair.clean_ids, pair.corrupted_ids, strict=True)
    texts = [[repr(tokenizer.decode([one])) for one in dict.fromkeys(tokens)] for tokens in both]
    return ["/".join(text) for text in texts]


def names_of_positions(pair: ErrorPair) -> dict[int, str]:
    """The names of each position that has some, with + between."""
    names: dict[int, str] = {}
    for name, pos in pair.positions.items():
        names[pos] = f"{names[pos]}+{name}" if pos in names else name
    return names


def caution(verdict: GateVerdict, contrast: str) -> str:
    """What must be said of a contrast that does not pass the gate; nothing of one that does."""
    if verdict is GateVerdict.WEAK:
        return (
            f"on {contrast} the model leans to the right side without giving the right answer: what is found is what "
            f"moves it, not what makes it answer"
        )
    if verdict is GateVerdict.STOP:
        return f"the model does not tell {contrast} apart; with --force its parts were looked at all the same"
    return ""
