"""What the verdict could have found: a null result is worth what its power is.

A run is simulated from how much the controls of this one differ. Of an effect of e, a share of the programs:

1. The direction changes the pass rate by e, as wanted, and besides this as many programs each way as a control does on
   average (the smaller of its shares of corrected and corrupted programs).
2. Each control's net change, towards what is wanted, is drawn from a normal distribution with the mean and the standard
   deviation of the observed ones of its kind.
3. The effect is found where the verdict would say so: McNemar's exact p, times the number of directions (Holm's first
   step), is below 0.05, and the direction is beyond every control.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binom

from common.evaluation.statistics import ALPHA
from common.handoffs.steering import RAISE, Compared, Effect, Power

ENOUGH = 0.8  # power from which on "no measurable effect" may be said
EFFECT = 0.05  # the effect of which it is asked, as a share of the programs: 5 points
STEP = 0.01
N_SIMULATED, SEED = 2000, 42


def power_of_verdict(compared: Compared, wanted: str, n_directions: int) -> Power:
    """How often an effect of 5 points would have been found, and which effect in 80 % of runs.

    No effect is found where a kind of controls has fewer than two that could be judged: their spread is unknown.
    """
    n = compared.effect.n
    kinds = [_gains(compared, kind, wanted) for kind in compared.controls]
    if not n or any(len(gains) < 2 for gains in kinds):
        return Power(effect=EFFECT, power=0.0, smallest_effect=None, needed=ENOUGH, n_simulated=0)
    controls = [control for kind in compared.controls.values() for control in kind.each]
    counts = np.array([(control.n_corrected, control.n_corrupted) for control in controls])
    return _power(compared.effect, wanted, float(counts.mean(axis=0).min()) / n, kinds, n_directions)


def power_without_controls(effect: Effect, wanted: str, n_directions: int) -> Power:
    """The same without controls: besides the effect, programs change each way as they were seen to do."""
    if not effect.n:
        return Power(effect=EFFECT, power=0.0, smallest_effect=None, needed=ENOUGH, n_simulated=0)
    churn = min(effect.correction.n, effect.corruption.n) / effect.n
    return _power(effect, wanted, churn, [], n_directions)


def _power(
    seen: Effect, wanted: str, churn: float, kinds: Sequence[Float[np.ndarray, " k"]], n_directions: int
) -> Power:
    """The smallest effect is looked for in steps of one point, up to all programs that can change as wanted."""
    at_risk = (seen.correction if wanted == RAISE else seen.corruption).of / seen.n

    def power(effect: float) -> float:
        return float(simulate(seen.n, effect, churn, kinds, n_directions, np.random.default_rng(SEED)).mean())

    steps = [step * STEP for step in range(1, int(at_risk / STEP + 1e-9) + 1)]
    place = bisect_left(steps, ENOUGH, key=power)
    return Power(
        effect=EFFECT,
        power=power(EFFECT) if at_risk >= EFFECT else 0.0,
        smallest_effect=steps[place] if place < len(steps) else None,
        needed=ENOUGH,
        n_simulated=N_SIMULATED,
    )


def power_words(power: Power) -> str:
    """'an effect of 5 points would have been found in 34 % of runs, one of 12 points in 80 %'."""
    words = f"an effect of {100 * power.effect:g} points would have been found in {100 * power.power:.0f} % of runs"
    if power.smallest_effect is None:
        return f"{words}, and none in {100 * power.needed:g} %"
    return f"{words}, one of {100 * power.smallest_effect:.0f} points in {100 * power.needed:g} %"


def simulate(
    n: int,
    effect: float,
    churn: float,
    kinds: Sequence[Float[np.ndarray, " k"]],
    n_directions: int,
    generator: np.random.Generator,
) -> Bool[np.ndarray, " n_simulated"]:
    """In which runs an effect is found; `kinds` are the controls' observed net changes, towards what is wanted."""
    lost = min(churn, (1 - effect) / 2)
    shares = [effect + lost, lost, max(0.0, 1 - effect - 2 * lost)]
    drawn = generator.multinomial(n, np.array(shares) / sum(shares), size=N_SIMULATED)
    gained, lost = drawn[:, 0], drawn[:, 1]
    p = np.minimum(1, 2 * binom.cdf(np.minimum(gained, lost), gained + lost, 0.5))
    is_found = (p * n_directions < ALPHA) & (gained > lost)
    for gains in kinds:
        others = generator.normal(gains.mean(), gains.std(ddof=1), size=(N_SIMULATED, len(gains)))
        is_found &= (gained - lost) / n > others.max(axis=1)
    return is_found


def _gains(compared: Compared, kind: str, wanted: str) -> Float[np.ndarray, " k"]:
    sign = 1 if wanted == RAISE else -1
    changes = (control.net_change for control in compared.controls[kind].each)
    return np.array([sign * change for change in changes if change is not None], dtype=float)
