"""What was found of a behaviour, in words."""

from common.handoffs.circuit_interventions import CircuitVerdict, InterventionsOfBehaviour, NamedSet
from common.handoffs.estimates import Interval
from common.words import count, interval, number, p_words, plural
from phase5_attribution_graphs.interventions.circuits import TOP_SIGNED


def verdict_words(named_set: NamedSet, n: int) -> str:
    """The verdict; with the number of prompts where one cannot tell."""
    beside = f" ({plural(n, 'prompt')})" if named_set.verdict is CircuitVerdict.CANNOT_TELL else ""
    return f"{named_set.verdict}{beside}"


def determined(share: Interval) -> bool:
    """Whether an interval of a share says something: one wider than the whole does not."""
    return share.low is None or share.high is None or share.high - share.low <= 1


def in_short(behaviour: InterventionsOfBehaviour) -> str:
    """One line about the top by signed effect."""
    top = behaviour.sets[TOP_SIGNED]
    return (
        f"{verdict_words(top, behaviour.n)}: they take {interval(top.effect)} of {number(behaviour.baseline.value)} "
        f"logits, sets that match them {interval(top.null)}; first in {count(top.first.n)} of "
        f"{plural(behaviour.n, 'prompt')} ({p_words(top.p_holm)}, Holm)"
    )
