"""Phase 3.2's choice: where a direction is added, and how much of it; and of its controls, with which sign."""

import math
from collections.abc import Mapping, Sequence

from common.handoffs.estimates import Interval
from common.handoffs.steering import DEGENERATE_LIMIT, RAISE, CurvePoint, LayerAndCoefficient
from common.interventions.outcomes import effect, paired
from common.tables import TableRow


def curve_point(before: Sequence[TableRow], after: Sequence[TableRow], layer: int, coefficient: float) -> CurvePoint:
    """What one coefficient does at one layer. Nothing changes at 0: `after` is `before`.

    A point is admissible while fewer than 5 % of the problems have an output that is degenerate, and was not without
    steering: what the model breaks by itself is no fault of the vector.
    """
    pairs = paired(before, after)
    measured = effect(pairs)
    newly = measured.newly_degenerate.rate.value
    unchanged = Interval(0.0, 0.0, 0.0) if pairs.n else measured.net_change
    return CurvePoint(
        layer=layer,
        coefficient=coefficient,
        n=pairs.n,
        pass_rate=measured.pass_rate,
        n_corrected=pairs.corrected,
        n_corrupted=pairs.corrupted,
        net_change=measured.net_change if coefficient else unchanged,
        degenerate_rate=measured.degenerate_rate,
        newly_degenerate_rate=newly,
        trajectory_kl=measured.trajectory_kl,
        admissible=newly is not None and newly < DEGENERATE_LIMIT,
    )


def choose(curve: Sequence[CurvePoint], wanted: str) -> tuple[LayerAndCoefficient | None, str]:
    """The admissible point with the largest net change in the wanted direction, and why, in words.

    Ties go to the coefficient nearest to 0, then to the lower layer, then to the positive one. None where every point
    breaks the output. What is chosen need not work: it is the best of what was tried, and phase 3.3 tells whether it
    does anything.
    """
    sign = 1 if wanted == RAISE else -1
    tried = [point for point in curve if point.coefficient != 0]
    admissible = [point for point in tried if point.admissible]
    limit = f"{100 * DEGENERATE_LIMIT:g} %"
    if not admissible:
        if any(point.newly_degenerate_rate is None for point in tried):
            return None, "no problem could be judged with and without steering"
        least = min(rate for point in tried if (rate := point.newly_degenerate_rate) is not None)
        return None, (
            f"none of the {len(tried)} points leaves the output whole: newly degenerate are {100 * least:.1f} % of the "
            f"programs or more, and the limit is {limit}"
        )
    best = min(admissible, key=lambda p: (-sign * p.net_change.known, abs(p.coefficient), p.layer, -p.coefficient))
    gain = sign * best.net_change.known
    words = (
        f"the {'largest' if sign == 1 else 'smallest'} net change, {100 * best.net_change.known:+.1f} % of "
        f"{best.n} problems ({best.n_corrected} corrected, {best.n_corrupted} corrupted), of the "
        f"{len(admissible)} of {len(tried)} points with fewer than {limit} newly degenerate programs"
    )
    if gain <= 0:
        words += f"; no point {'raised' if sign == 1 else 'lowered'} the pass rate, which is what was wanted"
    elif best.coefficient < 0:
        words += "; the coefficient is negative: less of the latent does what more of it should"
    return LayerAndCoefficient(layer=best.layer, coefficient=best.coefficient), words


def better_coefficient(
    before: Sequence[TableRow], after: Mapping[float, Sequence[TableRow]], layer: int, wanted: str
) -> float:
    """Of two opposite coefficients of a control, whose programs are `after`, the one that is better at what is wanted.

    Chosen as a direction's is. Where both break the output the larger net change decides: a control has to have one.
    """
    curve = [curve_point(before, rows, layer, coefficient) for coefficient, rows in after.items()]
    chosen, _ = choose(curve, wanted)
    if chosen:
        return chosen.coefficient
    sign = 1 if wanted == RAISE else -1

    def gain(point: CurvePoint) -> float:
        return -math.inf if point.net_change.value is None else sign * point.net_change.value

    return max(curve, key=lambda point: (gain(point), point.coefficient)).coefficient
