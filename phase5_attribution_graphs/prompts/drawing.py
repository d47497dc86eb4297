"""Which candidates become prompts, and which prompt each is patched with."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from common.handoffs.circuit_prompts import Named
from phase5_attribution_graphs.prompts.candidates import Candidate, Unit
from phase5_attribution_graphs.prompts.token_lists import Reading, TokenLists

UNEQUAL = "partners of unequal length"
SHOWN = 5
NO_PARTNER = -1


@dataclass(frozen=True)
class Drawn:
    """One prompt, and its tokens."""

    candidate: Candidate
    reading: Reading

    @property
    def length(self) -> int:
        return len(self.reading.token_ids)


@dataclass
class Draw:
    """The prompts of one split of a behaviour; `refused` are others that were met on the way, by the reason."""

    prompts: list[Drawn] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, reason: str, unit: Iterable[Candidate]) -> None:
        self.refused.setdefault(reason, []).extend(one.prompt for one in unit)


def draw(units: Iterable[Unit], n: int, tokens: TokenLists) -> Draw:
    """The first `n` prompts that can be used. Of partners either both are taken or none."""
    drawn = Draw()
    for unit in units:
        if len(drawn.prompts) == n:
            break
        if len(drawn.prompts) + len(unit) > n:
            continue
        readings = [tokens.read(one) for one in unit]
        reasons = {reading for reading in readings if isinstance(reading, str)}
        prompts = [Drawn(one, of) for one, of in zip(unit, readings, strict=True) if isinstance(of, Reading)]
        if not reasons and len({(one.length, one.reading.n_prompt) for one in prompts}) > 1:
            reasons = {UNEQUAL}
        for reason in sorted(reasons):
            drawn.refuse(reason, unit)
        drawn.prompts += prompts if not reasons else []
    return drawn


def partners(prompts: Sequence[Drawn]) -> list[int]:
    """For each prompt the place of the one that it is patched with.

    Where a pair is named, the other one of it. Else, where there is a template, the next prompt of the same template,
    length and length of the answers' common part that has another answer; after the last comes the first.
    """
    groups: dict[tuple, list[int]] = defaultdict(list)
    for place, one in enumerate(prompts):
        if one.candidate.pair or one.candidate.template:
            named = (one.candidate.pair,) if one.candidate.pair else (one.candidate.template, one.length)
            groups[(*named, one.reading.n_prompt)].append(place)
    partner_of = [NO_PARTNER] * len(prompts)
    for group in groups.values():
        for number, place in enumerate(group):
            others = group[number + 1 :] + group[:number]
            answer = prompts[place].candidate.correct
            is_pair = bool(prompts[place].candidate.pair)
            fitting = (one for one in others if is_pair or prompts[one].candidate.correct != answer)
            partner_of[place] = next(fitting, NO_PARTNER)
    return partner_of


def named(prompts: Sequence[str]) -> Named:
    return Named(n=len(prompts), named=list(prompts[:SHOWN]))
