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
FAMILIES = read_table("""
filter_{name}  ints ints    1.5  {name}         -  [x for x in {v} if {test}]
    the{adj} elements of {x}{that} / the{adj} numbers in {x}{that} |
    keep only the{adj} elements of {x}{that} / filter {x} to the elements that are {adjective}
    {o} = []
    for x in {v}:
        if {test}:
            {o}.append(x)
remove_{name}  ints ints    0.35 remove_{name}  -  [x for x in {v} if not {test}]
    {x} without the{adj} elements{that} | remove the{adj} elements{that} from {x}
zero_{name}    ints ints    0.3  zero_{name}    -  [0 if {test} else x for x in {v}]
    {x} with the{adj} elements{that} replaced by zero | replace the{adj} elements of {x}{that} with zero
split_{name}   ints matrix  0.2  split_{name}   -
    the{adj} elements and the remaining elements of {x} as two lists ~
    the elements of {x}{that} and the remaining elements as two lists |
    split {x} into the{adj} elements{that} and the rest
    a = []
    b = []
    for x in {v}:
        if {test}:
            a.append(x)
        else:
            b.append(x)
    {o} = [a, b]
count_{name}   ints int     0.45 count_{name}   -
    the number of{adj} elements in {x}{that} | count the{adj} elements of {x}{that}
    {o} = 0
    for x in {v}:
        if {test}:
            {o} += 1
sumif_{name}   ints int     0.4  sum_{name}     -
    the sum of the{adj} elements in {x}{that} | add up the{adj} elements of {x}{that}
    {o} = 0
    for x in {v}:
        if {test}:
            {o} += x
all_{name}     ints bool    0.3  all_{name}     -  all({test} for x in {v})
    whether all elements of {x} are {adjective} | check whether all elements of {x} are {adjective}
    for x in {v}:
        if not {test}:
            return False
    {o} = True
any_{name}     ints bool    0.3  any_{name}     -  any({test} for x in {v})
    whether any element of {x} is {adjective} | check whether any element of {x} is {adjective}
    for x in {v}:
        if {test}:
            return True
    {o} = False
""")
OPERATIONS = tuple(condition.applied_to(family) for condition in CONDITIONS.values() for family in FAMILIES)
