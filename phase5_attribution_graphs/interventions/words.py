"""What was found of a behaviour, in words."""

from common.handoffs.circuit_interventions import CircuitVerdict, InterventionsOfBehaviour, NamedSet
from common.words import count, interval, number, p_words, plural
from phase5_attribution_graphs.interventions.circuits import TOP_SIGNED


def verdict_words(found: NamedSet, n: int) -> str:
    """The verdict; with the number of prompts where one cannot tell."""
    beside = f" ({plural(n, 'prompt')})" if found.verdict is CircuitVerdict.CANNOT_TELL else ""
    return f"{found.verdict}{beside}"


def in_short(found: InterventionsOfBehaviour) -> str:
    """One line about the top by signed effect."""
    top = found.sets[TOP_SIGNED]
    return (
        f"{verdict_words(top, found.n)}: they take {interval(top.effect)} of {number(found.baseline.value)} logits, "
        f"sets that match them {interval(top.null)}; first in {count(top.first.n)} of {plural(found.n, 'prompt')} "
        f"({p_words(top.p_holm)}, Holm)"
    )
