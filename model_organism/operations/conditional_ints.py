"""Operations on a list of integers that treat the elements which meet a condition apart.

Eight families over twelve conditions: keep, count, add up, remove, check all, check any, replace by
zero, split in two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model_organism.operations.operation import IntRange, Operation


@dataclass(frozen=True)
class Condition:
    """A test of one integer `x`, and the adjectives it goes by; `before_noun` as in "the even numbers"."""

    name: str
    adjectives: Sequence[str]
    test: str
    constant: IntRange | None
    weight: float
    before_noun: bool = False

    def phrase(self, before: str, after: str) -> tuple[str, ...]:
        """One phrase per adjective, from the template that suits an adjective before or after its noun."""
        template = before if self.before_noun else after
        return tuple(template.replace("{adj}", adjective) for adjective in self.adjectives)


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


# fmt: off
def _selecting(c: Condition) -> list[Operation]:
    elements = c.phrase("the {adj} elements of {x}", "the elements of {x} that are {adj}")
    numbers = c.phrase("the {adj} numbers in {x}", "the numbers in {x} that are {adj}")
    keep = c.phrase("keep only the {adj} elements of {x}", "keep only the elements of {x} that are {adj}")
    to_keep = tuple(f"filter {{x}} to the elements that are {adjective}" for adjective in c.adjectives)
    return [
        Operation(
            f"filter_{c.name}", "ints", "ints",
            nouns=elements + numbers,
            verbs=keep + to_keep,
            expression=f"[x for x in {{v}} if {c.test}]",
            block=("{o} = []", "for x in {v}:", f"    if {c.test}:", "        {o}.append(x)"),
            constant=c.constant, weight=1.5 * c.weight, short_name=c.name,
        ),
        Operation(
            f"remove_{c.name}", "ints", "ints",
            nouns=c.phrase("{x} without the {adj} elements", "{x} without the elements that are {adj}"),
            verbs=c.phrase("remove the {adj} elements from {x}", "remove the elements that are {adj} from {x}"),
            expression=f"[x for x in {{v}} if not {c.test}]",
            constant=c.constant, weight=0.35 * c.weight, short_name=f"remove_{c.name}",
        ),
        Operation(
            f"zero_{c.name}", "ints", "ints",
            nouns=c.phrase(
                "{x} with the {adj} elements replaced by zero", "{x} with the elements that are {adj} replaced by zero"
            ),
            verbs=c.phrase(
                "replace the {adj} elements of {x} with zero", "replace the elements of {x} that are {adj} with zero"
            ),
            expression=f"[0 if {c.test} else x for x in {{v}}]",
            constant=c.constant, weight=0.3 * c.weight, short_name=f"zero_{c.name}",
        ),
        Operation(
            f"split_{c.name}", "ints", "matrix",
            nouns=c.phrase(
                "the {adj} elements and the remaining elements of {x} as two lists",
                "the elements of {x} that are {adj} and the remaining elements as two lists",
            ),
            verbs=c.phrase(
                "split {x} into the {adj} elements and the rest",
                "split {x} into the elements that are {adj} and the rest",
            ),
            block=(
                "a = []", "b = []", "for x in {v}:", f"    if {c.test}:", "        a.append(x)",
                "    else:", "        b.append(x)", "{o} = [a, b]",
            ),
            constant=c.constant, weight=0.2 * c.weight, short_name=f"split_{c.name}",
        ),
    ]


def _reducing(c: Condition) -> list[Operation]:
    return [
        Operation(
            f"count_{c.name}", "ints", "int",
            nouns=c.phrase("the number of {adj} elements in {x}", "the number of elements in {x} that are {adj}"),
            verbs=c.phrase("count the {adj} elements of {x}", "count the elements of {x} that are {adj}"),
            block=("{o} = 0", "for x in {v}:", f"    if {c.test}:", "        {o} += 1"),
            constant=c.constant, weight=0.45 * c.weight, short_name=f"count_{c.name}",
        ),
        Operation(
            f"sumif_{c.name}", "ints", "int",
            nouns=c.phrase("the sum of the {adj} elements in {x}", "the sum of the elements in {x} that are {adj}"),
            verbs=c.phrase("add up the {adj} elements of {x}", "add up the elements of {x} that are {adj}"),
            block=("{o} = 0", "for x in {v}:", f"    if {c.test}:", "        {o} += x"),
            constant=c.constant, weight=0.4 * c.weight, short_name=f"sum_{c.name}",
        ),
        Operation(
            f"all_{c.name}", "ints", "bool",
            nouns=tuple(f"whether all elements of {{x}} are {adjective}" for adjective in c.adjectives),
            verbs=tuple(f"check whether all elements of {{x}} are {adjective}" for adjective in c.adjectives),
            expression=f"all({c.test} for x in {{v}})",
            block=("for x in {v}:", f"    if not {c.test}:", "        return False", "{o} = True"),
            constant=c.constant, weight=0.3 * c.weight, short_name=f"all_{c.name}",
        ),
        Operation(
            f"any_{c.name}", "ints", "bool",
            nouns=tuple(f"whether any element of {{x}} is {adjective}" for adjective in c.adjectives),
            verbs=tuple(f"check whether any element of {{x}} is {adjective}" for adjective in c.adjectives),
            expression=f"any({c.test} for x in {{v}})",
            block=("for x in {v}:", f"    if {c.test}:", "        return True", "{o} = False"),
            constant=c.constant, weight=0.3 * c.weight, short_name=f"any_{c.name}",
        ),
    ]


OPERATIONS = tuple(
    operation for condition in CONDITIONS.values() for operation in _selecting(condition) + _reducing(condition)
)
