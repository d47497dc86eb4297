"""Operations on a list of integers that treat the elements which meet a condition apart.

Eight families over twelve conditions: keep, count, add up, remove, check all, check any, replace by
zero, split in two.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from model_organism.operations.operation import IntRange, Operation
from model_organism.operations.table import read_table


@dataclass(frozen=True)
class Condition:
    """A test of one integer `x`, and the adjectives it goes by; `before_noun` as in "the even numbers"."""

    name: str
    adjectives: Sequence[str]
    test: str
    constant: IntRange | None
    weight: float
    before_noun: bool = False

    def phrases(self, templates: Sequence[str]) -> tuple[str, ...]:
        """Each template once per adjective: {adj} stands before its noun, or {that} after it."""
        chosen = (template.split(" ~ ")[0 if self.before_noun else -1] for template in templates)
        return tuple(self._with_adjective(template, adjective) for template in chosen for adjective in self.adjectives)

    def _with_adjective(self, template: str, adjective: str) -> str:
        before, after = (f" {adjective}", "") if self.before_noun else ("", f" that are {adjective}")
        return template.replace("{adj}", before).replace("{that}", after).replace("{adjective}", adjective)

    def applied_to(self, family: Operation) -> Operation:
        """The member of a family of operations for this condition."""
        member = family.filled(self.weight, name=self.name, test=self.test)
        nouns, verbs = self.phrases(member.nouns), self.phrases(member.verbs)
        return replace(member, nouns=nouns, verbs=verbs, constant=self.constant)


CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("even", ("even",), "x % 2 == 0", None, 2.0, before_noun=True),
        Condition("odd", ("odd",), "x % 2 != 0", None, 2.0, before_noun=True),
        Condition("pos", ("positive",), "x > 0", None, 1.2, before_noun=True),
        Condition("neg", ("negative",), "x < 0", None, 1.2, before_noun=True),
        Condition("gt", ("greater than {k}", "larger than {k}", "above {k}"), "x > {k}", IntRange(0, 30), 1.6),
        Condition("lt", ("less than {k}", "smaller than {k}", "below {k}"), "x < {k}", IntRange(0, 30), 1.6),
        Condition("ge", ("at least {k}", "not less than {k}"), "x >= {k}", IntRange(0, 30), 0.8),
        Condition("le", ("at most {k}", "not greater than {k}"), "x <= {k}", IntRange(0, 30), 0.8),
        Condition("div", ("divisible by {k}", "a multiple of {k}"), "x % {k} == 0", IntRange(3, 9), 1.0),
        Condition("ndiv", ("not divisible by {k}",), "x % {k} != 0", IntRange(3, 9), 0.5),
        Condition("ne", ("not equal to {k}", "different from {k}"), "x != {k}", IntRange(0, 12), 0.5),
        Condition("end", ("ending in {k}", "ending with the digit {k}"), "x % 10 == {k}", IntRange(0, 9), 0.4),
    )
}

# Where no template fits adjectives on both sides: the one before ~ the one after.
FAMILIES = read_table("conditional_ints")
OPERATIONS = tuple(condition.applied_to(family) for condition in CONDITIONS.values() for family in FAMILIES)
